// The command line against a real parent: verbs, output formats and exit codes.

import Foundation
import JSON
import Testing

@Suite(.serialized, .sharedParent) struct CommandLineTests {
    @Test("A3 A4: a registry is shown as JSON, table and TSV, and queried") func outputs() async throws {
        try await withSharedParent { box, parent, registry in
            let name = parent.registryName
            let shown = try JSONValue(parsing: await parent("acr", "show", "-n", name))
            #expect(shown["name"]?.stringValue == name)
            #expect(shown["loginServer"]?.stringValue == registry.address)
            #expect(shown["sku"]?["name"]?.stringValue == "Premium")
            #expect(
                try await parent("acr", "show", "-n", name, "--query", "{n: name, s: sku.name}", "-o", "json")
                    == "{\n  \"n\": \"\(name)\",\n  \"s\": \"Premium\"\n}")
            #expect(
                try await parent("acr", "list", "--query", "[?sku.name=='Premium'].[name, resourceGroup]", "-o", "tsv") == "\(name)\te2e")
            let table = try await parent("acr", "list", "-o", "table").split(separator: "\n")
            #expect(table.count == 3)
            #expect(table.first?.split(separator: " ").first == "NAME")
            #expect(table.last?.contains(registry.address) == true)
            #expect(try await parent("acr", "check-name", "-n", name, "--query", "nameAvailable", "-o", "tsv") == "false")
            #expect(try await parent("acr", "show-endpoints", "-n", name, "--query", "loginServer", "-o", "tsv") == registry.address)
        }
    }

    @Test("A4: exit codes and messages of what cannot be done") func refusals() async throws {
        try await withSharedParent { box, parent, registry in
            func expect(_ status: Int32, _ text: String, _ arguments: String...) async throws {
                let outcome = try await parent.attempt(arguments)
                #expect(outcome.status == status, "\(arguments): \(outcome.text)")
                #expect(outcome.errors.lowercased().contains(text), "\(arguments): \(outcome.text)")
                #expect(outcome.output.isEmpty, "\(arguments): \(outcome.output)")
            }
            try await expect(2, "nonsense", "acr", "nonsense")
            // As with `az`: 1 where the name is looked up in a list, 3 where the server says 404.
            try await expect(1, "could not be found", "acr", "show", "-n", "nosuchregistry")
            try await expect(3, "not found", "acr", "show", "-n", "nosuchregistry", "-g", "e2e")
            try await expect(3, "not", "acr", "token", "show", "-n", "nosuchtoken", "-r", parent.registryName)
            try await expect(1, "5 to 50", "acr", "create", "-n", "no", "-g", "e2e", "--sku", "Basic")
            try await expect(1, "registr", "acr", "create", "-n", "secondregistry", "-g", "e2e", "--sku", "Basic")
            try await expect(
                1, "5 characters", "acr", "connected-registry", "create", "-r", parent.registryName, "-n", "abc", "--repository", "app",
                "--yes")
            // Without a terminal nobody can consent.
            try await expect(1, "--yes", "acr", "delete", "-n", parent.registryName)
            #expect(try await parent("acr", "list", "--query", "length(@)", "-o", "tsv") == "1")
        }
    }

    @Test("A6: without a suffix a second registry is refused with the way out") func oneRegistryWithoutSuffix() async throws {
        try await withSharedParent { box, parent, registry in
            let refused = try await parent.attempt(["acr", "create", "-n", "secondregistry", "-g", "e2e", "--sku", "Premium"]).failed()
            #expect(refused.errors.contains("--suffix"), "\(refused.errors)")
        }
    }

    @Test("C1 C4: a connected registry is made, shown, listed, and deleted with what belongs to it") func connectedRegistries() async throws
    {
        try await withSharedParent { box, parent, registry in
            let string = try await parent.connectedRegistry("mirror", repository: "app")
            let fields = string.split(separator: ";").map { String($0.prefix { $0 != "=" }) }
            #expect(
                fields == [
                    "ConnectedRegistryName", "SyncTokenName", "SyncTokenPassword", "ParentGatewayEndpoint", "ParentEndpointProtocol",
                ])
            #expect(string.contains(";ParentGatewayEndpoint=\(registry.address);ParentEndpointProtocol=https"))
            #expect(
                try await parent.acr(
                    "connected-registry", "show", "-n", "mirror", "--query", "[mode, connectionState, activation.status]", "-o", "tsv"
                ).split(separator: "\n") == ["ReadOnly", "Offline", "Inactive"])
            #expect(try await parent.acr("token", "list", "--query", "[?name=='mirror'].name", "-o", "tsv") == "mirror")
            #expect(
                try await parent.acr("connected-registry", "list", "--query", "[].name", "-o", "tsv").split(separator: "\n").contains(
                    "mirror"))
            // A rotated slot leaves the other.
            let second = try await parent.connectionString("mirror", slot: 2)
            #expect(second != string)
            try await parent.acr("connected-registry", "delete", "-n", "mirror", "--cleanup", "--yes")
            #expect(try await parent.attempt(["acr", "connected-registry", "show", "-n", "mirror", "-r", parent.registryName]).status == 3)
            #expect(try await parent.acr("token", "list", "--query", "[?name=='mirror'].name", "-o", "tsv") == "")
        }
    }
}
