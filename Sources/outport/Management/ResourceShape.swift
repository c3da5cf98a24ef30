// Resources as `az` shows them: their properties one level up, the group's name taken from the id, null for what is unset.

import JSON

/// The form in which resources are printed and queried, so that `--query loginServer` works as documented.
///
/// The server's bodies keep their own form (`properties.loginServer`); only what is printed is changed.
struct ResourceShape: Sendable {
    /// The members that are always there, null unless the server sends them; an array's element stands for all elements.
    let skeleton: JSONValue
    /// Whether times are printed as the server sends them: the newer half of `az` reads no models.
    var keepsTimes = false

    /// Who made a resource and who changed it.
    static let systemData: JSONValue = [
        "createdAt": nil, "createdBy": nil, "createdByType": nil, "lastModifiedAt": nil, "lastModifiedBy": nil, "lastModifiedByType": nil,
    ]

    func shape(_ resource: JSONValue) -> JSONValue {
        guard case .object(var members) = resource else { return resource }
        if case .object(let properties)? = members.removeValue(forKey: "properties") {
            // A scope map has a type of its own, which `az` does not show and which must not hide the type of the resource.
            for (key, value) in properties where key != "type" { members[key] = value }
        }
        let whole = Self.addingGroups(to: Self.filled(.object(members), skeleton))
        return keepsTimes ? whole : PrintedForms.of(whole)
    }

    func shape(_ resources: [JSONValue]) -> JSONValue { .array(resources.map(shape)) }

    /// With properties where they are.
    func whole(_ resource: JSONValue) -> JSONValue { Self.addingGroups(to: Self.filled(resource, skeleton)) }

    private static func filled(_ value: JSONValue, _ skeleton: JSONValue) -> JSONValue {
        switch (value, skeleton) {
        case (.object(var members), .object(let expected)):
            for (key, inner) in expected { members[key] = members[key].map { filled($0, inner) } ?? .null }
            return .object(members)
        case (.array(let elements), .array(let expected)):
            guard let inner = expected.first else { return value }
            return .array(elements.map { filled($0, inner) })
        default: return value
        }
    }

    /// Adds `resourceGroup` beside every id of a resource in a group, however deep.
    static func addingGroups(to value: JSONValue) -> JSONValue {
        switch value {
        case .array(let elements): return .array(elements.map(addingGroups))
        case .object(let members):
            var members = members.mapValues(addingGroups)
            let parts = members["id"]?.stringValue?.split(separator: "/", omittingEmptySubsequences: false) ?? []
            if parts.count > 8, parts[3].lowercased() == "resourcegroups", members["resourceGroup"] == nil {
                members["resourceGroup"] = .string(String(parts[4]))
            }
            return .object(members)
        default: return value
        }
    }

    static let webhook = ResourceShape(skeleton: [
        "id": nil, "name": nil, "type": nil, "location": nil, "tags": nil, "systemData": ResourceShape.systemData, "status": nil,
        "scope": nil,
        "actions": nil, "provisioningState": nil,
    ])

    /// A registry, with the two members that `az` calls by other names.
    static func registry(_ resource: JSONValue) -> JSONValue {
        var resource = resource
        if case .object(var policies)? = resource[path: "properties", "policies"] {
            policies["azureAdAuthenticationAsArmPolicy"] = policies.removeValue(forKey: "azureADAuthenticationAsArmPolicy")
            resource[path: "properties", "policies"] = .object(policies)
        }
        if let rules = resource[path: "properties", "networkRuleSet", "ipRules"]?.arrayValue {
            resource[path: "properties", "networkRuleSet", "ipRules"] = NetworkRules.rules(rules)
        }
        return self.registryShape.shape(resource)
    }

    private static let registryShape = ResourceShape(skeleton: [
        "id": nil, "name": nil, "type": nil, "location": nil, "tags": nil, "sku": ["name": nil, "tier": nil],
        "identity": ["principalId": nil, "tenantId": nil, "userAssignedIdentities": nil],
        "systemData": ResourceShape.systemData, "loginServer": nil, "creationDate": nil, "provisioningState": nil, "status": nil,
        "adminUserEnabled": nil, "networkRuleSet": ["virtualNetworkRules": nil],
        "policies": ["retentionPolicy": ["lastUpdatedTime": nil], "softDeletePolicy": ["lastUpdatedTime": nil]],
        "encryption": ["keyVaultProperties": nil], "dataEndpointEnabled": nil,
        "dataEndpointHostNames": nil, "regionalEndpoints": nil, "regionalEndpointHostNames": nil, "endpointProtocol": nil,
        "privateEndpointConnections": nil, "publicNetworkAccess": nil, "networkRuleBypassOptions": nil,
        "networkRuleBypassAllowedForTasks": nil, "zoneRedundancy": nil, "anonymousPullEnabled": nil, "metadataSearch": nil,
        "writableCacheRepos": nil, "roleAssignmentMode": nil, "autoGeneratedDomainNameLabelScope": nil,
    ])

    static let scopeMap = ResourceShape(skeleton: [
        "id": nil, "name": nil, "type": nil, "systemData": ResourceShape.systemData, "description": nil, "creationDate": nil,
        "provisioningState": nil,
        "actions": nil,
    ])

    private static let password: JSONValue = ["creationTime": nil, "expiry": nil, "name": nil, "value": nil]

    static let token = ResourceShape(skeleton: [
        "id": nil, "name": nil, "type": nil, "systemData": ResourceShape.systemData, "creationDate": nil, "provisioningState": nil,
        "scopeMapId": nil,
        "status": nil, "credentials": ["certificates": nil, "passwords": [password]],
    ])

    static let passwords = ResourceShape(skeleton: ["username": nil, "passwords": [password]])

    static let connectedRegistry = ResourceShape(skeleton: [
        "id": nil, "name": nil, "type": nil, "systemData": ResourceShape.systemData, "identity": ["principalId": nil, "tenantId": nil],
        "provisioningState": nil, "mode": nil, "version": nil,
        "connectionState": nil, "lastActivityTime": nil, "activation": ["status": nil],
        "parent": [
            "id": nil,
            "syncProperties": [
                "tokenId": nil, "schedule": nil, "syncWindow": nil, "messageTtl": nil, "lastSyncTime": nil, "gatewayEndpoint": nil,
                "authType": nil,
            ],
        ],
        "clientTokenIds": nil, "loginServer": ["host": nil, "tls": ["status": nil, "certificate": nil]],
        "logging": ["logLevel": nil, "auditLogStatus": nil],
        "statusDetails": [["type": nil, "code": nil, "description": nil, "timestamp": nil, "correlationId": nil]],
        "notificationsList": nil, "garbageCollection": ["enabled": nil, "schedule": nil],
        "registrySyncResult": [
            "syncTrigger": nil, "syncState": nil, "lastSyncStartTime": nil, "lastSyncEndTime": nil, "lastSuccessfulSyncEndTime": nil,
        ],
    ])

    static let nameStatus = ResourceShape(skeleton: ["availableLoginServerName": nil, "message": nil, "nameAvailable": nil, "reason": nil])

    /// Groups keep their properties where they are.
    static func group(_ resource: JSONValue) -> JSONValue {
        var resource = resource
        for key in ["managedBy", "tags"] where resource[key] == nil { resource[key] = .null }
        return resource
    }
}
