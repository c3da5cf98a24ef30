// Resource ids: parsed in any letter case, written in one.

/// Where a resource is: `/subscriptions/…/resourceGroups/…/providers/Microsoft.ContainerRegistry/registries/…`.
///
/// Clients write ids they have composed themselves in other letter cases than those given out, so two ids are the same when
/// their ``key`` is.
package struct ResourceID: Sendable, Hashable, CustomStringConvertible {
    /// What lies in a registry and has an id of its own.
    package enum ChildKind: String, Sendable, CaseIterable {
        case scopeMaps, tokens, connectedRegistries, replications, webhooks, cacheRules, credentialSets
    }

    package let subscription: String
    package let group: String?
    package let registry: String?
    package let child: String?
    package let childKind: ChildKind?
    /// What lies in a group and is no registry.
    let recordKind: ResourceKind?
    let record: String?

    package init(subscription: String, group: String? = nil, registry: String? = nil) {
        self.init(subscription: subscription, group: group, registry: registry, childKind: nil, child: nil)
    }

    /// The id of a resource in a group that is no registry.
    init(subscription: String, group: String, _ kind: ResourceKind, _ name: String) {
        self.init(subscription: subscription, group: group, registry: nil, childKind: nil, child: nil, recordKind: kind, record: name)
    }

    private init(
        subscription: String, group: String?, registry: String?, childKind: ChildKind?, child: String?, recordKind: ResourceKind? = nil,
        record: String? = nil
    ) {
        self.recordKind = recordKind
        self.record = record
        self.subscription = subscription.lowercased()
        self.group = group
        self.registry = registry
        self.childKind = childKind
        self.child = child
    }

    /// Parses an id; `nil` when it is none of this server's kinds.
    package init?(_ text: String) {
        guard text.utf8.count <= 1024, text.hasPrefix("/") else { return nil }
        let parts = text.split(separator: "/").map(String.init)
        func keyword(_ index: Int, _ word: String) -> Bool { index < parts.count && parts[index].lowercased() == word }
        guard parts.count >= 2, keyword(0, "subscriptions") else { return nil }
        switch parts.count {
        case 2: self.init(subscription: parts[1])
        case 4 where keyword(2, "resourcegroups"): self.init(subscription: parts[1], group: parts[3])
        case 8 where keyword(2, "resourcegroups") && keyword(4, "providers") && !keyword(5, "microsoft.containerregistry"):
            let type = "\(parts[5])/\(parts[6])".lowercased()
            guard let kind = ResourceKind.records.first(where: { $0.rawValue.lowercased() == type }) else { return nil }
            self.init(subscription: parts[1], group: parts[3], kind, parts[7])
        case 8, 10:
            guard keyword(2, "resourcegroups"), keyword(4, "providers"), keyword(5, "microsoft.containerregistry"), keyword(6, "registries")
            else { return nil }
            if parts.count == 8 {
                self.init(subscription: parts[1], group: parts[3], registry: parts[7])
            } else {
                guard let kind = ChildKind.allCases.first(where: { $0.rawValue.lowercased() == parts[8].lowercased() }) else { return nil }
                self.init(subscription: parts[1], group: parts[3], registry: parts[7], childKind: kind, child: parts[9])
            }
        default: return nil
        }
    }

    /// The id of something in this registry.
    package func child(_ kind: ChildKind, _ name: String) -> ResourceID {
        ResourceID(subscription: self.subscription, group: self.group, registry: self.registry, childKind: kind, child: name)
    }

    /// The id of what contains this.
    var parent: ResourceID? {
        if self.child != nil { return ResourceID(subscription: self.subscription, group: self.group, registry: self.registry) }
        if self.registry != nil || self.record != nil { return ResourceID(subscription: self.subscription, group: self.group) }
        return self.group != nil ? ResourceID(subscription: self.subscription) : nil
    }

    var name: String { self.child ?? self.registry ?? self.record ?? self.group ?? self.subscription }

    var type: String {
        if let childKind { return "\(ResourceKind.registry.rawValue)/\(childKind.rawValue)" }
        if self.registry != nil { return ResourceKind.registry.rawValue }
        if let recordKind { return recordKind.rawValue }
        return (self.group != nil ? ResourceKind.group : ResourceKind.subscription).rawValue
    }

    package var description: String {
        var text = "/subscriptions/\(self.subscription)"
        if let group { text += "/resourceGroups/\(group)" }
        if let registry { text += "/providers/\(ResourceKind.registry.rawValue)/\(registry)" }
        if let recordKind, let record { text += "/providers/\(recordKind.rawValue)/\(record)" }
        if let childKind, let child { text += "/\(childKind.rawValue)/\(child)" }
        return text
    }

    /// What ids are compared by.
    package var key: String { self.description.lowercased() }
}

/// The kinds of stored resources, by their ARM type.
package enum ResourceKind: String, Sendable {
    case subscription = "Microsoft.Resources/subscriptions"
    case group = "Microsoft.Resources/resourceGroups"
    case registry = "Microsoft.ContainerRegistry/registries"
    case identity = "Microsoft.ManagedIdentity/userAssignedIdentities"
    case managedCluster = "Microsoft.ContainerService/managedClusters"
    case connectedCluster = "Microsoft.Kubernetes/connectedClusters"
    case cacheRule = "Microsoft.ContainerRegistry/registries/cacheRules"
    case credentialSet = "Microsoft.ContainerRegistry/registries/credentialSets"

    /// What lies in a group and is no registry.
    static let records: [ResourceKind] = [.identity, .managedCluster, .connectedCluster]
    /// What lies in a registry and is stored as a document.
    static let parts: [ResourceKind] = [.cacheRule, .credentialSet]
}
