// The columns of the tables that `az acr`, `az group` and `az account` print.

import JSON

extension TableLayout {
    static let registries = TableLayout { item in
        [
            ("NAME", text(item, "name")), ("RESOURCE GROUP", text(item, "resourceGroup")), ("LOCATION", text(item, "location")),
            ("SKU", text(item, "sku", "name")), ("LOGIN SERVER", text(item, "loginServer")),
            ("CREATION DATE", date(text(item, "creationDate"))), ("ADMIN ENABLED", text(item, "adminUserEnabled")),
        ]
    }

    static let usage = TableLayout { result in
        (result["value"]?.arrayValue ?? result.arrayValue ?? [result]).map { item in
            [
                ("NAME", text(item, "name")), ("LIMIT", text(item, "limit")), ("CURRENT VALUE", text(item, "currentValue")),
                ("UNIT", text(item, "unit")),
            ]
        }
    }

    static let adminCredentials = TableLayout { item in
        [
            ("USERNAME", text(item, "username")), ("PASSWORD", item["passwords"]?[0]?["value"]?.stringValue ?? ""),
            ("PASSWORD2", item["passwords"]?[1]?["value"]?.stringValue ?? ""),
        ]
    }

    static let endpoints = TableLayout { result in
        (result["dataEndpoints"]?.arrayValue ?? []).map { endpoint in
            [
                ("LoginServer", text(result, "loginServer")), ("Region", text(endpoint, "region")),
                ("Endpoint", text(endpoint, "endpoint")),
            ]
        }
    }

    static let scopeMaps = TableLayout { item in
        let description = text(item, "description")
        let isLong = description.unicodeScalars.count > 57
        return [
            ("NAME", text(item, "name")), ("TYPE", ""), ("CREATION DATE", date(text(item, "creationDate"))),
            ("DESCRIPTION", isLong ? String(String.UnicodeScalarView(description.unicodeScalars.prefix(57))) + "..." : description),
        ]
    }

    static let webhooks = TableLayout { item in
        [
            ("NAME", text(item, "name")), ("LOCATION", text(item, "location")),
            // As `az` prints a list in a cell.
            ("ACTIONS", "[" + (item["actions"]?.arrayValue ?? []).map { "'\($0.stringValue ?? "")'" }.joined(separator: ", ") + "]"),
            ("SCOPE", text(item, "scope")), ("STATUS", text(item, "status")),
        ]
    }

    static let replications = TableLayout { item in
        [
            ("NAME", text(item, "name")), ("LOCATION", text(item, "location")), ("PROVISIONING STATE", text(item, "provisioningState")),
            ("STATUS", text(item, "status", "displayStatus")), ("REGION ENDPOINT ENABLED", text(item, "regionEndpointEnabled")),
        ]
    }

    static let webhookPing = TableLayout { item in [("ID", text(item, "id"))] }

    static let webhookTarget = TableLayout { item in
        let headers = (item["customHeaders"]?.objectValue ?? [:]).sorted { $0.key < $1.key }.map {
            "\(quoted($0.key)): \(quoted($0.value.stringValue ?? ""))"
        }
        return [
            ("SERVICE URI", text(item, "serviceUri")),
            ("HEADERS", headers.isEmpty ? "" : "{" + headers.joined(separator: ", ") + "}"),
        ]
    }

    /// As Python writes text, which is how `az` prints an object in a cell.
    private static func quoted(_ text: String) -> String {
        let quote = text.contains("'") && !text.contains("\"") ? "\"" : "'"
        let escaped = text.replacing("\\", with: "\\\\")
        return quote + (quote == "'" ? escaped.replacing("'", with: "\\'") : escaped) + quote
    }

    static let webhookEvents = TableLayout { item in
        let content = item[path: "eventRequestMessage", "content"] ?? .null
        let (repository, tag) = (text(content, "target", "repository"), text(content, "target", "tag"))
        return [
            ("ID", text(item, "id")), ("ACTION", text(content, "action")),
            ("IMAGE", repository.isEmpty || tag.isEmpty ? repository : "\(repository):\(tag)"),
            ("HTTP STATUS", text(item, "eventResponseMessage", "statusCode")), ("TIMESTAMP", date(text(content, "timestamp"))),
        ]
    }

    static let tokens = TableLayout { item in
        let passwords = item["credentials"]?["passwords"]?.arrayValue ?? []
        func expiry(_ name: String) -> String {
            guard let password = passwords.first(where: { text($0, "name") == name }) else { return "" }
            let expiry = text(password, "expiry")
            return expiry.isEmpty ? "Never" : date(expiry)
        }
        let status = text(item, "status")
        return [
            ("NAME", text(item, "name")), ("SCOPE MAP", text(item, "scopeMapId").split(separator: "/").last.map(String.init) ?? ""),
            ("PASSWORD1 EXPIRY", expiry("password1")), ("PASSWORD2 EXPIRY", expiry("password2")),
            ("STATUS", status.prefix(1).uppercased() + status.dropFirst().lowercased()),
            ("PROVISIONING STATE", text(item, "provisioningState")), ("CREATION DATE", date(text(item, "creationDate"))),
        ]
    }

    static let tokenPasswords = TableLayout { item in
        var row: TableRow = [("USERNAME", text(item, "username"))]
        for password in item["passwords"]?.arrayValue ?? [] {
            let name = text(password, "name").uppercased()
            let expiry = text(password, "expiry")
            row.append((name, text(password, "value")))
            row.append(("\(name) EXPIRY", expiry.isEmpty ? "Never" : date(expiry)))
        }
        return row
    }

    static let connectedRegistry = TableLayout { item in
        connectedRegistryColumns(item, schedule: true)
    }

    /// In the order of the tree: children follow their parent.
    static let connectedRegistries = TableLayout { result in
        ConnectedRegistryTree(result.arrayValue ?? [result]).ordered.map { connectedRegistryColumns($0, schedule: false) }
    }

    private static func connectedRegistryColumns(_ item: JSONValue, schedule: Bool) -> TableRow {
        let parent = text(item, "parent", "id").split(separator: "/").last.map(String.init) ?? ""
        var row: TableRow = [
            ("NAME", text(item, "name")), ("MODE", text(item, "mode")), ("CONNECTION STATE", text(item, "connectionState")),
            ("PARENT", parent), ("LOGIN SERVER", text(item, "loginServer", "host")),
            ("LAST SYNC (UTC)", text(item, "parent", "syncProperties", "lastSyncTime")),
        ]
        if schedule {
            row.append(("SYNC SCHEDULE", text(item, "parent", "syncProperties", "schedule")))
            row.append(("SYNC WINDOW", text(item, "parent", "syncProperties", "syncWindow")))
        }
        row.append(("SYNC STATE", text(item, "registrySyncResult", "syncState")))
        return row
    }

    static let groups = TableLayout { item in
        [
            ("Name", text(item, "name")), ("Location", text(item, "location")),
            ("Status", text(item, "properties", "provisioningState")),
        ]
    }

    static let accounts = TableLayout { item in
        [
            ("Name", text(item, "name")), ("CloudName", text(item, "cloudName")), ("SubscriptionId", text(item, "id")),
            ("TenantId", text(item, "tenantId")), ("State", text(item, "state")), ("IsDefault", text(item, "isDefault")),
        ]
    }

    /// A scalar below a chain of members, empty when there is none.
    private static func text(_ item: JSONValue, _ path: String...) -> String {
        var value = item
        for key in path { value = value[key] ?? .null }
        return value.isNull ? "" : PythonText.text(of: value)
    }

    /// Seconds are enough in a table. What is no date is shown as it is.
    private static func date(_ text: String) -> String {
        let time = text.split(separator: "T")
        guard time.count == 2, time[0].utf8.count == 10, time[1].utf8.count >= 8 else { return text }
        return "\(time[0])T\(time[1].prefix(8))Z"
    }
}
