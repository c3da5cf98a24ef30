// The settings of the connected registry extension, read once and checked: the control plane refuses by them, the agent acts on them.

/// A setting that cannot be used. Its value is not part of it: it may be a secret.
package struct SettingsError: Error, Sendable, Hashable, CustomStringConvertible {
    package let setting: String
    package let reason: String
    /// Whether the setting is one of the protected ones.
    package let isProtected: Bool

    package var description: String { "the setting '\(self.setting)' cannot be used: \(self.reason)" }
}

/// How the installed registry proves who it is.
package enum CertificateSource: Sendable, Hashable {
    /// An authority of the installation's own, kept in a Secret.
    case own
    /// Objects of cert-manager; `installs` when it is to be put into the cluster as well.
    case certManager(installs: Bool)
    /// Certificate, key and authority in PEM.
    case given(certificate: String, key: String, authority: String?)
    /// A Secret of the namespace with `tls.crt` and `tls.key`; the authority in PEM where nodes are to trust it.
    case secret(name: String, authority: String?)
    /// Plain HTTP, on purpose.
    case none
}

/// How nodes come to trust the installed registry.
package struct TrustDistribution: Sendable, Hashable {
    /// Whether only labelled nodes are meant.
    package let usesNodeSelector: Bool
    /// Names of other registries whose images nodes ask for here first.
    package let mirrors: [String]
}

/// The settings of `Microsoft.ContainerRegistry.ConnectedRegistry`.
package struct ExtensionSettings: Sendable, Hashable {
    /// The type, in the letters in which clients send it.
    package static let type = "microsoft.containerregistry.connectedregistry"
    package static let namespace = "connected-registry"
    package static let defaultStorage = "250Gi"
    /// Nodes that carry this label are meant by `trustDistribution.useNodeSelector`.
    package static let nodeLabel = (name: "containerd-configured-by", value: "connected-registry")
    /// Settings whose value is never read back, wherever it was sent.
    package static let secretNames: Set<String> = ["connectionString", "tls.key"]

    private static let names: Set<String> = [
        "service.clusterIP", "pvc.storageClassName", "pvc.storageRequest", "httpEnabled", "cert-manager.enabled", "cert-manager.install",
        "tls.crt", "tls.key", "tls.cacrt", "tls.secret", "trustDistribution.enabled", "trustDistribution.useNodeSelector",
        "trustDistribution.mirrors", "connectionString",
    ]

    /// The address of the service, as it was given.
    package let clusterIP: String
    /// `nil` for the cluster's default class.
    package let storageClass: String?
    package let storageRequest: String
    package let certificate: CertificateSource
    /// `nil` where nodes are left alone.
    package let trust: TrustDistribution?
    package let connectionString: String

    package var isPlain: Bool { self.certificate == .none }
    package var port: Int { self.isPlain ? 80 : 443 }

    /// Reads the settings; a setting may stand in either half, and the protected half wins.
    package init(settings: [String: String], protected: [String: String]) throws(SettingsError) {
        func fail(_ name: String, _ reason: String) -> SettingsError {
            SettingsError(setting: name, reason: reason, isProtected: settings[name] == nil && protected[name] != nil)
        }
        for name in (Array(settings.keys) + protected.keys).sorted() where !Self.names.contains(name) {
            throw fail(name, "it is not known; known are \(Self.names.sorted().joined(separator: ", "))")
        }
        func text(_ name: String) -> String? {
            let value = (protected[name].flatMap { $0.isEmpty ? nil : $0 } ?? settings[name]) ?? ""
            let trimmed = String(value.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
            return trimmed.isEmpty ? nil : trimmed
        }
        func flag(_ name: String) throws(SettingsError) -> Bool {
            switch text(name)?.lowercased() {
            case nil, "false": return false
            case "true": return true
            default: throw fail(name, "it must be true or false")
            }
        }
        guard let address = text("service.clusterIP") else {
            throw fail("service.clusterIP", "it is required: a free address of the cluster's service range, which you choose")
        }
        guard IPAddress(address)?.isUsable == true else {
            throw fail("service.clusterIP", "it must be one IPv4 or IPv6 address that hosts can have, such as 10.96.0.50")
        }
        self.clusterIP = address
        if let name = text("pvc.storageClassName"), !Self.isObjectName(name) {
            throw fail("pvc.storageClassName", "it is no name of a StorageClass: lower-case letters, digits, '-' and '.'")
        }
        self.storageClass = text("pvc.storageClassName")
        let storage = text("pvc.storageRequest") ?? Self.defaultStorage
        guard Self.isQuantity(storage) else {
            throw fail("pvc.storageRequest", "it must be a size as Kubernetes writes them, such as 250Gi")
        }
        self.storageRequest = storage
        guard let connection = text("connectionString") else {
            throw fail(
                "connectionString",
                "it is required, among the protected settings; 'outport acr connected-registry get-settings' prints it")
        }
        if let reason = Self.flaw(ofConnectionString: connection) { throw fail("connectionString", reason) }
        self.connectionString = connection
        self.certificate = try Self.certificate(text, flag, fail)
        let (distributes, selects) = (try flag("trustDistribution.enabled"), try flag("trustDistribution.useNodeSelector"))
        let mirrors = (text("trustDistribution.mirrors") ?? "").split(whereSeparator: { $0 == "," || $0 == " " }).map(String.init)
        guard distributes || (!selects && mirrors.isEmpty) else {
            throw fail(
                selects ? "trustDistribution.useNodeSelector" : "trustDistribution.mirrors", "it needs trustDistribution.enabled=true")
        }
        for mirror in mirrors where !mirror.utf8.allSatisfy(Self.isHostByte) || mirror.utf8.count > 260 {
            throw fail("trustDistribution.mirrors", "it must be names of registries such as docker.io, with commas between them")
        }
        self.trust = distributes ? TrustDistribution(usesNodeSelector: selects, mirrors: mirrors) : nil
    }

    private static func certificate(
        _ text: (String) -> String?, _ flag: (String) throws(SettingsError) -> Bool, _ fail: (String, String) -> SettingsError
    ) throws(SettingsError) -> CertificateSource {
        let (plain, manager, installs) = (try flag("httpEnabled"), try flag("cert-manager.enabled"), try flag("cert-manager.install"))
        guard manager || !installs else { throw fail("cert-manager.install", "it needs cert-manager.enabled=true") }
        let given = ["tls.crt", "tls.key", "tls.cacrt", "tls.secret"].filter { text($0) != nil }
        if plain {
            guard !manager else { throw fail("cert-manager.enabled", "there is no certificate with httpEnabled=true") }
            if let name = given.first { throw fail(name, "there is no certificate with httpEnabled=true") }
            return .none
        }
        if manager, let name = given.first { throw fail(name, "cert-manager.enabled=true makes the certificate; set one of the two") }
        if manager { return .certManager(installs: installs) }
        func pem(_ name: String, _ kind: String) throws(SettingsError) -> String? {
            guard let value = text(name) else { return nil }
            guard let found = value.contains("-----BEGIN ") ? value : Base64Text.decode(value), found.contains("-----BEGIN "),
                found.contains(kind)
            else { throw fail(name, "it must be PEM (\(kind)), as it is or in base64 (base64 -w0 FILE)") }
            return found.hasSuffix("\n") ? found : found + "\n"
        }
        let authority = try pem("tls.cacrt", "CERTIFICATE")
        if let name = text("tls.secret") {
            if let other = given.first(where: { $0 == "tls.crt" || $0 == "tls.key" }) {
                throw fail(other, "tls.secret names a Secret that holds it; set one of the two")
            }
            guard self.isObjectName(name) else {
                throw fail("tls.secret", "it must be the name of a Secret in namespace \(self.namespace)")
            }
            return .secret(name: name, authority: authority)
        }
        switch (try pem("tls.crt", "CERTIFICATE"), try pem("tls.key", "PRIVATE KEY")) {
        case (nil, nil):
            guard authority == nil else { throw fail("tls.cacrt", "it goes with tls.crt and tls.key, or with tls.secret") }
            return .own
        case (let certificate?, let key?): return .given(certificate: certificate, key: key, authority: authority)
        case (nil, _): throw fail("tls.crt", "tls.crt and tls.key go together")
        case (_, nil): throw fail("tls.key", "tls.crt and tls.key go together")
        }
    }

    /// What is wrong with the form of a connection string; nothing of it is repeated.
    private static func flaw(ofConnectionString text: String) -> String? {
        guard text.utf8.count <= 4096 else { return "it is longer than 4,096 bytes" }
        let names = text.split(separator: ";").map { $0.prefix { $0 != "=" }.lowercased().filter { !$0.isWhitespace } }
        for field in ["ConnectedRegistryName", "SyncTokenName", "SyncTokenPassword", "ParentGatewayEndpoint", "ParentEndpointProtocol"]
        where !names.contains(field.lowercased()) {
            return "it has no \(field); copy the whole of what 'outport acr connected-registry get-settings --generate-password 1' prints"
        }
        return text.contains("=<") ? "it holds a hint in place of a value; run get-settings again with --generate-password 1" : nil
    }

    /// A DNS subdomain (RFC 1123), as most objects are named.
    package static func isObjectName(_ name: String) -> Bool {
        func isPlain(_ byte: UInt8) -> Bool { (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) }
        return (1...253).contains(name.utf8.count) && name.utf8.allSatisfy { isPlain($0) || $0 == 0x2d || $0 == 0x2e }
            && name.utf8.first.map(isPlain) == true && name.utf8.last.map(isPlain) == true
    }

    private static func isHostByte(_ byte: UInt8) -> Bool {
        (0x61...0x7a).contains(byte) || (0x41...0x5a).contains(byte) || (0x30...0x39).contains(byte) || "-._:[]".utf8.contains(byte)
    }

    /// A positive quantity without an exponent: digits, perhaps a fraction, a suffix.
    private static func isQuantity(_ text: String) -> Bool {
        let number = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        let suffixes: Set<String> = ["", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
        guard suffixes.contains(String(text.dropFirst(number.count))), let value = Double(number) else { return false }
        return value > 0 && text.utf8.count <= 32
    }
}
