// What a webhook is: where events go, which ones, and since when.

package import OCI
package import Persistence

/// What happened to an image.
///
/// The last three are taken as Azure takes them, and fire as often as there: `quarantine` where a quarantine policy is on, which
/// cannot be; those of charts for the repositories of Helm 2, which are gone. A chart that is pushed as an artifact is a `push`.
package enum WebhookAction: String, Sendable, CaseIterable, Codable {
    case push, delete, quarantine
    case chartPush = "chart_push"
    case chartDelete = "chart_delete"
}

/// Which images a webhook is about: none given means all, `app` is all of a repository, `app:v1` one tag; `*` at the end of
/// either stands for anything.
package struct WebhookScope: Sendable, Hashable, CustomStringConvertible {
    package let description: String
    private let repository: Pattern
    private let tag: Pattern

    private struct Pattern: Sendable, Hashable {
        let text: String
        let isPrefix: Bool

        static let any = Pattern(text: "", isPrefix: true)

        private init(text: String, isPrefix: Bool) {
            self.text = text
            self.isPrefix = isPrefix
        }

        /// A name, or the beginning of one; `nil` when it is empty or has its asterisk elsewhere.
        init?(_ text: some StringProtocol) {
            self.isPrefix = text.hasSuffix("*")
            self.text = String(self.isPrefix ? text.dropLast() : text[...])
            guard !self.text.contains("*"), !self.text.isEmpty || self.isPrefix else { return nil }
        }

        func matches(_ name: String) -> Bool { self.isPrefix ? name.hasPrefix(self.text) : name == self.text }
    }

    /// Every image of the registry.
    package static let all = WebhookScope(description: "", repository: .any, tag: .any)

    private init(description: String, repository: Pattern, tag: Pattern) {
        self.description = description
        self.repository = repository
        self.tag = tag
    }

    /// `nil` when the text is no scope.
    package init?(_ text: String) {
        guard text.utf8.count <= 512 else { return nil }
        guard !text.isEmpty else {
            self = .all
            return
        }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let repository = Pattern(parts[0]), let tag = parts.count == 2 ? Pattern(parts[1]) : .any else { return nil }
        self.description = text
        self.repository = repository
        self.tag = tag
    }

    /// - Parameter tag: `nil` for what has none: a scope that names a tag is not about it.
    package func contains(_ repository: RepositoryName, _ tag: Tag?) -> Bool {
        guard self.repository.matches(repository.description) else { return false }
        guard let tag else { return self.tag.isPrefix && self.tag.text.isEmpty }
        return self.tag.matches(tag.description)
    }
}

/// Where events are sent, and with which headers. Kept sealed: addresses and headers carry keys.
package struct WebhookTarget: Sendable, Hashable, Codable {
    package var serviceURI: String
    package var customHeaders: [String: String]

    package init(serviceURI: String, customHeaders: [String: String]) {
        self.serviceURI = serviceURI
        self.customHeaders = customHeaders
    }
}

/// A webhook of a registry.
package struct Webhook: Sendable, Hashable {
    package let id: Int64
    package let registry: RegistryID
    package let name: String
    package var settings: WebhookSettings
    /// Milliseconds since 1970.
    package let created: Int64
    package let updated: Int64
}

/// What its owner may change.
package struct WebhookSettings: Sendable, Hashable {
    package var location: String
    package var tags: [String: String]
    package var actions: [WebhookAction]
    package var scope: WebhookScope
    package var isEnabled: Bool

    package init(location: String, tags: [String: String], actions: [WebhookAction], scope: WebhookScope, isEnabled: Bool) {
        self.location = location
        self.tags = tags
        self.actions = actions
        self.scope = scope
        self.isEnabled = isEnabled
    }
}
