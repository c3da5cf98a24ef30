// Webhooks: who is told of pushes and deletions.

import ArgumentParser
import JSON

/// `-r` and `-n` of a webhook.
struct WebhookName: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: "The name of the webhook.")
    var name: String

    @OptionGroup var registry: RegistryOption

    func path(_ session: ManagementSession) async throws(ManagementError) -> String {
        "\(try await session.registryPath(registry))/webhooks/\(URLText.segment(name))"
    }
}

/// What `create` and `update` share.
struct WebhookSettings: ParsableArguments {
    @Option(
        parsing: .upToNextOption,
        help: "Space-separated custom headers in 'key[=value]' format that will be added to the notifications. Use \"\" to clear them.")
    var headers: [String] = []

    @Option(
        help: "Scope of events: 'foo:*' means events for all tags under repository 'foo', 'foo:bar' means 'foo:bar' only; empty means all.")
    var scope: String?

    @Option(help: "Indicates whether the webhook is enabled: enabled or disabled.")
    var status: String?

    @Option(parsing: .upToNextOption, help: "Space-separated tags: key[=value] [key[=value] ...]. Use \"\" to clear existing tags.")
    var tags: [String] = []

    func apply(to body: inout JSONValue) {
        if !headers.isEmpty { body[path: "properties", "customHeaders"] = ResourceText.tags(headers) }
        if let scope { body[path: "properties", "scope"] = .string(scope) }
        if let status { body[path: "properties", "status"] = .string(status) }
        if !tags.isEmpty { body["tags"] = ResourceText.tags(tags) }
    }
}

struct WebhookCreateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a webhook for a container registry.",
        discussion: "Example: outport acr webhook create -n mywebhook -r myregistry --uri https://example.com/hook --actions push delete")
    static let table = TableLayout.webhooks

    @OptionGroup var webhook: WebhookName

    @Option(help: "The service URI for the webhook to post notifications.")
    var uri: String

    @Option(
        parsing: .upToNextOption,
        help: "Space-separated list of actions that trigger the webhook: push, delete, quarantine, chart_push, chart_delete.")
    var actions: [String]

    @Option(name: [.customShort("l"), .long], help: "Location. That of the registry by default.")
    var location: String?

    @OptionGroup var settings: WebhookSettings
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        var place = location.map(ResourceText.location)
        if place == nil { place = try await session.client.get(try await session.registryPath(webhook.registry))["location"]?.stringValue }
        var body: JSONValue = [
            "location": .string(orNull: place),
            "properties": ["serviceUri": .string(uri), "actions": .strings(actions), "status": "enabled"],
        ]
        settings.apply(to: &body)
        return ResourceShape.webhook.shape(try await session.client.put(try await webhook.path(session), body))
    }
}

struct WebhookListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List all of the webhooks for a container registry.",
        discussion: "Example: outport acr webhook list -r myregistry -o table")
    static let table = TableLayout.webhooks

    @OptionGroup var registry: RegistryOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        ResourceShape.webhook.shape(try await session.client.list(try await session.registryPath(registry) + "/webhooks"))
    }
}

struct WebhookShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Get the details of a webhook.",
        discussion: "Example: outport acr webhook show -n mywebhook -r myregistry")
    static let table = TableLayout.webhooks

    @OptionGroup var webhook: WebhookName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        ResourceShape.webhook.shape(try await session.client.get(try await webhook.path(session)))
    }
}

struct WebhookUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update a webhook.",
        discussion: "Example: outport acr webhook update -n mywebhook -r myregistry --status disabled")
    static let table = TableLayout.webhooks

    @OptionGroup var webhook: WebhookName

    @Option(help: "The service URI for the webhook to post notifications.")
    var uri: String?

    @Option(
        parsing: .upToNextOption,
        help: "Space-separated list of actions that trigger the webhook: push, delete, quarantine, chart_push, chart_delete.")
    var actions: [String] = []

    @OptionGroup var settings: WebhookSettings
    @OptionGroup var changes: GenericUpdate
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let path = try await webhook.path(session)
        var body: JSONValue = [:]
        if let uri { body[path: "properties", "serviceUri"] = .string(uri) }
        if !actions.isEmpty { body[path: "properties", "actions"] = .strings(actions) }
        settings.apply(to: &body)
        try await changes.apply(to: &body, in: path, session)
        return ResourceShape.webhook.shape(try await session.client.patch(path, body))
    }
}

struct WebhookDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a webhook from a container registry.",
        discussion: "Example: outport acr webhook delete -n mywebhook -r myregistry")

    @OptionGroup var webhook: WebhookName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await session.client.delete(try await webhook.path(session))
        return nil
    }
}

struct WebhookPingCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "ping", abstract: "Trigger a ping event for a webhook.",
        discussion: "Example: outport acr webhook ping -n mywebhook -r myregistry")
    static let table = TableLayout.webhookPing

    @OptionGroup var webhook: WebhookName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await session.client.post(try await webhook.path(session) + "/ping")
    }
}

struct WebhookGetConfigCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "get-config", abstract: "Get the service URI and custom headers for the webhook.",
        discussion: "Example: outport acr webhook get-config -n mywebhook -r myregistry")
    static let table = TableLayout.webhookTarget

    @OptionGroup var webhook: WebhookName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        try await session.client.post(try await webhook.path(session) + "/getCallbackConfig")
    }
}

struct WebhookListEventsCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-events", abstract: "List recent events for a webhook.",
        discussion: "Example: outport acr webhook list-events -n mywebhook -r myregistry -o table")
    static let table = TableLayout.webhookEvents

    @OptionGroup var webhook: WebhookName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        .array(try await session.client.post(try await webhook.path(session) + "/listEvents")?["value"]?.arrayValue ?? [])
    }
}
