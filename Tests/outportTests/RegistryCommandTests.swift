// Proves the commands for groups, registries, scope maps and tokens, from the command line to the requests.

import JSON
import Testing

@testable import outport

@Suite struct RegistryCommandTests {
    private let harness = Harness()

    @Test("A3 create takes the group's location and sends the body of az")
    func create() async throws {
        await harness.server.set("/subscriptions/sub-1/resourcegroups/g", ["location": "westus"])
        #expect(
            await harness.run(
                "acr", "create", "-n", "newregistry", "-g", "g", "--sku", "premium", "--data-endpoint-enabled", "--tags", "a=b=c", "d") == 0
        )
        let put = try #require(await harness.server.sent.last)
        #expect(put.path == "/subscriptions/sub-1/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/newregistry")
        #expect(
            put.body == [
                "location": "westus", "sku": ["name": "Premium"], "tags": ["a": "b=c", "d": ""],
                "properties": ["adminUserEnabled": false, "dataEndpointEnabled": true],
            ])
        #expect(harness.console.output.contains("\"resourceGroup\": \"g\""))
        #expect(await harness.run("acr", "create", "-n", "Upper", "-g", "g", "--sku", "basic") == 1)
        #expect(await harness.run("acr", "create", "-n", "newregistry", "-g", "none", "--sku", "basic") == 3)
        #expect(await harness.run("acr", "create", "-n", "newregistry", "-g", "g", "--sku", "gold") == 2)
        #expect(await harness.run("acr", "create", "-n", "newregistry", "-g", "g") == 2)
    }

    @Test("A3 show finds the registry by name; --query and tsv give the bare value")
    func show() async {
        #expect(await harness.run("acr", "show", "-n", "MYREGISTRY", "--query", "loginServer", "-o", "tsv") == 0)
        #expect(harness.console.output == "myregistry.outport.test:8443\n")
        #expect(await harness.server.log == ["GET resources", "GET myregistry"])
        #expect(await harness.server.sent[0].query.contains("$filter=resourceType%20eq%20%27Microsoft.ContainerRegistry%2Fregistries%27"))
        #expect(await harness.run("acr", "show", "-n", "myregistry", "-g", "mygroup") == 0)
        #expect(await harness.server.log.count == 3)
    }

    @Test("A4 exit codes: 3 not there, 1 no such name, 2 bad command line or query")
    func exitCodes() async {
        #expect(await harness.run("acr", "show", "-n", "otherregistry", "-g", "mygroup") == 3)
        #expect(harness.console.notes.last?.hasPrefix("ERROR: (ResourceNotFound) The resource") == true)
        #expect(await harness.run("acr", "show", "-n", "otherregistry") == 1)
        #expect(
            harness.console.notes.last?.hasPrefix(
                "ERROR: The resource with name 'otherregistry' and type 'Microsoft.ContainerRegistry/registries' could not be found in subscription 'First (sub-1)'."
            ) == true)
        #expect(await harness.run("acr", "show", "--nome", "x") == 2)
        #expect(await harness.run("acr", "show", "-n", "a-b") == 1)
        let before = await harness.server.sent.count
        #expect(await harness.run("acr", "show", "-n", "myregistry", "--query", "[") == 2)
        #expect(await harness.server.sent.count == before)
        #expect(await harness.run("acr", "show", "-n", "myregistry", "--query", "sort(name)") == 1)
        #expect(await harness.run("acr", "show", "-n", "myregistry", "--subscription", "zzz") == 1)
        #expect(await harness.run("acr", "show", "-n", "myregistry", "-o", "TABLE") == 0)
    }

    @Test("A registry may be named by its login server")
    func loginServer() async {
        #expect(await harness.run("acr", "show", "-n", "myregistry.outport.test:8443", "--query", "name", "-o", "tsv") == 0)
        #expect(harness.console.output == "myregistry\n")
        #expect(harness.console.notes.first?.contains("automatically omitted") == true)
        #expect(await harness.run("acr", "show", "-n", "myregistry.elsewhere.test") == 1)
    }

    @Test("A3 update sends what changes and nothing else")
    func update() async throws {
        #expect(
            await harness.run(
                "acr", "update", "-n", "myregistry", "--admin-enabled", "false", "--anonymous-pull-enabled", "--sku", "standard") == 0)
        #expect(
            await harness.server.sent.last?.body
                == ["sku": ["name": "Standard"], "properties": ["adminUserEnabled": false, "anonymousPullEnabled": true]])
        #expect(await harness.run("acr", "update", "-n", "myregistry", "--data-endpoint-enabled", "maybe") == 2)
    }

    @Test("A4 deleting asks on a terminal and refuses without one")
    func prompts() async {
        #expect(await harness.run("acr", "delete", "-n", "myregistry") == 1)
        #expect(harness.console.notes.last == "ERROR: Unable to prompt for confirmation as no tty available. Use --yes.")
        #expect(await harness.server.sent.isEmpty)
        let refusing = Harness(answers: ["what", "n"])
        #expect(await refusing.run("acr", "delete", "-n", "myregistry") == 1)
        #expect(refusing.console.notes.last == "ERROR: Operation cancelled.")
        #expect(refusing.console.notes.first == "Are you sure you want to delete the registry 'myregistry'? (y/n): ")
        let agreeing = Harness(answers: ["Y"])
        #expect(await agreeing.run("acr", "delete", "-n", "myregistry") == 0)
        #expect(await agreeing.server.document(FakeServer.registry) == nil)
        #expect(await harness.run("acr", "delete", "-n", "myregistry", "-y") == 0)
        #expect(harness.console.output == "")
    }

    @Test("I1 scope maps: several repositories, lower case, additions and removals")
    func scopeMaps() async throws {
        #expect(
            await harness.run(
                "acr", "scope-map", "create", "-r", "myregistry", "-n", "sm", "--repository", "App/Api", "content/READ", "metadata/read",
                "--repository",
                "b", "content/write", "--gateway", "Edge1", "config/read", "--description", "d") == 0)
        let path = FakeServer.registry + "/scopeMaps/sm"
        #expect(
            await harness.server.sent.last?.body == [
                "properties": [
                    "description": "d",
                    "actions": [
                        "repositories/app/api/content/read", "repositories/app/api/metadata/read", "repositories/b/content/write",
                        "gateway/edge1/config/read",
                    ],
                ]
            ])
        #expect(
            await harness.run(
                "acr", "scope-map", "update", "-r", "myregistry", "-n", "sm", "--add", "c", "content/read", "--remove-repository", "b",
                "content/write") == 0)
        #expect(
            await harness.server.document(path)?[path: "properties", "actions"]
                == [
                    "repositories/app/api/content/read", "repositories/app/api/metadata/read", "gateway/edge1/config/read",
                    "repositories/c/content/read",
                ])
        #expect(await harness.run("acr", "scope-map", "update", "-r", "myregistry", "-n", "sm") == 1)
        #expect(
            await harness.run(
                "acr", "scope-map", "update", "-r", "myregistry", "-n", "sm", "--add", "c", "content/read", "--remove", "C", "content/read")
                == 1)
        #expect(await harness.run("acr", "scope-map", "create", "-r", "myregistry", "-n", "x", "--repository", "a", "content/raed") == 1)
        #expect(harness.console.notes.last?.contains("Invalid action \"content/raed\" provided.") == true)
        #expect(await harness.run("acr", "scope-map", "create", "-r", "myregistry", "-n", "x", "--repository", "a") == 1)
        #expect(await harness.run("acr", "scope-map", "delete", "-r", "myregistry", "-n", "sm", "-y") == 0)
        #expect(await harness.run("acr", "scope-map", "show", "-r", "myregistry", "-n", "sm") == 3)
    }

    @Test("I1 a token is made with its scope map and passwords")
    func tokenCreate() async throws {
        #expect(
            await harness.run(
                "acr", "token", "create", "-r", "myregistry", "-n", "t1", "--repository", "app", "content/read", "--expiration-in-days",
                "30") == 0)
        #expect(
            await harness.server.log == [
                "GET resources", "GET t1-scope-map", "PUT t1-scope-map", "PUT t1", "POST generateCredentials", "GET myregistry",
            ])
        let sent = await harness.server.sent
        #expect(
            sent[3].body == ["properties": ["scopeMapId": .string(FakeServer.registry + "/scopeMaps/t1-scope-map"), "status": "enabled"]])
        #expect(sent[4].body == ["tokenId": .string(FakeServer.registry + "/tokens/t1"), "expiry": "2026-01-31T00:00:00Z"])
        #expect(harness.console.notes.last?.contains("docker login myregistry.outport.test:8443 -u t1 -p secret1==") == true)
        #expect(harness.console.output.contains("\"value\": \"secret2==\""))
        // Again with other actions: the scope map made for it is not overwritten.
        #expect(await harness.run("acr", "token", "create", "-r", "myregistry", "-n", "t1", "--repository", "other", "content/read") == 1)
        #expect(
            await harness.run(
                "acr", "token", "create", "-r", "myregistry", "-n", "t2", "--scope-map", "_repositories_pull", "--no-passwords") == 0)
        #expect(
            await harness.server.sent.last?.body?[path: "properties", "scopeMapId"]
                == .string(FakeServer.registry + "/scopeMaps/_repositories_pull"))
        #expect(await harness.run("acr", "token", "create", "-r", "myregistry", "-n", "t3") == 1)
        #expect(
            await harness.run(
                "acr", "token", "create", "-r", "myregistry", "-n", "t3", "--scope-map", "x", "--no-passwords", "true", "--days", "3") == 1)
        #expect(
            await harness.run(
                "acr", "token", "create", "-r", "myregistry", "-n", "t3", "--scope-map", "x", "--expiration", "2027-02-30T00:00:00Z") == 1)
    }

    @Test("I1 passwords: one slot, both slots, and deleting one")
    func credentials() async throws {
        await harness.server.set(
            FakeServer.registry + "/tokens/t1",
            ["properties": ["credentials": ["passwords": [["name": "password1"], ["name": "password2"]]]]])
        #expect(
            await harness.run(
                "acr", "token", "credential", "generate", "-r", "myregistry", "-n", "t1", "--password2", "--query", "passwords[0].value",
                "-o", "tsv") == 0)
        #expect(harness.console.output == "secret1==\n")
        #expect(await harness.server.sent.last?.body?["name"] == "password2")
        #expect(
            await harness.run(
                "acr", "token", "credential", "generate", "-r", "myregistry", "-n", "t1", "--password1", "--password2", "--expiration",
                "2027-12-31T12:59:59Z") == 0)
        #expect(
            await harness.server.sent.last?.body == [
                "tokenId": .string(FakeServer.registry + "/tokens/t1"), "expiry": "2027-12-31T12:59:59Z",
            ])
        #expect(await harness.run("acr", "token", "credential", "delete", "-r", "myregistry", "-n", "t1", "--password1") == 0)
        #expect(await harness.server.sent.last?.body == ["properties": ["credentials": ["passwords": [["name": "password2"]]]]])
        #expect(await harness.run("acr", "token", "credential", "delete", "-r", "myregistry", "-n", "t1", "--password1") == 1)
        #expect(await harness.run("acr", "token", "credential", "delete", "-r", "myregistry", "-n", "t1") == 1)
        #expect(await harness.run("acr", "token", "update", "-r", "myregistry", "-n", "t1", "--status", "Disabled") == 0)
        #expect(await harness.server.sent.last?.body == ["properties": ["status": "disabled"]])
        #expect(await harness.run("acr", "token", "list", "-r", "myregistry", "-o", "table") == 0)
    }

    @Test("A2 groups: create, list by tag, exists, delete")
    func groups() async {
        #expect(await harness.run("group", "create", "-n", "g", "-l", "East US", "--tags", "env=test") == 0)
        #expect(await harness.server.sent.last?.body == ["location": "eastus", "tags": ["env": "test"]])
        #expect(await harness.server.sent.last?.query == "api-version=2024-11-01")
        #expect(await harness.run("group", "list", "--tag", "env=other", "--query", "length(@)", "-o", "tsv") == 0)
        #expect(await harness.run("group", "list", "--tag", "env", "--query", "[].name", "-o", "tsv") == 0)
        #expect(harness.console.output.hasSuffix("0\ng\n"))
        #expect(await harness.run("group", "show", "-g", "g") == 0)
        #expect(await harness.run("group", "show", "-n", "none") == 3)
        #expect(await harness.run("group", "delete", "-n", "g") == 1)
        #expect(await harness.run("group", "delete", "-n", "g", "--yes") == 0)
        #expect(await harness.run("group", "create", "-n", "g") == 2)
    }

    @Test("A1 the account is shown without asking the server")
    func accounts() async {
        #expect(await harness.run("account", "show", "--query", "[environmentName, user.name, isDefault]", "-o", "tsv") == 0)
        #expect(harness.console.output == "self\napp-1\ntrue\n")
        #expect(await harness.run("account", "list", "-o", "table") == 0)
        #expect(harness.console.output.contains("Name    CloudName    SubscriptionId    TenantId    State    IsDefault"))
        #expect(await harness.server.sent.isEmpty)
        #expect(await harness.server.isShutDown)
    }
}
