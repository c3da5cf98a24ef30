// `outport acr login`: the engine of this machine signs in to a registry with the sign-in of whoever types it.

import ArgumentParser
import Foundation
import JSON

struct RegistryLoginCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "login", abstract: "Log in to a registry through the docker or podman of this machine.",
        discussion: """
            $DOCKER_COMMAND names another engine. With --expose-token no engine is needed: the token is printed, to be used as the password of
            the user 00000000-0000-0000-0000-000000000000. Where the server has its own CA, the engine must know it (docker:
            /etc/docker/certs.d/HOST/ca.crt; podman: /etc/containers/certs.d/HOST/ca.crt).

            Example: outport acr login -n myregistry --expose-token --query refreshToken -o tsv
            """)

    /// With this name a registry's refresh token is a password.
    static let tokenUser = "00000000-0000-0000-0000-000000000000"

    @OptionGroup var registry: RegistryName
    @Flag(name: [.customShort("t"), .long], help: "Expose the refresh token instead of logging in with an engine.")
    var exposeToken = false
    @Option(help: "Refused: the registries of this server have no regional endpoints.")
    var endpoint: String?
    @OptionGroup var credentials: RegistryCredentialOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        if exposeToken, credentials.username != nil || credentials.password != nil {
            throw .usage("`--expose-token` cannot be combined with `--username` or `--password`.")
        }
        if let endpoint {
            throw ManagementError(
                "Regional endpoint for '\(endpoint)' not found. Aborting login.",
                advice: "Leave --endpoint out: the registry is in one place.")
        }
        let engine = exposeToken ? nil : try Self.engine(ProcessInfo.processInfo.environment)
        let body = try await session.client.get(try await session.registryPath(registry.name, registry.group))
        guard let server = body[path: "properties", "loginServer"]?.stringValue else {
            throw ManagementError("The registry '\(registry.name)' names no login server.")
        }
        let (user, password): (String, String)
        switch (credentials.username, credentials.password) {
        case (let given?, let secret?): (user, password) = (given, secret)
        case (nil, nil): (user, password) = (Self.tokenUser, try await RegistryData.refreshToken(session, server))
        default: throw .usage("--username and --password go together.")
        }
        guard let engine else {
            session.warn(
                "The token in both members is a refresh token: it is the password of '\(Self.tokenUser)', not a token for the registry's API."
            )
            return [
                "accessToken": .string(password), "loginServer": .string(server), "refreshToken": .string(password),
                "username": .string(user),
            ]
        }
        let (status, text) = try await Self.run(engine, ["login", "--username", user, "--password-stdin", server], input: password)
        guard status == 0 else {
            throw ManagementError(
                "\(engine) login to '\(server)' failed: \(text.trimmingCharacters(in: .whitespacesAndNewlines))",
                advice: "Where it does not trust the server, give it the server's CA; --expose-token needs no engine.")
        }
        session.console.note("Login Succeeded")
        return nil
    }

    /// The engine to use: the one that is named, else docker, else podman.
    static func engine(_ environment: [String: String]) throws(ManagementError) -> String {
        if let named = environment["DOCKER_COMMAND"], !named.isEmpty { return named }
        let folders = (environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":")
        for name in ["docker", "podman"] where folders.contains(where: { FileManager.default.isExecutableFile(atPath: "\($0)/\(name)") }) {
            return name
        }
        throw ManagementError(
            "There is neither docker nor podman on this machine.",
            advice: "Use --expose-token, or name another engine with DOCKER_COMMAND.")
    }

    /// Runs an engine with the password on its standard input, where no list of processes shows it.
    private static func run(_ program: String, _ arguments: [String], input: String) async throws(ManagementError) -> (Int32, String) {
        do {
            return try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<(Int32, String), any Error>) in
                // Not on the threads of this program's tasks: it waits for another process.
                Thread.detachNewThread {
                    let process = Process()
                    process.executableURL = URL(filePath: "/usr/bin/env")
                    process.arguments = [program] + arguments
                    let (stdin, output) = (Pipe(), Pipe())
                    process.standardInput = stdin
                    process.standardOutput = output
                    process.standardError = output
                    do {
                        try process.run()
                        try stdin.fileHandleForWriting.write(contentsOf: Data(input.utf8))
                        try stdin.fileHandleForWriting.close()
                        let text = try output.fileHandleForReading.readToEnd() ?? Data()
                        process.waitUntilExit()
                        continuation.resume(returning: (process.terminationStatus, String(decoding: text, as: UTF8.self)))
                    } catch {
                        continuation.resume(throwing: error)
                    }
                }
            }
        } catch {
            throw ManagementError("'\(program)' cannot be run: \(error)", advice: "Use --expose-token, which needs no engine.")
        }
    }
}
