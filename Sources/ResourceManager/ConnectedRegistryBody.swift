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
    func creation(_ body: BodyField) throws -> (syncToken: String, configuration: ConnectedRegistryConfiguration) {
        let properties = try body["properties"].required()
        try self.refuseIdentity(body)
        let parent = try properties["parent"].required()
        let sync = try parent["syncProperties"].required()
        let token = try self.registry.childName(
            .tokens, in: sync["tokenId"].requiredString(), field: "properties.parent.syncProperties.tokenId")
        // Every day at midnight, as `az` sends it.
        var configuration = ConnectedRegistryConfiguration(garbageCollectionSchedule: try CronSchedule(parsing: "0 0 * * *"))
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
    func patch(_ body: BodyField, of existing: ConnectedRegistryConfiguration) throws -> ConnectedRegistryConfiguration {
        try self.refuseIdentity(body)
        let properties = try body["properties"]
        var configuration = existing
        try self.apply(properties, sync: properties["syncProperties"], to: &configuration)
        return configuration
    }

    private func refuseIdentity(_ body: BodyField) throws(ResourceError) {
        if let type = try body["identity"]["type"].string(), type.lowercased() != "none" {
            throw .notAvailable("A managed identity", target: "identity")
        }
    }

    private func apply(_ properties: BodyField, sync: BodyField, to configuration: inout ConnectedRegistryConfiguration) throws {
        if try sync["authType"].choice(["SyncToken", "ManagedIdentity"]) == "ManagedIdentity" {
            throw ResourceError.notAvailable("Synchronising with a managed identity", target: "\(sync.path).authType")
        }
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
