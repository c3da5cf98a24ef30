// `outport acr check-health`: the way from here to a registry, step by step, in the words of `az`.

import ArgumentParser
import JSON

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

struct CheckHealthCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "check-health", abstract: "Get health information on the way to a registry.",
        discussion: """
            Checked are the lookup of the registry's name, the answer of its challenge endpoint, and tokens. Engines on this machine are
            not looked at; 'outport check --image REF' walks a pull.

            Example: outport acr check-health -n myregistry --repository app
            """)

    @Option(name: [.customShort("n"), .long], help: "The name of the container registry.")
    var name: String?

    @Flag(help: "Provide all health checks, even if errors are found.")
    var ignoreErrors = false

    @Option(help: "Check the permissions on this repository, too.")
    var repository: String?

    @OptionGroup var consent: YesOption
    @OptionGroup var group: GroupOption
    @OptionGroup var credentials: RegistryCredentialOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        if let name {
            do {
                try await check(name, session)
            } catch {
                guard ignoreErrors else { throw error }
                session.console.note("ERROR: \(error)")
            }
        } else {
            session.console.note("Registry name must be provided to check connectivity.")
        }
        session.console.note("outport version: \(outportVersion)")
        return nil
    }

    private func check(_ name: String, _ session: ManagementSession) async throws(ManagementError) {
        func pass(_ what: String) { session.console.note("\(what) : OK") }
        let body = try await session.client.get(try await session.registryPath(name, group))
        guard let server = body[path: "properties", "loginServer"]?.stringValue else {
            throw ManagementError("The registry '\(name)' names no login server.")
        }
        let host = Self.host(of: server)
        guard let address = Self.address(of: host) else {
            throw ManagementError(
                "Failed DNS lookup of '\(host)'.", advice: "Make its name known to this machine: DNS, or a line of /etc/hosts.")
        }
        pass("DNS lookup to \(host) at IP \(address)")
        let endpoint = "https://\(server)/v2/"
        let challenge = try await session.transport.send(ManagementRequest(method: .get, url: endpoint))
        switch challenge.status {
        case 401 where challenge.header("WWW-Authenticate") != nil: pass("Challenge endpoint \(endpoint)")
        case 403:
            throw ManagementError(
                "The registry '\(name)' lets nobody in from this address.",
                advice: "Run 'outport acr network-rule add -n \(name) --ip-address ADDRESS'.")
        default:
            throw ManagementError(
                "\(endpoint) answers \(challenge.status) where a registry asks for credentials.", advice: "Check what else listens there.")
        }
        let wanted = ["pull", "push", "metadata_write", "metadata_read", "delete"]
        let scope = repository.map { "repository:\($0):\(wanted.joined(separator: ","))" } ?? "registry:catalog:*"
        let data = try await RegistryData.open(session, name, group, credentials, scope: scope)
        pass("Fetch refresh token for registry '\(server)'")
        guard let repository else {
            pass("Fetch access token for registry '\(server)'")
            return
        }
        let granted = data.grantedActions
        let missing = wanted.filter { !granted.contains($0) }
        guard missing.isEmpty else {
            throw ManagementError(
                "On repository '\(repository)' you have \(granted.isEmpty ? "no permissions" : granted.joined(separator: ", ")), and lack "
                    + missing.joined(separator: ", ") + ".", advice: "Ask an owner of the registry for a role or a scope map that has them."
            )
        }
        pass("Fetch access token for repository '\(repository)' in registry '\(server)'")
    }

    /// The host without its port.
    static func host(of server: String) -> String {
        if server.hasPrefix("["), let end = server.firstIndex(of: "]") {
            return String(server[server.index(after: server.startIndex)..<end])
        }
        return server.split(separator: ":").first.map(String.init) ?? server
    }

    /// The first address of a host; `nil` when it has none.
    static func address(of host: String) -> String? {
        var result: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, nil, &result) == 0, let first = result else { return nil }
        defer { freeaddrinfo(result) }
        var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        guard
            getnameinfo(first.pointee.ai_addr, first.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST) == 0
        else { return nil }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
