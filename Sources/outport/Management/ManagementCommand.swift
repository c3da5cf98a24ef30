// What every management command does before and after its own work.

import ArgumentParser
import JMESPath
import JSON

/// A command that talks to the server of the current sign-in and prints one result.
///
/// The parsed command calls ``perform(in:)`` with a session and prints what it returns in the format of `--output`. Errors
/// are printed here, once, and leave as exit codes.
protocol ManagementCommand: AsyncParsableCommand {
    var global: GlobalOptions { get }
    /// The columns of `--output table`.
    static var table: TableLayout { get }
    /// Does the work. Null and nil print nothing.
    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue?
}

extension ManagementCommand {
    static var table: TableLayout { .generic }

    func run() async throws { try await run(console: StandardConsole(), open: ManagementSession.open) }

    /// Runs in a session opened by `open`, which tests replace.
    func run(
        console: any Console, open: (GlobalOptions, any Console) async throws(ManagementError) -> ManagementSession
    ) async throws(ExitCode) {
        try await Self.report(to: console) { () async throws(ManagementError) in
            let renderer = try Self.renderer(global, console)
            let session = try await open(global, console)
            let result: Result<JSONValue?, ManagementError>
            do throws(ManagementError) {
                result = .success(try await perform(in: session))
            } catch {
                result = .failure(error)
            }
            await session.close()
            console.write(try renderer.render(try result.get() ?? .null))
        }
    }

    /// The query is read before anything is done, so that a mistake in it changes nothing.
    static func renderer(_ global: GlobalOptions, _ console: any Console) throws(ManagementError) -> OutputRenderer {
        var query: Expression?
        if let text = global.query {
            do {
                query = try Expression(parsing: text)
            } catch {
                throw .usage("argument --query: invalid jmespath_type value: \(error)")
            }
        }
        return OutputRenderer(format: global.output, query: query, table: table, allowsColor: console.showsColor)
    }

    /// Prints an error and turns it into an exit code.
    static func report(
        to console: any Console, _ work: () async throws(ManagementError) -> Void
    ) async throws(ExitCode) {
        do {
            try await work()
        } catch {
            console.note("ERROR: \(error)")
            throw ExitCode(error.exitCode)
        }
    }
}

/// Runs a tree of commands with the exit codes of `az`: 2 for a command line that cannot be understood.
enum CommandLineRunner {
    static func run<Root: AsyncParsableCommand>(_ root: Root.Type, arguments: [String]? = nil) async {
        let command: any ParsableCommand
        do {
            command = try await root.asyncParseAsRoot(arguments)
        } catch {
            leave(root, error)
        }
        do {
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                var command = command
                try command.run()
            }
            if StandardConsole.hasLostResult.load(ordering: .relaxed) { throw ExitCode(1) }
        } catch let error as ExitCode {
            root.exit(withError: error)
        } catch let error as CleanExit {
            root.exit(withError: error)
        } catch let error as ValidationError {
            fail(error.message, code: 2)
        } catch {
            // Help is thrown, too, by a command that prints nothing else.
            if root.exitCode(for: error) == .success { root.exit(withError: error) }
            fail("\(error)", code: 1)
        }
    }

    /// Ends with a sentence and nothing else: the usage of the whole program explains no failure.
    private static func fail(_ sentence: String, code: Int32) -> Never {
        StandardConsole().note("ERROR: \(sentence)")
        Outport.exit(withError: ExitCode(code))
    }

    private static func leave<Root: ParsableCommand>(_ root: Root.Type, _ error: any Error) -> Never {
        if root.exitCode(for: error) == .validationFailure {
            StandardConsole().note(root.fullMessage(for: error))
            root.exit(withError: ExitCode(2))
        }
        root.exit(withError: error)
    }
}
