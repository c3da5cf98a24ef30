// Bodies of webhooks.

internal import JSON
internal import OCI
internal import RegistryClient
internal import Webhooks

/// What a body says of a webhook; `nil` for what it does not.
struct WebhookBody {
    let location: String?
    let tags: [String: String]?
    let actions: [WebhookAction]?
    let scope: WebhookScope?
    let isEnabled: Bool?
    let serviceURI: String?
    let customHeaders: [String: String]?

    /// Headers that the sender or the connection decides.
    private static let reserved: Set<String> = [
        "host", "content-length", "transfer-encoding", "connection", "content-encoding", "expect", "upgrade", "te", "trailer",
    ]

    /// - Throws: 400 naming the field.
    init(_ body: BodyField) throws(ResourceError) {
        let properties = try body["properties"]
        self.location = try body["location"].location()
        self.tags = try body["tags"].tags()
        self.actions = try Self.actions(properties["actions"])
        let scope = try properties["scope"]
        self.scope = try scope.string().map { (text) throws(ResourceError) in
            guard let scope = WebhookScope(text) else {
                throw scope.invalid("it is empty, REPOSITORY, REPOSITORY:TAG or REPOSITORY:*, with '*' at the end of a part only")
            }
            return scope
        }
        self.isEnabled = try properties["status"].choice(["enabled", "disabled"]).map { $0 == "enabled" }
        self.serviceURI = try Self.uri(properties["serviceUri"])
        self.customHeaders = try Self.headers(properties["customHeaders"])
    }

    private static func actions(_ field: BodyField) throws(ResourceError) -> [WebhookAction]? {
        guard let elements = try field.elements(maximum: 10) else { return nil }
        var actions: [WebhookAction] = []
        for element in elements {
            let text = try element.choice(WebhookAction.allCases.map(\.rawValue)) ?? ""
            guard let action = WebhookAction(rawValue: text) else { throw element.invalid("it must be the name of an action") }
            if !actions.contains(action) { actions.append(action) }
        }
        guard !actions.isEmpty else { throw field.invalid("it names no action: push, delete or both") }
        return actions
    }

    private static func uri(_ field: BodyField) throws(ResourceError) -> String? {
        guard let text = try field.string(maximum: 4096) else { return nil }
        let scheme = text.lowercased()
        guard scheme.hasPrefix("https://") || scheme.hasPrefix("http://"), SourceURL(text) != nil else {
            throw field.invalid("it must be an address such as https://example.com/hook, without a user name in it")
        }
        return text
    }

    private static func headers(_ field: BodyField) throws(ResourceError) -> [String: String]? {
        guard try field.object() != nil, let members = field.value?.objectValue else { return nil }
        guard members.count <= 50 else { throw field.invalid("there are \(members.count) headers; the limit is 50") }
        var headers: [String: String] = [:]
        var size = 0
        for name in members.keys {
            let isToken =
                !name.isEmpty && name.utf8.allSatisfy { (ASCII.isLetter($0) || ASCII.isDigit($0)) || "!#$%&'*+-.^_`|~".utf8.contains($0) }
            guard isToken else { throw field.invalid("'\(name.prefix(60))' is no name of a header") }
            guard !Self.reserved.contains(name.lowercased()) else { throw field.invalid("the header '\(name)' is set by the server") }
            let value = try field[name].string() ?? ""
            size += name.utf8.count + value.utf8.count
            guard value.utf8.allSatisfy({ $0 < 0x7f }) else { throw try field[name].invalid("a header's value has ASCII characters only") }
            headers[name] = value
        }
        guard size <= 8 << 10 else { throw field.invalid("the headers have \(size) bytes; the limit is 8192") }
        return headers
    }
}
