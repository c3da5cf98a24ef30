// The connection string: the only thing a connected registry needs to be told.

internal import Identity
internal import OCI
package import RegistryClient

/// Why a connection string was refused. The text of the string is never part of it.
package struct ConnectionStringError: Error, Sendable, Equatable, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}

/// A parsed connection string, as `get-settings` composes it:
/// `ConnectedRegistryName=…;SyncTokenName=…;SyncTokenPassword=…;ParentGatewayEndpoint=…;ParentEndpointProtocol=…`.
package struct ConnectionString: Sendable, Equatable {
    package let connectedRegistry: String
    package let syncToken: String
    package let password: String
    package let parent: ServerEndpoint
    /// Other endpoints of the same parent, to be tried where that cannot be reached.
    package private(set) var alternates: [ServerEndpoint] = []
    /// SHA-256 of the public key of the parent's own authority, when the password carries one after its last `.`.
    package let pin: String?

    private static let fields = [
        "ConnectedRegistryName", "SyncTokenName", "SyncTokenPassword", "ParentGatewayEndpoint", "ParentEndpointProtocol",
    ]

    /// Parses the string. Line ends and blanks around it are ignored; each value reaches from its first `=` to the next `;`.
    package init(parsing text: String) throws(ConnectionStringError) {
        let trimmed = Self.trim(text[...])
        guard !trimmed.isEmpty else {
            throw .init("the connection string is empty; 'outport acr connected-registry get-settings' prints one")
        }
        guard trimmed.utf8.count <= 4096, trimmed.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else {
            throw .init("the connection string holds control characters or is longer than 4,096 bytes; copy it again, on one line")
        }
        var values: [String: String] = [:]
        for (number, item) in trimmed.split(separator: ";", omittingEmptySubsequences: true).enumerated() {
            guard let equals = item.firstIndex(of: "=") else {
                throw .init("a part of the connection string has no '='; parts are <name>=<value>, separated by ';'")
            }
            let name = Self.trim(item[..<equals])
            guard let known = Self.fields.first(where: { $0.lowercased() == name.lowercased() }) else {
                if name.lowercased() == "managedidentityclientid" {
                    throw .init(
                        "MANAGED_IDENTITY_NOT_SUPPORTED: the connection string is for a managed identity, with which this version cannot sign in; "
                            + "make the connected registry anew with a sync token (acr connected-registry create --repository …)")
                }
                // Its name is not repeated: it may be the end of a password that holds a ';'.
                throw .init(
                    "part \(number + 1) of the connection string is an unknown field; known are \(Self.fields.joined(separator: ", "))")
            }
            guard values[known] == nil else { throw .init("the connection string has \(known) twice") }
            values[known] = String(item[item.index(after: equals)...])
        }
        func value(_ name: String) throws(ConnectionStringError) -> String {
            guard let value = values[name].map({ Self.trim($0[...]) }), !value.isEmpty else {
                throw .init("the connection string has no \(name); copy the whole of what get-settings printed")
            }
            return value
        }
        self.connectedRegistry = try value("ConnectedRegistryName")
        self.syncToken = try value("SyncTokenName")
        for (field, name) in [("ConnectedRegistryName", self.connectedRegistry), ("SyncTokenName", self.syncToken)]
        where !ResourceName.isValid(name) {
            throw .init("\(field) is not valid: names are 5 to 50 letters, digits, '-' and '_'")
        }
        self.password = try value("SyncTokenPassword")
        guard !self.password.hasPrefix("<") else {
            throw .init(
                "the connection string holds no password, only the hint '<use --generate-password …>'; run get-settings again with --generate-password 1"
            )
        }
        let endpoint = try value("ParentGatewayEndpoint")
        guard !endpoint.hasPrefix("<") else {
            throw .init(
                "the connection string names no parent, only the hint '<parent gateway endpoint>'; is the data endpoint of the registry on?"
            )
        }
        let isSecure: Bool
        switch try value("ParentEndpointProtocol").lowercased() {
        case "https": isSecure = true
        case "http": isSecure = false
        default: throw .init("ParentEndpointProtocol must be http or https")
        }
        let list = endpoint.split(separator: ",", omittingEmptySubsequences: false).map { Self.trim($0) }
        guard let parent = Self.endpoint(list[0], isSecure: isSecure) else {
            throw .init("ParentGatewayEndpoint must be a host name or address, with a port if needed, without anything else")
        }
        self.parent = parent
        let tail = self.password.split(separator: ".", omittingEmptySubsequences: false).last ?? ""
        let isPin =
            self.password.contains(".") && tail.utf8.count == 64
            && tail.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
        self.pin = isPin ? String(tail) : nil
        try self.add(parentEndpoints: Array(list.dropFirst()))
    }

    /// Endpoints at most, the first one included.
    private static let maximumEndpoints = 8

    /// Adds endpoints of the same parent, each a host name or address with a port if needed. They speak the protocol of the first.
    package mutating func add(parentEndpoints texts: [String]) throws(ConnectionStringError) {
        for text in texts {
            guard let endpoint = Self.endpoint(text, isSecure: self.parent.isSecure) else {
                throw .init("a further endpoint of the parent must be a host name or address, with a port if needed, without anything else")
            }
            guard endpoint != self.parent, !self.alternates.contains(endpoint) else { continue }
            guard self.alternates.count + 1 < Self.maximumEndpoints else {
                throw .init("the parent has more than \(Self.maximumEndpoints) endpoints; name those that are worth trying")
            }
            self.alternates.append(endpoint)
        }
    }

    /// All endpoints of the parent, in the order in which they are tried.
    package var endpoints: [ServerEndpoint] { [self.parent] + self.alternates }

    private static func endpoint(_ text: String, isSecure: Bool) -> ServerEndpoint? {
        // Letters, digits and what addresses are written with: it goes into requests as it is.
        guard text.utf8.allSatisfy({ ASCII.isLetter($0) || ASCII.isDigit($0) || "-._:[]".utf8.contains($0) }) else { return nil }
        var (host, port): (Substring, Substring?) = (text[...], nil)
        if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
            host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { return nil }
            port = rest.isEmpty ? nil : rest.dropFirst()
        } else if let colon = text.lastIndex(of: ":") {
            (host, port) = (text[..<colon], text[text.index(after: colon)...])
            guard !host.contains(":") else { return nil }
        }
        guard !host.isEmpty, !host.contains(where: { "[]".contains($0) }) else { return nil }
        guard let port else { return ServerEndpoint(host: host.lowercased(), port: isSecure ? 443 : 80, isSecure: isSecure) }
        guard let number = UInt16(port), number > 0 else { return nil }
        return ServerEndpoint(host: host.lowercased(), port: Int(number), isSecure: isSecure)
    }

    private static func trim(_ text: Substring) -> String {
        let isBlank: (Character) -> Bool = { $0.isWhitespace || $0.isNewline }
        return String(text.drop(while: isBlank).reversed().drop(while: isBlank).reversed())
    }
}
