// From where a registry may be reached.

package import HTTPServing
internal import JSON
internal import OCI

/// Addresses that may reach a registry's content, tokens and gateway.
package struct NetworkRules: Sendable, Hashable {
    /// As many rules as Azure allows.
    static let maximum = 100

    /// Where no public address is let in, these are what is left: loopback and private networks.
    private static let inside = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"].compactMap {
        IPNetwork($0)
    }

    private let networks: [IPNetwork]

    /// `nil` when everybody may.
    init?(_ document: RegistryDocument) {
        if document.settings["publicNetworkAccess"] == "Disabled" {
            self.networks = Self.inside
        } else if document.settings["networkRuleSet.defaultAction"] == "Deny" {
            let rules = document.settings["networkRuleSet.ipRules"]?.arrayValue ?? []
            self.networks = rules.compactMap { $0["value"]?.stringValue.flatMap { IPNetwork($0) } }
        } else {
            return nil
        }
    }

    func allows(_ address: String) -> Bool {
        guard let bytes = AddressLiteral.bytes(address) else { return false }
        return self.networks.contains { $0.contains(bytes) }
    }

    /// The rules of a body, in the form in which they are stored and told.
    ///
    /// - Throws: 400 naming the field.
    static func rules(in field: BodyField) throws(ResourceError) -> JSONValue? {
        guard let elements = try field.elements(maximum: Self.maximum) else { return nil }
        var rules: [JSONValue] = []
        for element in elements {
            let value = try element["value"].requiredString()
            guard IPNetwork(value) != nil else {
                throw try element["value"].invalid("'\(value.prefix(60))' is no address and no network such as 203.0.113.0/24")
            }
            _ = try element["action"].choice(["Allow"])
            rules.append(["action": "Allow", "value": .string(value)])
        }
        return .array(rules)
    }
}

/// Refuses what comes from elsewhere, before anything else is asked. The control plane is not a registry's and stays reachable.
package struct NetworkGate: RequestHandler {
    private static let guarded: Set<String> = ["v2", "acr", "oauth2", "gateway"]

    private let entry: @Sendable (HostAndPort?) -> RegistryEntry?

    /// - Parameter entry: the registry that a host means.
    package init(entry: @escaping @Sendable (HostAndPort?) -> RegistryEntry?) { self.entry = entry }

    package func respond(to request: ServerRequest) async throws -> ServerResponse? {
        guard let first = request.path.utf8.split(separator: UInt8(ascii: "/"), maxSplits: 1).first,
            Self.guarded.contains(Substring(first).lowercased()),
            let registry = self.entry(request.host), let rules = registry.network, !rules.allows(request.remoteAddress)
        else { return nil }
        return .document(
            .forbidden,
            [
                "errors": [
                    [
                        "code": "DENIED",
                        "message": .string(
                            "client with IP '\(request.remoteAddress)' is not allowed access: the registry '\(registry.name)' is closed to it. "
                                + "Its owner lets an address in with 'acr network-rule add --name \(registry.name) --ip-address ADDRESS', or "
                                + "everybody with 'acr update --public-network-enabled true --default-action Allow'"),
                    ]
                ]
            ])
    }
}
