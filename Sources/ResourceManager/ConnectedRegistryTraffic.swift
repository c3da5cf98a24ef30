// Budgets, priorities and plans of connected registries: Outport's own members and operations.

internal import Gateway
internal import GatewayProtocol
internal import HTTPServing
internal import JSON
internal import Persistence
internal import Schedule

extension ConnectedRegistryBody {
    /// `byteBudget` with `hour`, `day`, `month` (null ends a limit), `syncPriorities`, `onDemand` and `serveAfterRemoval` (null for ever).
    static func applyTraffic(_ properties: BodyField, to configuration: inout ConnectedRegistryConfiguration) throws {
        let field = try properties["byteBudget"]
        var budget = configuration.budget ?? ByteBudget()
        func limit(_ name: String, _ current: Int64?) throws -> Int64? {
            let field = try field[name]
            if field.isNull { return nil }
            return try field.integer(in: Int(ConnectedRegistryConfiguration.smallestBudget)...Int(1 << 60)).map { Int64($0) } ?? current
        }
        budget.hour = try limit("hour", budget.hour)
        budget.day = try limit("day", budget.day)
        budget.month = try limit("month", budget.month)
        configuration.budget = budget.isEmpty ? nil : budget
        if let patterns = try properties["syncPriorities"].strings(maximum: ConnectedRegistryConfiguration.maximumPriorities) {
            configuration.priorities = patterns.isEmpty ? nil : patterns
        }
        if let isOn = try properties["onDemand"].bool(lenient: true) { configuration.onDemand = isOn ? true : nil }
        let limit = try properties["serveAfterRemoval"]
        if limit.isNull {
            configuration.serveAfterRemoval = nil
        } else if let duration = try self.value(limit, { try ISODuration(parsing: $0) }) {
            configuration.serveAfterRemoval = duration
        }
    }
}

extension ResourceOperations {
    /// The limits of a connected registry and what is spent of them; `null` without limits.
    static func budget(_ connected: ConnectedRegistry) -> JSONValue {
        guard let budget = connected.configuration.budget else { return .null }
        func limit(_ bytes: Int64?) -> JSONValue { bytes.map { .integer($0) } ?? .null }
        return [
            "hour": limit(budget.hour), "day": limit(budget.day), "month": limit(budget.month),
            "used": self.uses(connected.report?.status?.budget),
        ]
    }

    private static func uses(_ uses: [BudgetUse]?) -> JSONValue {
        .array(
            (uses ?? []).map { use in
                [
                    "period": .string(use.period), "limit": .integer(use.limit), "used": .integer(use.used),
                    "renews": .string(Timestamp.text(seconds: use.renews)),
                ]
            })
    }

    func orderPlan(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        guard let ordered = try await self.connectedRegistries.orderPlan(call["name"], in: registry.content) else {
            throw self.notFound(.connectedRegistries, call["name"], in: registry)
        }
        return .document(Self.plan(ordered))
    }

    func showPlan(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        return .document(Self.plan(try await self.connectedRegistry(call, in: registry)))
    }

    private static func plan(_ connected: ConnectedRegistry) -> JSONValue {
        let plan = connected.report?.plan
        let state = connected.isPlanPending ? "Pending" : plan == nil ? "NotAsked" : plan?.problem == nil ? "Ready" : "Failed"
        var value: JSONValue = ["connectedRegistry": .string(connected.name), "state": .string(state)]
        guard let plan else { return value }
        value["computedAt"] = .string(Timestamp.text(milliseconds: plan.computed))
        if let problem = plan.problem { value["reason"] = .string(problem) }
        value["bytes"] = .integer(plan.bytes)
        value["imageCount"] = .integer(Int64(plan.imageCount))
        value["images"] = .array(
            plan.images.map { image in
                [
                    "repository": .string(image.repository.description), "digest": .string(image.digest.description),
                    "tags": .strings(image.tags.map(\.description)), "bytes": .integer(image.bytes),
                ]
            })
        if let up = plan.bytesUp { value["bytesUpAtMost"] = .integer(up) }
        if let budget = plan.budget { value["budget"] = self.uses(budget) }
        return value
    }
}
