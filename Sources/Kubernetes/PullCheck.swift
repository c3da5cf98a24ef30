// Walks the way of a pull, step by step, and names the first thing that is in the way.

package import HTTPServing
internal import NIOCore
package import OCI
package import RegistryClient

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif
#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// A step of a check: what was found, and what to do next where it is in the way.
package struct CheckFinding: Sendable, Hashable {
    package enum Step: String, Sendable, CaseIterable {
        case node, name, connection, certificate, registry, clock, credentials, scope, repository, tag, platform, content
    }

    package let step: Step
    package let isInTheWay: Bool
    package let text: String
    /// What to do next.
    package let advice: String?

    package init(_ step: Step, isInTheWay: Bool = false, _ text: String, advice: String? = nil) {
        self.step = step
        self.isInTheWay = isInTheWay
        self.text = text
        self.advice = advice
    }
}

/// An image as people write it: `registry.example/team/app:v1`.
package struct PulledImage: Sendable, CustomStringConvertible {
    package let registry: HostAndPort
    package let repository: RepositoryName
    package let reference: Reference

    package init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1)
        guard parts.count == 2, let registry = HostAndPort(String(parts[0])) else { return nil }
        var name = parts[1]
        var reference = Substring("latest")
        if let at = name.firstIndex(of: "@") {
            reference = name[name.index(after: at)...]
            name = name[..<at]
        } else if let colon = name.lastIndex(of: ":") {
            reference = name[name.index(after: colon)...]
            name = name[..<colon]
        }
        guard let repository = try? RepositoryName(name), let reference = try? Reference(reference) else { return nil }
        self.registry = registry
        self.repository = repository
        self.reference = reference
    }

    private init(registry: HostAndPort, repository: RepositoryName, reference: Reference) {
        self.registry = registry
        self.repository = repository
        self.reference = reference
    }

    /// The same, asked for at another server.
    package func at(_ server: HostAndPort) -> PulledImage {
        PulledImage(registry: server, repository: self.repository, reference: self.reference)
    }

    package var description: String { "\(self.registry)/\(self.repository)" }
}

/// The check of one image.
package struct PullCheck: Sendable {
    /// Seconds by which clocks may differ before tokens and certificates are at risk.
    private static let clockTolerance: Int64 = 120
    private static let largestAnswer = 4 << 20

    package let image: PulledImage
    package let isSecure: Bool
    package let credentials: (user: String, password: String)?
    /// Such as `linux` and `amd64`.
    package let platform: (os: String, architecture: String)
    let transport: any Transport
    let resolve: @Sendable (String) async -> [String]
    let now: @Sendable () -> Int64

    /// - Parameters:
    ///   - resolve: the addresses of a name; none when it has none.
    ///   - now: seconds since 1970.
    package init(
        image: PulledImage, isSecure: Bool, credentials: (user: String, password: String)?, platform: (os: String, architecture: String),
        transport: any Transport, resolve: @escaping @Sendable (String) async -> [String], now: @escaping @Sendable () -> Int64
    ) {
        self.image = image
        self.isSecure = isSecure
        self.credentials = credentials
        self.platform = platform
        self.transport = transport
        self.resolve = resolve
        self.now = now
    }

    /// Ends a walk.
    private struct Stop: Error {
        let finding: CheckFinding
    }

    /// Every step up to the first that is in the way.
    package func run() async -> [CheckFinding] {
        var findings: [CheckFinding] = []
        do {
            try await self.walk(&findings)
        } catch let stop as Stop {
            findings.append(stop.finding)
        } catch {
            findings.append(
                CheckFinding(
                    .connection, isInTheWay: true, "the connection broke: \(error)",
                    advice: "try again; if it stays so, look at what stands between"))
        }
        return findings
    }

    private var endpoint: ServerEndpoint {
        ServerEndpoint(
            host: self.image.registry.host, port: self.image.registry.port ?? (self.isSecure ? 443 : 80), isSecure: self.isSecure)
    }

    private func walk(_ findings: inout [CheckFinding]) async throws {
        let host = self.image.registry.host
        let addresses = await self.resolve(host)
        guard !addresses.isEmpty else {
            throw Stop(
                finding: CheckFinding(
                    .name, isInTheWay: true, "the name '\(host)' has no address here",
                    advice: "add it to DNS or to /etc/hosts, or use the registry's address"))
        }
        findings.append(
            CheckFinding(.name, addresses == [host] ? "\(host) is an address" : "\(host) is \(addresses.joined(separator: ", "))"))

        let base = try await self.send("GET", self.endpoint, "/v2/", [])
        findings.append(CheckFinding(.connection, "\(self.endpoint) answers"))
        findings.append(CheckFinding(.certificate, self.isSecure ? "its certificate is accepted" : "plain HTTP, on purpose"))
        let challenge = base.header("WWW-Authenticate")
        guard base.status == 200 || (base.status == 401 && challenge != nil) else {
            throw Stop(
                finding: CheckFinding(
                    .registry, isInTheWay: true, "\(self.endpoint)/v2/ answers \(base.status), which is no registry",
                    advice: "check the address and the port; something else may stand there"))
        }
        findings.append(CheckFinding(.registry, "a registry"))
        if let finding = self.clock(base) {
            if finding.isInTheWay { throw Stop(finding: finding) }
            findings.append(finding)
        }
        let authorization = try await self.signIn(base.status == 200 ? nil : challenge, &findings)
        try await self.look(authorization, &findings)
    }

    // MARK: Steps

    private func clock(_ response: ClientResponse) -> CheckFinding? {
        guard let text = response.header("Date"), let theirs = Self.seconds(text) else { return nil }
        let difference = self.now() - theirs
        guard abs(difference) > Self.clockTolerance else { return CheckFinding(.clock, "the clocks agree within \(abs(difference)) s") }
        return CheckFinding(
            .clock, isInTheWay: true,
            "this machine's clock is \(abs(difference)) s \(difference > 0 ? "ahead of" : "behind") the registry's",
            advice: "set the clock (NTP); tokens and certificates are judged by it")
    }

    private func signIn(_ challenge: String?, _ findings: inout [CheckFinding]) async throws -> [(name: String, value: String)] {
        guard let challenge else {
            findings.append(CheckFinding(.credentials, "none are needed"))
            return []
        }
        let basic = self.credentials.map { ("Authorization", "Basic " + Data("\($0.user):\($0.password)".utf8).base64EncodedString()) }
        guard let realm = Self.parameter("realm", of: challenge), let (endpoint, path) = Self.endpoint(of: realm) else {
            guard let basic else { throw Stop(finding: self.missingCredentials) }
            return [basic]
        }
        let service = Self.parameter("service", of: challenge) ?? ""
        let query = "service=\(PercentEncoding.encode(service))&scope=repository:\(self.image.repository):pull"
        let response = try await self.send("GET", endpoint, "\(path)?\(query)", basic.map { [$0] } ?? [])
        struct Token: Decodable {
            let token: String?
            let accessToken: String?

            enum CodingKeys: String, CodingKey {
                case token
                case accessToken = "access_token"
            }
        }
        switch response.status {
        case 200:
            let body = try await response.collect(limit: Self.largestAnswer)
            guard let token = try? JSONDecoder().decode(Token.self, from: Data(body)), let text = token.accessToken ?? token.token else {
                throw Stop(
                    finding: CheckFinding(
                        .credentials, isInTheWay: true, "\(endpoint)\(path) answers without a token", advice: "look at the registry's log"))
            }
            findings.append(
                CheckFinding(.credentials, self.credentials.map { "'\($0.user)' is signed in" } ?? "pulling without credentials is allowed")
            )
            return [("Authorization", "Bearer \(text)")]
        case 401, 403:
            guard let credentials else { throw Stop(finding: self.missingCredentials) }
            throw Stop(
                finding: CheckFinding(
                    .credentials, isInTheWay: true, "user name or password of '\(credentials.user)' are not accepted",
                    advice: "check that the token exists, is enabled, and that its password has not expired; generate a new one if in doubt"
                ))
        default:
            throw Stop(
                finding: CheckFinding(
                    .credentials, isInTheWay: true, "\(endpoint)\(path) answers \(response.status)", advice: "look at the registry's log"))
        }
    }

    private var missingCredentials: CheckFinding {
        CheckFinding(
            .credentials, isInTheWay: true, "the registry wants credentials and none were given",
            advice: "give --username and --password, or an --authfile; in a pod, imagePullSecrets")
    }

    private func look(_ authorization: [(name: String, value: String)], _ findings: inout [CheckFinding]) async throws {
        let accept = ("Accept", MediaType.manifests.map(\.description).joined(separator: ", "))
        let path = "/v2/\(self.image.repository)/manifests/\(self.image.reference)"
        let response = try await self.send("GET", self.endpoint, path, authorization + [accept])
        if response.status == 200 {
            findings.append(CheckFinding(.scope, "pulling from \(self.image.repository) is allowed"))
            findings.append(CheckFinding(.repository, "the repository is there"))
            findings.append(CheckFinding(.tag, "\(self.image.reference) is \(response.header("Docker-Content-Digest") ?? "there")"))
            try await self.lookInto(try await response.collect(limit: Self.largestAnswer), authorization, &findings)
            return
        }
        let refusal = try await ServerRefusal(response)
        switch (response.status, refusal.code) {
        case (401, _), (403, _):
            throw Stop(
                finding: CheckFinding(
                    .scope, isInTheWay: true,
                    "\(self.credentials.map { "'\($0.user)'" } ?? "nobody") may not pull from \(self.image.repository)",
                    advice: "its scope map needs content/read on this repository, or its principal the role AcrPull"))
        case (404, "NAME_UNKNOWN"):
            throw Stop(
                finding: CheckFinding(
                    .repository, isInTheWay: true, "there is no repository \(self.image.repository)",
                    advice: "check the spelling; at a connected registry, whether the repository is among those it follows"))
        case (404, _):
            throw Stop(
                finding: CheckFinding(
                    .tag, isInTheWay: true, "repository \(self.image.repository) has no \(self.image.reference)",
                    advice: "check the tag; at a connected registry it may not have arrived yet"))
        default:
            throw Stop(
                finding: CheckFinding(.tag, isInTheWay: true, "the registry answers \(refusal)", advice: "look at the registry's log"))
        }
    }

    private struct Document: Decodable {
        struct Platform: Decodable {
            let os: String?
            let architecture: String?
        }
        struct Descriptor: Decodable {
            let digest: String
            let platform: Platform?
            let urls: [String]?
        }
        let manifests: [Descriptor]?
        let config: Descriptor?
        let layers: [Descriptor]?
    }

    private func lookInto(_ bytes: [UInt8], _ authorization: [(name: String, value: String)], _ findings: inout [CheckFinding]) async throws
    {
        guard var document = try? JSONDecoder().decode(Document.self, from: Data(bytes)) else {
            throw Stop(finding: CheckFinding(.content, isInTheWay: true, "the manifest cannot be read", advice: "push the image again"))
        }
        let wanted = "\(self.platform.os)/\(self.platform.architecture)"
        if let entries = document.manifests {
            let offered = entries.compactMap(\.platform).map { "\($0.os ?? "?")/\($0.architecture ?? "?")" }
            guard
                let entry = entries.first(where: {
                    $0.platform?.os == self.platform.os && $0.platform?.architecture == self.platform.architecture
                })
            else { throw Stop(finding: self.wrongPlatform(wanted, offered)) }
            let accept = ("Accept", MediaType.manifests.map(\.description).joined(separator: ", "))
            let path = "/v2/\(self.image.repository)/manifests/\(entry.digest)"
            let response = try await self.send("GET", self.endpoint, path, authorization + [accept])
            guard response.status == 200,
                let inner = try? JSONDecoder().decode(Document.self, from: Data(try await response.collect(limit: Self.largestAnswer)))
            else {
                throw Stop(
                    finding: CheckFinding(
                        .content, isInTheWay: true, "the image for \(wanted) (\(entry.digest)) is listed and not there",
                        advice: "push it, or at a connected registry wait until it has arrived"))
            }
            document = inner
        } else if let config = document.config {
            let response = try await self.send("GET", self.endpoint, "/v2/\(self.image.repository)/blobs/\(config.digest)", authorization)
            if response.status == 200,
                let platform = try? JSONDecoder().decode(
                    Document.Platform.self, from: Data(try await response.collect(limit: Self.largestAnswer))),
                let os = platform.os, let architecture = platform.architecture,
                os != self.platform.os || architecture != self.platform.architecture
            {
                throw Stop(finding: self.wrongPlatform(wanted, ["\(os)/\(architecture)"]))
            }
        }
        findings.append(CheckFinding(.platform, "there is an image for \(wanted)"))
        let blobs = ([document.config].compactMap { $0 } + (document.layers ?? [])).filter { ($0.urls ?? []).isEmpty }
        for blob in blobs {
            let response = try await self.send("HEAD", self.endpoint, "/v2/\(self.image.repository)/blobs/\(blob.digest)", authorization)
            guard response.status == 200 else {
                throw Stop(
                    finding: CheckFinding(
                        .content, isInTheWay: true, "blob \(blob.digest) of the image answers \(response.status)",
                        advice: "push the image again; 'outport verify' looks through a registry's content"))
            }
        }
        findings.append(CheckFinding(.content, "its \(blobs.count) blobs are there"))
    }

    private func wrongPlatform(_ wanted: String, _ offered: [String]) -> CheckFinding {
        CheckFinding(
            .platform, isInTheWay: true,
            "the image is for \(offered.isEmpty ? "no platform it names" : offered.joined(separator: ", ")), not for \(wanted)",
            advice: "push an image for \(wanted), or an index that has one")
    }

    // MARK: Sending

    private func send(_ method: String, _ endpoint: ServerEndpoint, _ target: String, _ headers: [(name: String, value: String)])
        async throws
        -> ClientResponse
    {
        do {
            return try await self.transport.send(ClientRequest(method, endpoint, target, headers: headers))
        } catch let error as TransportError {
            switch error.code {
            case .untrusted:
                throw Stop(
                    finding: CheckFinding(
                        .certificate, isInTheWay: true, error.message,
                        advice: "give the registry's CA with --ca; on a node 'outport node trust' writes it where runtimes look"))
            case .timeout, .unreachable, .interrupted, .tooLarge:
                throw Stop(
                    finding: CheckFinding(
                        .connection, isInTheWay: true, error.message,
                        advice: "check address, port and firewall, and that the registry runs; --plain-http where it speaks no TLS"))
            }
        }
    }

    private static func parameter(_ name: String, of challenge: String) -> String? {
        guard let range = challenge.firstRange(of: "\(name)=\"") else { return nil }
        return String(challenge[range.upperBound...].prefix { $0 != "\"" })
    }

    private static func endpoint(of url: String) -> (ServerEndpoint, String)? {
        let isSecure = url.hasPrefix("https://")
        guard isSecure || url.hasPrefix("http://") else { return nil }
        let rest = url.dropFirst(isSecure ? 8 : 7)
        let end = rest.firstIndex(of: "/") ?? rest.endIndex
        guard let host = HostAndPort(String(rest[..<end])) else { return nil }
        return (ServerEndpoint(host: host.host, port: host.port ?? (isSecure ? 443 : 80), isSecure: isSecure), String(rest[end...]))
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT`
    private static func seconds(_ text: String) -> Int64? {
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let words = text.split(whereSeparator: { $0 == " " || $0 == ":" }).map(String.init)
        guard words.count == 8, words[7] == "GMT", let month = months.firstIndex(of: words[2]) else { return nil }
        let numbers = [words[1], words[3], words[4], words[5], words[6]].compactMap { Int32($0) }
        guard numbers.count == 5 else { return nil }
        var parts = tm()
        parts.tm_mday = numbers[0]
        parts.tm_mon = Int32(month)
        parts.tm_year = numbers[1] - 1900
        parts.tm_hour = numbers[2]
        parts.tm_min = numbers[3]
        parts.tm_sec = numbers[4]
        return Int64(timegm(&parts))
    }
}
