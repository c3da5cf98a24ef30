// The actions of scope maps, as the command line names them and as the wire writes them.

import JSON

/// What a scope map may allow: `repositories/<repository>/<action>` and `gateway/<connected registry>/<action>`.
enum ScopeMapActions {
    static let repository = ["content/delete", "content/read", "content/write", "metadata/read", "metadata/write"]
    static let gateway = ["config/read", "config/write", "message/read", "message/write"]

    /// What a connected registry needs on each of its repositories.
    static func repositoryActions(for mode: ConnectedRegistryMode) -> [String] {
        switch mode {
        case .readOnly: ["content/read", "metadata/read"]
        case .readWrite: ["content/read", "content/write", "content/delete", "metadata/read", "metadata/write"]
        }
    }

    /// The actions of `--repository NAME ACTION …` and `--gateway NAME ACTION …`.
    ///
    /// Each option may be given more than once; its values arrive here in one list. What is an action belongs to the name
    /// before it, what is none starts the next name.
    static func parse(repositories: [String], gateways: [String]) throws(ManagementError) -> [String] {
        try parse(repositories, prefix: "repositories", valid: repository) + parse(gateways, prefix: "gateway", valid: gateway)
    }

    private static func parse(_ words: [String], prefix: String, valid: [String]) throws(ManagementError) -> [String] {
        var actions: [String] = []
        var name: String?
        var count = 0
        for word in words.map({ $0.lowercased() }) {
            if let current = name, valid.contains(word) {
                actions.append("\(prefix)/\(current)/\(word)")
                count += 1
            } else {
                // `--repository app content/raed` reads as two names; the likelier mistake is named.
                if let current = name, count == 0 { throw missing(current, word, valid) }
                (name, count) = (word, 0)
            }
        }
        if let name, count == 0 { throw missing(name, nil, valid) }
        return actions
    }

    private static func missing(_ name: String, _ next: String?, _ valid: [String]) -> ManagementError {
        let list = "Valid actions are \(valid.joined(separator: ", "))."
        if let next { return ManagementError("Invalid action \"\(next)\" provided.", advice: list) }
        return ManagementError("At least one action must be specified with \"\(name)\".", advice: list)
    }

    /// The actions on repositories in a mode, as a connected registry's scope map holds them.
    static func actions(on repositories: [String], _ mode: ConnectedRegistryMode) -> [String] {
        actions(on: repositories, repositoryActions(for: mode))
    }

    static func actions(on repositories: [String], _ names: [String]) -> [String] {
        repositories.flatMap { repository in names.map { "repositories/\(repository.lowercased())/\($0)" } }
    }

    /// The four actions through which a connected registry speaks with its ancestors.
    static func gatewayActions(_ connectedRegistry: String) -> [String] {
        gateway.map { "gateway/\(connectedRegistry.lowercased())/\($0)" }
    }

    /// The actions of a scope map.
    static func list(_ scopeMap: JSONValue) -> [String] {
        scopeMap[path: "properties", "actions"]?.arrayValue?.compactMap(\.stringValue) ?? []
    }

    /// Adds and removes, keeping the order of what stays; nil when nothing changes.
    static func changed(_ current: [String], adding: [String], removing: [String]) -> [String]? {
        let removed = Set(removing)
        var seen: Set<String> = []
        let result = (current + adding).filter { !removed.contains($0) && seen.insert($0).inserted }
        return Set(result) == Set(current) ? nil : result
    }
}
