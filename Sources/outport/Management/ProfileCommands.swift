// `outport account profile …`: sign-ins at several servers, one of which is in use.

import ArgumentParser
import JSON

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The sign-ins that are kept, by name.
struct ProfileFolder: Sendable {
    /// The sign-in that lies in the folder itself.
    static let first = "default"

    let root: String

    /// Where the sign-in of this name is kept.
    func store(_ name: String) -> ProfileStore { ProfileStore(folder: name == Self.first ? root : "\(root)/profiles/\(name)") }

    /// 1 to 64 letters, digits, `-`, `_` and `.`, the first no dot.
    static func isValid(_ name: String) -> Bool {
        (1...64).contains(name.utf8.count) && !name.hasPrefix(".")
            && name.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || "-_.".utf8.contains(byte)
            }
    }

    static func validated(_ name: String) throws(ManagementError) -> String {
        guard isValid(name) else {
            throw .usage("'\(name.prefix(80))' is no name of a profile.", advice: "Use up to 64 letters, digits, '-', '_' and '.'.")
        }
        return name
    }

    private var file: String { root + "/current" }

    /// The name of the one in use.
    var current: String {
        let text = (try? String(contentsOfFile: file, encoding: .utf8)).map { $0.filter { !$0.isNewline } } ?? ""
        return Self.isValid(text) ? text : Self.first
    }

    func use(_ name: String) throws(ManagementError) {
        do {
            try store(Self.first).write(name + "\n", to: file)
        } catch {
            throw ManagementError("The profile in use cannot be kept in \(file): \(error)", advice: "Check the folder's permissions.")
        }
    }

    /// Names of those that are signed in.
    var names: [String] {
        let kept = (try? FileManager.default.contentsOfDirectory(atPath: root + "/profiles")) ?? []
        return ([Self.first] + kept.filter(Self.isValid).sorted()).filter { (try? store($0).load()) ?? nil != nil }
    }
}

extension ProfileStore {
    /// The sign-in to use: the one that is named, else that of `$OUTPORT_PROFILE`, else the one in use.
    static func chosen(_ name: String?, environment: [String: String]) throws(ManagementError) -> ProfileStore {
        let folder = ProfileFolder(root: try ProfileStore(environment: environment).folder)
        let wanted = name ?? environment["OUTPORT_PROFILE"].flatMap { $0.isEmpty ? nil : $0 } ?? folder.current
        return folder.store(try ProfileFolder.validated(wanted))
    }
}

/// `outport account profile …`
struct AccountProfileCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "profile", abstract: "Choose between sign-ins at several servers.",
        subcommands: [List.self, Use.self, Remove.self])

    private static func folder() throws(ManagementError) -> ProfileFolder {
        ProfileFolder(root: try ProfileStore(environment: ProcessInfo.processInfo.environment).folder)
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List the sign-ins that are kept.", discussion: "Example: outport account profile list -o table")

        @OptionGroup var global: GlobalOptions

        func run() async throws {
            let console = StandardConsole()
            try await AccountListCommand.report(to: console) { () async throws(ManagementError) in
                let folder = try AccountProfileCommand.folder()
                var entries: [JSONValue] = []
                for name in folder.names {
                    guard let profile = try folder.store(name).load() else { continue }
                    entries.append([
                        "name": .string(name), "server": .string(profile.server), "user": .string(profile.accountName),
                        "isCurrent": .bool(name == folder.current),
                    ])
                }
                console.write(try AccountShowCommand.renderer(global, console).render(.array(entries)))
            }
        }
    }

    struct Use: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "use", abstract: "Use a sign-in from now on.", discussion: "Example: outport account profile use -n plant")

        @Option(name: [.customShort("n"), .long], help: "The name of the profile.")
        var name: String

        func run() async throws {
            try await AccountListCommand.report(to: StandardConsole()) { () async throws(ManagementError) in
                let folder = try AccountProfileCommand.folder()
                guard folder.names.contains(name) else {
                    throw ManagementError(
                        "Nobody is signed in as profile '\(name.prefix(80))'.",
                        advice: "Run 'outport login --profile \(name.prefix(80))' first.", exitCode: 3)
                }
                try folder.use(name)
            }
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "remove", abstract: "Forget a sign-in.", discussion: "Example: outport account profile remove -n plant")

        @Option(name: [.customShort("n"), .long], help: "The name of the profile.")
        var name: String

        func run() async throws {
            try await AccountListCommand.report(to: StandardConsole()) { () async throws(ManagementError) in
                let folder = try AccountProfileCommand.folder()
                try folder.store(try ProfileFolder.validated(name)).remove()
                if folder.current == name { try folder.use(ProfileFolder.first) }
            }
        }
    }
}
