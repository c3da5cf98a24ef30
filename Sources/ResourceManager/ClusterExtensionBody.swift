// Bodies of `Microsoft.KubernetesConfiguration/extensions`, as `az k8s-extension` sends them, and the documents that answer.

internal import ClusterProtocol
internal import Identity
internal import JSON
internal import Persistence

/// What a body asks for, put together with what was there.
struct ExtensionOrder: Sendable {
    var document: ExtensionDocument
    var protected: [String: String]

    /// Reads a whole extension.
    init(body: BodyField, existing: (document: ExtensionDocument, protected: [String: String])?, by principal: Principal)
        throws(ResourceError)
    {
        try Self.checkIdentity(body)
        let properties = try body["properties"].required()
        let type = try properties["extensionType"].requiredString().lowercased()
        guard type == ExtensionSettings.type else {
            throw .notAvailable(
                "The extension type '\(type.prefix(100))' (this server installs \(ExtensionSettings.type))",
                target: "properties.extensionType")
        }
        if let namespace = try properties.at(["scope", "cluster", "releaseNamespace"]).string(),
            namespace != ExtensionSettings.namespace
        {
            throw try properties.at(["scope", "cluster", "releaseNamespace"]).invalid(
                "the agent may work in '\(ExtensionSettings.namespace)' alone")
        }
        if try properties.at(["scope", "namespace"]).object() != nil {
            throw try properties.at(["scope", "namespace"]).invalid("this extension is installed once in a cluster; leave the scope out")
        }
        let kind = principal.kind == .user ? "User" : "Application"
        let settings = try Self.settings(properties["configurationSettings"])
        let protected = try Self.settings(properties["configurationProtectedSettings"])
        self.document = ExtensionDocument(
            type: type, version: try Self.version(properties["version"]), releaseTrain: try properties["releaseTrain"].string(maximum: 100),
            upgradesMinorVersions: try properties["autoUpgradeMinorVersion"].bool(lenient: true) ?? true, settings: [:], protectedNames: [],
            createdBy: existing?.document.createdBy ?? principal.name, createdByKind: existing?.document.createdByKind ?? kind,
            modifiedBy: principal.name, modifiedByKind: kind)
        self.protected = [:]
        // Protected settings are read back blank: whoever sends what was read means what is there.
        for (name, value) in protected {
            if let value = value.flatMap({ $0.isEmpty ? existing?.protected[name] : $0 }) { self.protected[name] = value }
        }
        self.apply(settings, [:])
        try self.check()
    }

    /// Applies a change: settings are replaced one by one, null takes one out.
    init(patch body: BodyField, of document: ExtensionDocument, protected: [String: String], by principal: Principal) throws(ResourceError)
    {
        self.document = document
        self.protected = protected
        try Self.checkIdentity(body)
        let properties = try body["properties"]
        if try properties["version"].isPresent { self.document.version = try Self.version(properties["version"]) }
        if let train = try properties["releaseTrain"].string(maximum: 100) { self.document.releaseTrain = train }
        if let flag = try properties["autoUpgradeMinorVersion"].bool(lenient: true) { self.document.upgradesMinorVersions = flag }
        self.apply(
            try Self.settings(properties["configurationSettings"]),
            try Self.settings(properties["configurationProtectedSettings"]).filter { $0.value?.isEmpty != true })
        self.document.modifiedBy = principal.name
        self.document.modifiedByKind = principal.kind == .user ? "User" : "Application"
        try self.check()
    }

    /// An extension acts as its cluster, whatever a body says of identities.
    private static func checkIdentity(_ body: BodyField) throws(ResourceError) {
        _ = try body["identity"]["type"].choice(["None", "SystemAssigned"])
    }

    private mutating func apply(_ settings: [String: String?], _ protected: [String: String?]) {
        for (name, value) in settings {
            // A secret among the open settings is one all the same.
            if ExtensionSettings.secretNames.contains(name) { self.protected[name] = value } else { self.document.settings[name] = value }
        }
        for (name, value) in protected { self.protected[name] = value }
        self.document.protectedNames = self.protected.keys.sorted()
    }

    private func check() throws(ResourceError) {
        do throws(SettingsError) {
            _ = try ExtensionSettings(settings: self.document.settings, protected: self.protected)
        } catch {
            let half = error.isProtected || ExtensionSettings.secretNames.contains(error.setting) ? "Protected" : ""
            throw .invalid("properties.configuration\(half)Settings.\(error.setting.prefix(60))", error.reason)
        }
    }

    private static func version(_ field: BodyField) throws(ResourceError) -> String? {
        guard let text = try field.string(maximum: 128), !text.isEmpty else { return nil }
        guard text.utf8.first.map({ $0 != 0x2d && $0 != 0x2e }) == true,
            text.unicodeScalars.allSatisfy({
                $0.isASCII && ($0.properties.isAlphabetic || $0.properties.numericType != nil || "-._".unicodeScalars.contains($0))
            })
        else { throw field.invalid("a version is the tag of an image, such as 0.1.0") }
        return text
    }

    /// Settings by name; a value may be a string, a number or a truth value, and null takes the setting out.
    private static func settings(_ field: BodyField) throws(ResourceError) -> [String: String?] {
        guard try field.object() != nil, let members = field.value?.objectValue else { return [:] }
        guard members.count <= 50 else { throw field.invalid("there are \(members.count) settings; the limit is 50") }
        var settings: [String: String?] = [:]
        for (name, value) in members {
            switch value {
            case .string(let text):
                guard text.utf8.count <= 64 << 10 else { throw .invalid("\(field.path).\(name.prefix(60))", "it is longer than 64 KiB") }
                settings[name] = .some(text)
            case .bool, .integer, .number: settings[name] = .some(value.serialized())
            case .null: settings[name] = .some(nil)
            default: throw .invalid("\(field.path).\(name.prefix(60))", "it must be text")
            }
        }
        return settings
    }
}

extension ResourceOperations {
    /// An extension as it is shown: protected settings by name alone.
    func value(_ found: StoredExtension, of cluster: StoredRecord) -> JSONValue {
        let (document, report) = (found.document, found.report)
        let now = self.services.clock.milliseconds()
        var settings = document.settings.mapValues { JSONValue.string($0) }
        for (name, value) in report?.settings ?? [:] { settings[name] = .string(value) }
        if settings["pvc.storageRequest"] == nil { settings["pvc.storageRequest"] = .string(ExtensionSettings.defaultStorage) }
        let error: JSONValue =
            report?.generation == found.generation
            ? report?.error.map { ["code": .string($0.code.rawValue), "message": .string($0.message), "target": nil, "details": nil] }
                ?? .null : .null
        return [
            "id": .string(found.id), "name": .string(found.name), "type": "Microsoft.KubernetesConfiguration/extensions",
            "identity": [
                "type": "SystemAssigned", "principalId": .string(orNull: cluster.document.facts["principalId"]),
                "tenantId": .string(self.services.authority.tenantID),
            ],
            "plan": nil,
            "systemData": [
                "createdBy": .string(document.createdBy), "createdByType": .string(document.createdByKind),
                "createdAt": .string(Timestamp.text(milliseconds: found.created)), "lastModifiedBy": .string(document.modifiedBy),
                "lastModifiedByType": .string(document.modifiedByKind),
                "lastModifiedAt": .string(Timestamp.text(milliseconds: found.updated)),
            ],
            "properties": [
                "extensionType": .string(document.type), "autoUpgradeMinorVersion": .bool(document.upgradesMinorVersions),
                "releaseTrain": .string(document.releaseTrain ?? "stable"), "version": .string(orNull: document.version),
                "currentVersion": .string(orNull: report?.currentVersion), "isSystemExtension": false,
                "scope": ["cluster": ["releaseNamespace": .string(ExtensionSettings.namespace)], "namespace": nil],
                "configurationSettings": .object(settings),
                "configurationProtectedSettings": .object(
                    Dictionary(document.protectedNames.map { ($0, JSONValue.string("")) }) { first, _ in first }),
                "provisioningState": .string(found.state.rawValue), "errorInfo": error,
                "statuses": .array(
                    (report?.statuses ?? []).map {
                        [
                            "code": .string($0.code), "displayStatus": .string($0.displayStatus), "level": .string($0.level.rawValue),
                            "message": .string($0.message), "time": .string(Timestamp.text(milliseconds: now)),
                        ]
                    }), "customLocationSettings": nil, "packageUri": nil, "aksAssignedIdentity": nil,
            ],
        ]
    }
}
