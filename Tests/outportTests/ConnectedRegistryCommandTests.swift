// Proves the commands for connected registries: what they send and in which order, through a hierarchy.

import JSON
import Testing

@testable import outport

@Suite struct ConnectedRegistryCommandTests {
    private let harness = Harness()
    private let base = FakeServer.registry

    private func create(_ name: String, _ more: String...) async -> Int32 {
        await harness.run(list: ["acr", "connected-registry", "create", "-r", "myregistry", "-n", name, "--repository", "app"] + more)
    }

    private func create(_ name: String, parent: String?) async -> Int32 {
        if let parent { await create(name, "-p", parent) } else { await create(name) }
    }

    private func actions(_ scopeMap: String) async -> [String] {
        ScopeMapActions.list(await harness.server.document("\(base)/scopeMaps/\(scopeMap)") ?? .null).sorted()
    }

    @Test("C1 create makes scope map, token and connected registry, with az's defaults")
    func create() async throws {
        #expect(await create("edge01") == 0)
        #expect(await harness.server.log == ["GET resources", "GET myregistry", "GET edge01", "PUT edge01", "PUT edge01", "PUT edge01"])
        let sent = await harness.server.sent
        #expect(
            sent[3].body == [
                "properties": [
                    "description": "Created by connected registry sync token: edge01",
                    "actions": [
                        "repositories/app/content/read", "repositories/app/metadata/read", "gateway/edge01/config/read",
                        "gateway/edge01/config/write", "gateway/edge01/message/read", "gateway/edge01/message/write",
                    ],
                ]
            ])
        #expect(sent[4].body == ["properties": ["scopeMapId": .string("\(base)/scopeMaps/edge01"), "status": "enabled"]])
        #expect(
            sent[5].body == [
                "properties": [
                    "mode": "readonly",
                    "parent": [
                        "syncProperties": [
                            "tokenId": .string("\(base)/tokens/edge01"), "schedule": "* * * * *", "messageTtl": "P2D",
                            "authType": "SyncToken",
                        ]
                    ],
                    "logging": ["logLevel": "Information", "auditLogStatus": "Disabled"],
                    "garbageCollection": ["enabled": true, "schedule": "0 0 * * *"],
                ]
            ])
    }

    @Test("C3 a data endpoint that is off is turned on with consent only")
    func dataEndpoint() async throws {
        await harness.server.set(base, ["sku": ["name": "Premium"], "properties": ["dataEndpointEnabled": false]])
        #expect(await create("edge01") == 1)
        #expect(await harness.server.document("\(base)/connectedRegistries/edge01") == nil)
        #expect(await create("edge01", "-y") == 0)
        #expect(await harness.server.document(base)?[path: "properties", "dataEndpointEnabled"] == true)
    }

    @Test("C1 create checks its options before anything is sent")
    func badOptions() async {
        #expect(await create("abcd") == 1)
        #expect(await create("edge01", "--sync-token", "t") == 1)
        #expect(await create("edge01", "--mode", "other") == 2)
        #expect(await harness.server.sent.isEmpty)
        #expect(await create("edge01", "--parent", "none1") == 1)
        #expect(harness.console.notes.last == "ERROR: The parent connected registry 'none1' could not be found.")
    }

    @Test("C9 C10 a child's permissions are added to every ancestor before it is made")
    func hierarchy() async throws {
        #expect(await create("edge1", "-m", "ReadWrite") == 0)
        #expect(await create("edge2", "-p", "edge1", "-m", "ReadWrite") == 0)
        #expect(
            await harness.run(
                "acr", "connected-registry", "create", "-r", "myregistry", "-n", "edge3", "-p", "edge2", "--repository", "tools", "-s",
                "0 1 * * *", "-w",
                "PT4H", "--client-tokens", "c1", "c2", "--notifications", "a:tag:*") == 0)
        let created = await harness.server.document("\(base)/connectedRegistries/edge3")
        #expect(created?[path: "properties", "parent", "id"] == .string("\(base)/connectedRegistries/edge2"))
        #expect(created?[path: "properties", "parent", "syncProperties", "syncWindow"] == "PT4H")
        #expect(created?[path: "properties", "clientTokenIds"] == [.string("\(base)/tokens/c1"), .string("\(base)/tokens/c2")])
        for ancestor in ["edge1", "edge2"] {
            let actions = await actions(ancestor)
            #expect(actions.contains("gateway/edge3/message/write"))
            #expect(actions.contains("repositories/tools/content/read"))
            #expect(!actions.contains("repositories/tools/content/write"))
        }
        // ReadWrite under ReadOnly is refused before anything is written.
        let before = await harness.server.sent.filter { $0.method != "GET" }.count
        #expect(await create("edge4", "-p", "edge3", "-m", "ReadWrite") == 1)
        #expect(await harness.server.sent.filter { $0.method != "GET" }.count == before)
    }

    @Test("C10 permissions update ripples: additions upward, removals downward")
    func permissions() async throws {
        #expect(await create("edge1") == 0)
        #expect(await create("edge2", "-p", "edge1") == 0)
        #expect(await create("edge3", "-p", "edge2") == 0)
        #expect(
            await harness.run(
                "acr", "connected-registry", "permissions", "update", "-r", "myregistry", "-n", "edge2", "--add", "new1", "new2",
                "--remove", "app") == 0)
        #expect(await actions("edge1").contains("repositories/new1/content/read"))
        #expect(await actions("edge1").contains("repositories/app/content/read"))
        #expect(await actions("edge2").contains("repositories/new2/metadata/read"))
        #expect(!(await actions("edge2").contains("repositories/app/content/read")))
        #expect(!(await actions("edge3").contains("repositories/app/content/read")))
        #expect(!(await actions("edge3").contains("repositories/new1/content/read")))
        #expect(
            await harness.run(
                "acr", "connected-registry", "permissions", "show", "-r", "myregistry", "-n", "edge2", "--query", "name", "-o", "tsv") == 0)
        #expect(harness.console.output.hasSuffix("\nedge2\n"))
        #expect(await harness.run("acr", "connected-registry", "permissions", "update", "-r", "myregistry", "-n", "edge2") == 1)
        #expect(
            await harness.run(
                "acr", "connected-registry", "permissions", "update", "-r", "myregistry", "-n", "edge2", "--add", "x", "--remove", "X") == 1
        )
        #expect(
            await harness.run("acr", "connected-registry", "permissions", "update", "-r", "myregistry", "-n", "edge9", "--add", "x") == 1)
        // What is there already is not sent again.
        let patches = await harness.server.sent.filter { $0.method == "PATCH" }.count
        #expect(await harness.run("acr", "connected-registry", "repo", "-r", "myregistry", "-n", "edge2", "--add", "new1") == 0)
        #expect(await harness.server.sent.filter { $0.method == "PATCH" }.count == patches)
    }

    @Test("C1 list: all, one level, below a parent with every branch")
    func list() async {
        for (name, parent) in [("top01", nil), ("left1", "top01"), ("right1", "top01"), ("leaf1", "left1")] as [(String, String?)] {
            #expect(await create(name, parent: parent) == 0)
        }
        func names(_ options: String...) async -> [String] {
            let console = FakeConsole()
            let harness = Harness(server: harness.server, console: console)
            #expect(
                await harness.run(
                    list: ["acr", "connected-registry", "list", "-r", "myregistry", "--query", "[].name", "-o", "tsv"] + options) == 0)
            return console.output.split(separator: "\n").map(String.init)
        }
        #expect(await names() == ["leaf1", "left1", "right1", "top01"])
        #expect(await names("--no-children") == ["top01"])
        #expect(await names("--parent", "top01") == ["left1", "leaf1", "right1"])
        #expect(await names("--parent", "TOP01", "--no-children") == ["left1", "right1"])
        #expect(await harness.run("acr", "connected-registry", "list", "-r", "myregistry", "-p", "none1") == 1)
    }

    @Test("C4 get-settings composes the connection string of az")
    func settings() async throws {
        #expect(await create("edge01") == 0)
        let id = "\(base)/connectedRegistries/edge01"
        let get = [
            "acr", "connected-registry", "get-settings", "-r", "myregistry", "-n", "edge01", "--parent-protocol", "http", "-o", "tsv",
            "--query", "ACR_REGISTRY_CONNECTION_STRING",
        ]
        func string(_ more: String...) async -> String {
            let console = FakeConsole()
            #expect(await Harness(server: harness.server, console: console).run(list: get + more) == 0)
            return console.output
        }
        #expect(
            await string()
                == "ConnectedRegistryName=edge01;SyncTokenName=edge01;SyncTokenPassword=<use --generate-password to generate a new password>;"
                + "ParentGatewayEndpoint=<parent gateway endpoint>;ParentEndpointProtocol=https\n")
        var item = try #require(await harness.server.document(id))
        item[path: "properties", "parent", "syncProperties", "gatewayEndpoint"] = "myregistry.eastus.data.outport.test:8443"
        await harness.server.set(id, item)
        #expect(
            await string("--generate-password", "2", "--yes")
                == "ConnectedRegistryName=edge01;SyncTokenName=edge01;SyncTokenPassword=secret1==;"
                + "ParentGatewayEndpoint=myregistry.eastus.data.outport.test:8443;ParentEndpointProtocol=https\n")
        #expect(await harness.server.sent.last?.body == ["tokenId": .string("\(base)/tokens/edge01"), "name": "password2"])
        item[path: "properties", "parent", "id"] = .string("\(base)/connectedRegistries/top01")
        await harness.server.set(id, item)
        #expect(await string().hasSuffix("ParentEndpointProtocol=http\n"))
        #expect(await harness.run(list: get + ["--generate-password", "1"]) == 1)
        #expect(await harness.run(list: get + ["--generate-password", "3"]) == 2)
    }

    @Test("C4 the new password is taken by the name of its slot, whatever else is listed")
    func passwordSlots() throws {
        let listed: JSONValue = [
            "passwords": [
                ["name": "password1", "value": nil], ["name": "password2", "value": "two"], ["name": "password1", "value": "one"],
            ]
        ]
        #expect(try ConnectedRegistrySettings.password(in: listed, .first) == "one")
        #expect(try ConnectedRegistrySettings.password(in: listed, .second) == "two")
        #expect(throws: ManagementError.self) { try ConnectedRegistrySettings.password(in: ["passwords": []], .first) }
    }

    @Test("C1 delete keeps token and scope map; with --cleanup they go, and the ancestors' permissions with them")
    func delete() async {
        #expect(await create("edge1") == 0)
        #expect(await create("edge2", "-p", "edge1") == 0)
        #expect(await harness.run("acr", "connected-registry", "delete", "-r", "myregistry", "-n", "edge2") == 1)
        #expect(await harness.run("acr", "connected-registry", "delete", "-r", "myregistry", "-n", "edge2", "-y") == 0)
        #expect(await harness.server.document("\(base)/connectedRegistries/edge2") == nil)
        #expect(await harness.server.document("\(base)/tokens/edge2") != nil)
        #expect(harness.console.notes.last?.contains("outport acr scope-map delete -n edge2 -r myregistry --yes") == true)
        #expect(await create("edge2", "-p", "edge1") == 0)
        #expect(await harness.run("acr", "connected-registry", "delete", "-r", "myregistry", "-n", "edge2", "--cleanup", "-y") == 0)
        #expect(await harness.server.document("\(base)/tokens/edge2") == nil)
        #expect(await harness.server.document("\(base)/scopeMaps/edge2") == nil)
        #expect(await actions("edge1").allSatisfy { !$0.contains("edge2") })
        #expect(await harness.run("acr", "connected-registry", "show", "-r", "myregistry", "-n", "edge2") == 3)
    }

    @Test("C1 update sends what changes; lists whole and only when they change")
    func update() async {
        #expect(await create("edge1", "--client-tokens", "c1", "c2") == 0)
        let update = ["acr", "connected-registry", "update", "-r", "myregistry", "-n", "edge1"]
        #expect(await harness.run(list: update + ["-s", "0 1 * * *", "-w", "PT2H", "--gc-enabled", "false", "--log-level", "Debug"]) == 0)
        #expect(
            await harness.server.sent.last?.body == [
                "properties": [
                    "syncProperties": ["schedule": "0 1 * * *", "syncWindow": "PT2H"], "logging": ["logLevel": "Debug"],
                    "garbageCollection": ["enabled": false],
                ]
            ])
        #expect(await harness.run(list: update + ["--add-client-tokens", "c1", "c3", "--remove-client-tokens", "c2"]) == 0)
        #expect(
            await harness.server.sent.last?.body?[path: "properties", "clientTokenIds"] == [
                .string("\(base)/tokens/c1"), .string("\(base)/tokens/c3"),
            ])
        #expect(await harness.run(list: update + ["--add-client-tokens", "c1"]) == 0)
        #expect(await harness.server.sent.last?.body?[path: "properties", "clientTokenIds"] == nil)
        #expect(await harness.run(list: update + ["--remove-client-tokens", "c1", "c3"]) == 0)
        #expect(await harness.server.sent.last?.body?[path: "properties", "clientTokenIds"] == [])
        #expect(await harness.run(list: update + ["--add-notifications", "a", "--remove-notifications", "a"]) == 1)
    }

    @Test("B3 budgets and priorities are sent as they are typed, with units, and are ended by name")
    func traffic() async {
        #expect(await create("edge1", "--budget", "hour=500MiB", "month=20GB", "--priorities", "base", "app/*") == 0)
        let created = await harness.server.sent.last?.body?["properties"]
        #expect(created?["byteBudget"] == ["hour": 524_288_000, "month": 20_000_000_000])
        #expect(created?["syncPriorities"] == ["base", "app/*"])
        let update = ["acr", "connected-registry", "update", "-r", "myregistry", "-n", "edge1"]
        #expect(await harness.run(list: update + ["--budget", "hour=none", "--priorities", ""]) == 0)
        let updated = await harness.server.sent.last?.body?["properties"]
        #expect(updated?["byteBudget"] == ["hour": nil])
        #expect(updated?["syncPriorities"] == [])
        #expect(await harness.run(list: update + ["--budget", "week=5MB"]) == 2)
    }

    @Test("B3 plan asks, waits for the answer and prints it")
    func plan() async {
        #expect(await create("edge1", "-o", "none") == 0)
        let path = "\(base)/connectedRegistries/edge1/plan".lowercased()
        await harness.server.script { sent in
            guard sent.method == "POST", sent.path.lowercased() == path else { return nil }
            return FakeServer.ok(["state": "Pending"])
        }
        await harness.server.script { sent in
            guard sent.method == "GET", sent.path.lowercased() == path else { return nil }
            return FakeServer.ok(["state": "Ready", "bytes": 77])
        }
        #expect(
            await harness.run("acr", "connected-registry", "plan", "-r", "myregistry", "-n", "edge1", "--query", "bytes", "-o", "tsv") == 0)
        #expect(harness.console.output == "77\n")
    }

    @Test("C17 C19 events and logs list what is told, and warn of what had to go")
    func events() async {
        #expect(await create("edge1", "-o", "none") == 0)
        for what in ["events", "logs"] {
            await harness.server.set("\(base)/connectedRegistries/edge1/\(what)", ["value": [["event": "Push"]], "dropped": 3])
        }
        #expect(
            await harness.run(
                "acr", "connected-registry", "logs", "-r", "myregistry", "-n", "edge1", "--top", "5", "--query", "[].event", "-o", "tsv")
                == 0)
        #expect(harness.console.output == "Push\n")
        #expect(await harness.server.sent.last?.query.contains("top=5") == true)
        #expect(harness.console.notes.last?.contains("3 older ones") == true)
        #expect(await harness.run("acr", "connected-registry", "events", "-r", "myregistry", "-n", "edge1", "-o", "none") == 0)
    }

    @Test("C6 deactivate asks, acts and prints nothing")
    func deactivate() async {
        #expect(await create("edge1", "-o", "none") == 0)
        #expect(await harness.run("acr", "connected-registry", "deactivate", "-r", "myregistry", "-n", "edge1") == 1)
        #expect(await harness.run("acr", "connected-registry", "deactivate", "-r", "myregistry", "-n", "edge1", "--yes") == 0)
        #expect(await harness.server.log.last == "POST deactivate")
        #expect(harness.console.output == "")
    }

    @Test("Ids from the server are looked at before they become paths")
    func foreignIDs() {
        for id in ["", "/a/tokens/t", "//evil", "/subscriptions/s/resourceGroups/g/providers/p/registries/r/scopeMaps/x"] {
            #expect(throws: ManagementError.self) { try ConnectedRegistries.path(.string(id), "tokens") }
        }
        #expect(throws: Never.self) { try ConnectedRegistries.path(.string("\(base)/tokens/t"), "tokens") }
    }
}
