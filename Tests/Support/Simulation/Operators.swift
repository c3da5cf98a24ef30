// What an operator does while everything goes wrong: repositories are added to connected registries and taken away again.

internal import Gateway
internal import GatewayProtocol
internal import HTTPTypes
internal import Identity
internal import OCI
internal import Persistence
internal import Synchronization
internal import TestSupport

/// Sets what is selected, at the root.
final class Operators: Sendable {
    /// The token of those who pull at connected registries.
    static let reader = "reader"

    private let scheduler: Scheduler
    private let scenario: Scenario
    private let root: Machine
    private struct State {
        var selections: [String: Set<RepositoryName>] = [:]
        var gateways: [String: [String]] = [:]
        var password = ""
    }

    private let state = Mutex(State())

    init(_ scheduler: Scheduler, _ scenario: Scenario, _ root: Machine) {
        self.scheduler = scheduler
        self.scenario = scenario
        self.root = root
    }

    /// With what clients pull.
    var credentials: HTTPFields { DataPlane.basic(Self.reader, self.state.withLock { $0.password }) }

    func introduceReader(_ plane: DataPlane) async throws {
        let password = try await plane.client(Self.reader, actions: ["repositories/*/content/read"])
        self.state.withLock { $0.password = password }
    }

    /// What a connected registry has selected, or will have as soon as it hears of it.
    func selection(of name: String) -> Set<RepositoryName> { self.state.withLock { $0.selections[name] } ?? Set(World.repositories) }

    /// Everything at first.
    ///
    /// - Parameter gateways: itself and those below it.
    func begin(_ member: Scenario.Member, gateways: [String]) async throws {
        self.state.withLock { state in
            state.selections[member.name] = Set(World.repositories)
            state.gateways[member.name] = gateways
        }
        try await self.apply(member)
    }

    /// After a while another selection for somebody. As `permissions update` has it: those above get what is added, those below lose
    /// what is removed.
    func selectSomething() async throws {
        try await self.scheduler.sleep(milliseconds: self.scheduler.random(below: 8000) + 1)
        let members = self.scenario.members
        let chosen = members[self.scheduler.random(below: members.count)]
        let choices: [Set<RepositoryName>] = [Set(World.repositories), [World.repositories[0]], [World.repositories[1]]]
        let selection = choices[self.scheduler.random(below: choices.count)]
        self.state.withLock { state in
            state.selections[chosen.name] = selection
            for member in members where state.gateways[member.name]?.contains(chosen.name) == true {
                state.selections[member.name]?.formUnion(selection)
            }
            // Parents come before their children; nobody is left with nothing.
            for member in members {
                guard let parent = member.parent, let above = state.selections[parent], let own = state.selections[member.name] else {
                    continue
                }
                state.selections[member.name] = own.isDisjoint(with: above) ? above : own.intersection(above)
            }
        }
        self.scheduler.note("operator selects \(selection.map(\.description).sorted()) for \(chosen.name)")
        do {
            try await self.applyAll()
        } catch let error as PersistenceError {
            // The root was killed under his hands: done again when there is peace.
            self.scheduler.note("operator is interrupted: \(error.code)")
        }
    }

    /// Has the root know of everything.
    func applyAll() async throws { for member in self.scenario.members { try await self.apply(member) } }

    private func apply(_ member: Scenario.Member) async throws {
        guard let site = self.root.running?.site else { return }
        let selection = self.selection(of: member.name)
        let names = selection.count == World.repositories.count ? ["*"] : selection.map(\.description).sorted()
        let permissions = RepositoryPermission.allCases.filter {
            member.mode == .readWrite || $0 == .contentRead || $0 == .metadataRead
        }
        let actions =
            permissions.flatMap { permission in names.map { "repositories/\($0)/\(permission.rawValue)" } }
            + (self.state.withLock { $0.gateways[member.name] } ?? []).flatMap { gateway in
                GatewayPermission.allCases.map { "gateway/\(gateway)/\($0.rawValue)" }
            }
        try await site.identities.put(
            ScopeMap(name: "map-\(member.name)", text: nil, actions: try actions.map { try ScopeMapAction($0) }, created: 0),
            in: site.registry)
    }
}
