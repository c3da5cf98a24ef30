// Bodies of connected registries: what PUT and PATCH may say, in the forms `az` sends it.

internal import Gateway
internal import JSON
internal import Schedule

/// Reads the bodies of one registry's connected registries.
struct ConnectedRegistryBody: Sendable {
    let registry: RegistryInCall

    /// Notification patterns of one connected registry at most.
    private static let maximumNotifications = 100

    /// A PUT: what the body does not say has its initial value.
    ///
    /// - Parameter identity: with what it is to sign in, where that is no sync token.
    func creation(_ body: BodyField, identity: AssignedIdentity?) throws -> (
        syncToken: String?, configuration: ConnectedRegistryConfiguration
    ) {
        let properties = try body["properties"].required()
        let parent = try properties["parent"].required()
        let sync = try parent["syncProperties"].required()
        let authentication = try self.authentication(sync, identity)
        var token: String?
        if authentication != nil {
            if try sync["tokenId"].string()?.isEmpty == false {
                throw try sync["tokenId"].invalid("with an identity there is no sync token; leave it out")
            }
            if try parent["id"].string()?.isEmpty == false {
                throw try parent["id"].invalid("a connected registry that signs in with an identity is directly below the registry")
            }
        } else {
            token = try self.registry.childName(
                .tokens, in: sync["tokenId"].requiredString(), field: "properties.parent.syncProperties.tokenId")
        }
        // Every day at midnight, as `az` sends it.
        var configuration = ConnectedRegistryConfiguration(garbageCollectionSchedule: try CronSchedule(parsing: "0 0 * * *"))
        configuration.identity = authentication
        if let text = try properties["mode"].choice(ConnectedRegistryMode.allCases.map(\.rawValue)), let mode = ConnectedRegistryMode(text)
        {
            configuration.mode = mode
        }
        if let id = try parent["id"].string(), !id.isEmpty {
            configuration.parent = try self.registry.childName(.connectedRegistries, in: id, field: "properties.parent.id")
        }
        try self.apply(properties, sync: sync, to: &configuration)
        return (token, configuration)
    }

    /// A PATCH: what the body does not say stays; `syncProperties` lies directly below `properties`.
    func patch(_ body: BodyField, of existing: ConnectedRegistryConfiguration, identity: AssignedIdentity?) throws
        -> ConnectedRegistryConfiguration
    {
        let properties = try body["properties"]
        var configuration = existing
        let sync = try properties["syncProperties"]
        let kind = try sync["authType"].choice(Self.authentications)
        if let given = existing.identity {
            // There is one way to change, and no way back.
            guard kind != "SyncToken" else { throw try sync["authType"].invalid("it stays ManagedIdentity once it is; make it anew") }
            guard identity == nil || identity?.id.lowercased() == given.resource.lowercased() else {
                throw try body["identity"].invalid("the identity of a connected registry cannot be changed; make it anew")
            }
        } else {
            configuration.identity = try self.authentication(sync, identity)
        }
        try self.apply(properties, sync: sync, to: &configuration)
        return configuration
    }

    private static let authentications = ["SyncToken", "ManagedIdentity"]

    /// The identity to sign in with, where the body says so and names one.
    private func authentication(_ sync: BodyField, _ identity: AssignedIdentity?) throws(ResourceError)
        -> ConnectedRegistryConfiguration.Identity?
    {
        let field = try sync["authType"]
        switch (try field.choice(Self.authentications) ?? "SyncToken", identity) {
        case ("ManagedIdentity", let identity?):
            return .init(resource: identity.id, client: identity.clientID, principal: identity.principalID)
        case ("ManagedIdentity", nil): throw field.invalid("'ManagedIdentity' needs a user-assigned identity in 'identity'")
        case (_, nil): return nil
        case (_, _): throw .invalid("identity", "it goes with the authType ManagedIdentity only")
        }
    }

    private func apply(_ properties: BodyField, sync: BodyField, to configuration: inout ConnectedRegistryConfiguration) throws {
        if let schedule = try Self.value(sync["schedule"], { try CronSchedule(parsing: $0) }) {
            configuration.schedule = schedule
            // A window belongs to a schedule; continuous synchronisation has none.
            if schedule.isContinuous { configuration.syncWindow = nil }
        }
        if let window = try Self.value(sync["syncWindow"], { try ISODuration(parsing: $0) }) { configuration.syncWindow = window }
        do {
            _ = try SyncWindow(schedule: configuration.schedule, duration: configuration.syncWindow)
        } catch {
            throw ResourceError(.badRequest, .invalidParameter, error.description, target: "\(sync.path).syncWindow")
        }
        if let ttl = try Self.value(sync["messageTtl"], { try MessageTTL(parsing: $0) }) { configuration.messageTtl = ttl }
        if let tokens = try properties["clientTokenIds"].elements() {
            configuration.clientTokens = try tokens.map { try self.registry.childName(.tokens, in: $0.requiredString(), field: $0.path) }
                .reduce(into: []) { unique, name in
                    if !unique.contains(where: { $0.lowercased() == name.lowercased() }) { unique.append(name) }
                }
        }
        if let patterns = try properties["notificationsList"].elements(maximum: Self.maximumNotifications) {
            configuration.notifications = try patterns.map { pattern in
                guard let text = try pattern.string(maximum: 512), !text.isEmpty else {
                    throw pattern.invalid("it must be a string such as hello-world:tag:*")
                }
                return text
            }
        }
        let logging = try properties["logging"]
        if let level = try logging["logLevel"].choice(ConnectedRegistryConfiguration.logLevels) { configuration.logLevel = level }
        if let isEnabled = try Self.auditLogs(logging["auditLogStatus"]) { configuration.auditLogsEnabled = isEnabled }
        let collection = try properties["garbageCollection"]
        if let isEnabled = try collection["enabled"].bool(lenient: true) { configuration.garbageCollectionEnabled = isEnabled }
        if let schedule = try Self.value(collection["schedule"], { try CronSchedule(parsing: $0) }) {
            configuration.garbageCollectionSchedule = schedule
        }
        try Self.applyTraffic(properties, to: &configuration)
    }

    /// `Enabled` and `Disabled` on create; `az` sends a boolean on update.
    private static func auditLogs(_ field: BodyField) throws(ResourceError) -> Bool? {
        if let flag = field.value?.boolValue { return flag }
        return try field.choice(["Enabled", "Disabled"]).map { $0 == "Enabled" }
    }

    static func value<Value>(_ field: BodyField, _ parse: (String) throws -> Value) throws -> Value? {
        guard let text = try field.string() else { return nil }
        do {
            return try parse(text)
        } catch let error as ScheduleError {
            throw ResourceError(.badRequest, .invalidParameter, "'\(field.path)': \(error.description)", target: field.path)
        }
    }
}
