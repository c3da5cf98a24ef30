// `/metadata/endpoints`: all that `az cloud register` needs to know, on one page.

internal import HTTPServing
internal import HTTPTypes
internal import JSON

/// Describes the server as a cloud.
struct CloudMetadata: Sendable {
    let names: ServerNames
    /// Whether `az` finds extensions here.
    var hasMirror = false

    /// `https://host:port` as the client knows it, when it used a name of the listener.
    func base(for request: ServerRequest) -> String {
        if let host = request.host, self.names.match(host) == .listener { return "https://\(host)" }
        return self.names.controlPlane
    }

    func answer(_ request: ServerRequest, _ segments: [String]) throws -> ServerResponse {
        guard segments.count == 2, segments[1].lowercased() == "endpoints" else {
            throw ResourceError(
                .notFound, .invalidType,
                "The path '\(request.path.prefix(300))' is not known; the cloud is described at /metadata/endpoints.")
        }
        guard request.method == .get || request.method == .head else {
            throw ResourceError(.methodNotAllowed, .methodNotAllowed, "The cloud's description can only be read; use GET.")
        }
        return .document(self.document(self.base(for: request)))
    }

    /// The members `az` reads. The sign-in endpoint ends in `/adfs`: only then does MSAL not ask the public internet whether
    /// it may trust the host. The graph has an audience of its own, so that the two kinds of tokens can be told apart.
    private func document(_ base: String) -> JSONValue {
        let suffix = self.names.suffix ?? self.names.publicAddress
        var document: JSONValue = [
            "name": "outport", "resourceManager": .string(base),
            "authentication": [
                "loginEndpoint": .string(base + "/adfs"), "audiences": [.string(base + "/")], "tenant": "common", "identityProvider": "AAD",
            ],
            "microsoftGraphResourceId": .string(base + "/graph/"), "graphAudience": .string(base + "/graph/"),
            "graph": .string(base + "/graph/"),
            "portal": .string(base + "/"), "gallery": .string(base + "/"),
            "suffixes": ["acrLoginServer": .string(suffix.description), "storage": .string(suffix.host)],
        ]
        if self.hasMirror { document.apply(mergePatch: ["azmirrorStorageAccountResourceId": .string(base + "/mirror")]) }
        return document
    }
}
