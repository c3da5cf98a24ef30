// Runs other programs: to their end with their output, or in the background until they are stopped.

import Foundation
import Subprocess
import Synchronization

/// What a program that ended has left.
struct Outcome: Sendable {
    let program: String
    /// The exit code, or the negated signal.
    let status: Int32
    let output: String
    let errors: String

    var isSuccess: Bool { self.status == 0 }
    /// Both streams, for what a program may print on either.
    var text: String { self.output + self.errors }
    var trimmed: String { self.output.trimmingCharacters(in: .whitespacesAndNewlines) }

    /// The outcome, if the program succeeded.
    @discardableResult
    func succeeded() throws -> Outcome {
        guard self.isSuccess else { throw HarnessError("\(self.program) ended with \(self.status): \(self.text.suffix(2000))") }
        return self
    }

    /// The outcome, if the program failed.
    @discardableResult
    func failed() throws -> Outcome {
        guard !self.isSuccess else {
            throw HarnessError("\(self.program) succeeded although it should be refused: \(self.text.suffix(500))")
        }
        return self
    }
}

/// Something that a test relies on did not work; a sentence.
struct HarnessError: Error, CustomStringConvertible {
    let description: String
    /// Whether waiting cannot help.
    let isFinal: Bool

    init(_ description: String, isFinal: Bool = false) {
        self.description = description
        self.isFinal = isFinal
    }
}

/// Programs of this machine.
enum Program {
    private static let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]

    /// The file of a program.
    static func path(_ name: String) throws -> String {
        if name.hasPrefix("/") { return name }
        let path = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init) + self.folders
        guard let folder = path.first(where: { FileManager.default.isExecutableFile(atPath: "\($0)/\(name)") }) else {
            throw HarnessError("\(name) is not installed: run Scripts/install-clients test", isFinal: true)
        }
        return "\(folder)/\(name)"
    }

    /// The binary under test, built beside this test bundle.
    static let outport: String = {
        let arguments = CommandLine.arguments
        let bundle =
            arguments.firstIndex(of: "--test-bundle-path").flatMap { arguments.dropFirst($0 + 1).first } ?? Bundle.main.executablePath
            ?? arguments[0]
        var folder = URL(filePath: bundle).deletingLastPathComponent()
        for _ in 0..<4 where !FileManager.default.isExecutableFile(atPath: folder.appending(path: "outport").path) {
            folder.deleteLastPathComponent()
        }
        return folder.appending(path: "outport").path
    }()

    /// The package, for its scripts.
    static let package = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path
}

/// Runs a program to its end; it is killed at the deadline.
func command(
    _ program: String, _ arguments: [String], environment: [String: String] = [:], input: String = "", folder: String? = nil,
    deadline: Duration = .seconds(900)
) async throws -> Outcome {
    let path = try Program.path(program)
    let environment = Dictionary(uniqueKeysWithValues: environment.map { (Environment.Key(rawValue: $0.key)!, Optional($0.value)) })
    return try await withDeadline(deadline, "\(program) \(arguments.prefix(3).joined(separator: " "))") {
        let result = try await run(
            .path(.init(path)), arguments: Arguments(arguments), environment: .inherit.updating(environment),
            workingDirectory: folder.map { .init($0) },
            input: .string(input), output: .string(limit: 16 << 20), error: .string(limit: 16 << 20))
        return Outcome(
            program: "\(program) \(arguments.prefix(6).joined(separator: " "))", status: result.terminationStatus.number,
            output: result.standardOutput,
            errors: result.standardError)
    }
}

extension TerminationStatus {
    /// The exit code, or the negated signal.
    var number: Int32 {
        switch self {
        case .exited(let code): code
        case .signaled(let signal): -signal
        }
    }
}

/// Runs `body`, cancelled at the deadline.
func withDeadline<Value: Sendable>(_ deadline: Duration, _ what: String, _ body: @escaping @Sendable () async throws -> Value) async throws
    -> Value
{
    try await withThrowingTaskGroup(of: Value.self) { group in
        group.addTask(operation: body)
        group.addTask {
            try await Task.sleep(for: deadline)
            throw HarnessError("\(what) is not done after \(deadline)")
        }
        defer { group.cancelAll() }
        return try await group.next()!
    }
}

/// Asks again and again until there is an answer.
///
/// The deadline is for what never comes: a site that has failed often rests for a minute before it tries again, and a machine may be slow.
func eventually<Value: Sendable>(
    _ what: String, within deadline: Duration = .seconds(600), every interval: Duration = .milliseconds(20),
    _ probe: @Sendable () async throws -> Value?
) async throws -> Value {
    let end = ContinuousClock.now + deadline
    var last: (any Error)?
    repeat {
        do {
            if let value = try await probe() { return value }
            last = nil
        } catch let error as HarnessError where error.isFinal {
            throw error
        } catch {
            last = error
        }
        try await Task.sleep(for: interval)
    } while .now < end
    throw HarnessError("\(what): not after \(deadline)" + (last.map { " (\($0))" } ?? ""))
}

/// The same for a condition.
func eventually(
    _ what: String, within deadline: Duration = .seconds(600), every interval: Duration = .milliseconds(20),
    _ probe: @Sendable () async throws -> Bool
) async throws {
    _ = try await eventually(what, within: deadline, every: interval) { try await probe() ? true : nil }
}

/// A program in the background, in a session of its own, its output in a file.
final class BackgroundProcess: Sendable {
    let pid: pid_t
    private let log: String
    private let end: Task<Int32, any Error>
    private let ended = Mutex(false)

    /// Starts a program.
    ///
    /// - Parameter environment: the whole environment; `nil` for that of the tests.
    static func start(_ program: String, _ arguments: [String], environment: [String: String]? = nil, folder: String? = nil, log: String)
        async throws -> BackgroundProcess
    {
        let path = try Program.path(program)
        let descriptor = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw HarnessError("\(log) cannot be written") }
        var options = PlatformOptions()
        options.createSession = true
        let environment = environment.map { given in
            Environment.custom(Dictionary(uniqueKeysWithValues: given.map { (Environment.Key(rawValue: $0.key)!, $0.value) }))
        }
        let (pids, pid) = AsyncStream.makeStream(of: pid_t.self)
        let end = Task { [options] in
            defer { pid.finish() }
            return try await run(
                .path(.init(path)), arguments: Arguments(arguments), environment: environment ?? .inherit,
                workingDirectory: folder.map { .init($0) },
                platformOptions: options, input: .none,
                output: .fileDescriptor(.init(rawValue: descriptor), closeAfterSpawningProcess: true),
                error: .combinedWithOutput
            ) { execution in
                pid.yield(execution.processIdentifier.value)
            }.terminationStatus.number
        }
        for await pid in pids {
            Sentinel.watch(pid)
            return BackgroundProcess(pid: pid, log: log, end: end)
        }
        throw HarnessError("\(program) did not start: \(await end.result)")
    }

    private init(pid: pid_t, log: String, end: Task<Int32, any Error>) {
        self.pid = pid
        self.log = log
        self.end = end
        Task {
            _ = await end.result
            self.ended.withLock { $0 = true }
            Sentinel.forget(pid)
        }
    }

    var hasEnded: Bool { self.ended.withLock { $0 } }

    func signal(_ number: Int32) {
        if !self.hasEnded { _ = Glibc.kill(self.pid, number) }
    }

    /// Waits for the end: the exit code, or the negated signal.
    func wait(_ deadline: Duration = .seconds(600)) async throws -> Int32 {
        try await eventually("the end of process \(self.pid) (\(self.tail))", within: deadline, every: .milliseconds(5)) { self.hasEnded }
        return try await self.end.value
    }

    /// SIGTERM, and SIGKILL for one that does not listen.
    @discardableResult
    func stop() async throws -> Int32 {
        self.signal(SIGTERM)
        do {
            return try await self.wait()
        } catch {
            self.signal(SIGKILL)
            _ = try? await self.wait()
            throw error
        }
    }

    var output: String { (try? String(contentsOfFile: self.log, encoding: .utf8)) ?? "" }
    private var tail: String { self.output.suffix(600).trimmingCharacters(in: .whitespacesAndNewlines) }
}
