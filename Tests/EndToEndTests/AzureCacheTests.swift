// Cache rules, credential sets and replications with the unmodified `az`; a pull that a rule serves, from another real registry.

import Foundation
import JSON
import Testing

@Suite(.serialized) struct AzureCacheTests {
    private func same(_ azure: AzureCLI, _ parent: Parent, _ command: String, formats: [String] = ["json", "table"]) async throws {
        let words = command.split(separator: " ").map(String.init)
        for format in formats {
            let theirs = try await azure.attempt(words + ["-o", format]).succeeded().trimmed
            let ours = try await parent.attempt(words + ["-o", format]).succeeded().trimmed
            if format == "json" {
                #expect(try JSONValue(parsing: ours) == JSONValue(parsing: theirs), "\(command)")
            } else {
                #expect(ours == theirs, "\(command)")
            }
        }
    }

    @Test("A3 A4 B6: az acr cache and credential-set; what is pulled and missing is fetched from a real registry, signed in to")
    func caches() async throws {
        try await withSandbox { other in
            // A registry of Outport's own is the source: it wants a password.
            let source = try await Parent.start(other, registry: "sourceregistry")
            try await withSandbox { box in try await self.caches(box, source) }
        }
    }

    private func caches(_ box: Sandbox, _ source: Parent) async throws {
        let clients = try Clients(box)
        let image = try await ImageLayout.busybox(box)
        let index = try await ImageLayout.multiArch(box)
        let owner = try await source.token("owner")
        let origin = try source.registry(by: owner)
        try await clients.push(image.reference, to: origin, "library/busybox:v1").succeeded()
        try await clients.push(index.reference, to: origin, "library/multi:v1", "--all").succeeded()
        let reader = try await source.token("reader", scopeMap: "_repositories_pull")

        let secrets = try box.newFolder("secrets")
        let place = secrets + "/e2eregistry/docker.io"
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        try Data("\(reader.name)\n".utf8).write(to: URL(filePath: place + "/hubuser"))
        let parent = try await Parent.start(
            box,
            arguments: [
                "--secrets", secrets, "--upstream", "docker.io=https://\(source.server.address)", "--fetch-ca", source.server.ca,
            ])
        let azure = try await AzureCLI.operate(parent)
        let name = parent.registryName
        let vault = "https://myvault.vault.azure.net/secrets"
        let puller = try parent.registry(by: try await parent.token("puller"))
        func pull(_ image: String, _ folder: String, _ platforms: String = "system") async throws -> Outcome {
            try await clients.pull(puller, image, into: "oci:\(box.path(folder)):v1", "--multi-arch", platforms)
        }

        try await azure("acr", "cache", "create", "-r", name, "-n", "hubrule", "-s", "docker.io/library/*", "-t", "hub/*")
        let unsigned = try await pull("hub/busybox:v1", "unsigned").failed()
        #expect(unsigned.errors.contains("credential set"), "\(unsigned.errors)")
        try await azure(
            "acr", "credential-set", "create", "-r", name, "-n", "hubset", "-l", "docker.io", "-u", vault + "/hubuser", "-p",
            vault + "/hubpassword")
        try await azure("acr", "cache", "update", "-r", name, "-n", "hubrule", "-c", "hubset")
        #expect(try await pull("hub/busybox:v1", "secretless").failed().errors.contains("docker.io/hubpassword"))
        let health = try await azure(
            "acr", "credential-set", "show", "-r", name, "-n", "hubset", "--query", "authCredentials[0].credentialHealth.status", "-o",
            "tsv")
        #expect(health == "Unhealthy")
        try Data("\(reader.password)\n".utf8).write(to: URL(filePath: place + "/hubpassword"))
        try await pull("hub/busybox:v1", "pulled").succeeded()
        try await pull("hub/multi:v1", "multi", "all").succeeded()
        #expect(try await pull("hub/nothing:v1", "nothing").failed().errors.contains("hub/nothing"))

        for command in [
            "acr cache list -r \(name)", "acr cache show -r \(name) -n hubrule", "acr credential-set list -r \(name)",
            "acr credential-set show -r \(name) -n hubset", "acr replication list -r \(name)",
            "acr replication show -r \(name) -n eastus",
        ] { try await self.same(azure, parent, command, formats: command.contains("replication") ? ["json", "table"] : ["json"]) }
        #expect(
            try await azure.attempt("acr", "replication", "create", "-r", name, "-l", "westus").failed().errors.contains(
                "connected registry"))
        #expect(
            try await parent.attempt(["acr", "replication", "create", "-r", name, "-l", "westus"]).failed().errors.contains(
                "connected registry"))
        #expect(
            try await azure.attempt("acr", "credential-set", "delete", "-r", name, "-n", "hubset", "--yes").failed().errors.contains(
                "used by the cache rule"))

        // With the source away, what was pulled once is there.
        try await source.server.stop()
        try await pull("hub/busybox:v1", "again").succeeded()
        #expect(try await azure("acr", "repository", "show-tags", "-n", name, "--repository", "hub/multi", "-o", "tsv") == "v1")
        try await azure("acr", "cache", "update", "-r", name, "-n", "hubrule", "--remove-cred-set")
        try await parent("acr", "credential-set", "update", "-r", name, "-n", "hubset", "-p", vault + "/other")
        try await azure("acr", "credential-set", "update", "-r", name, "-n", "hubset", "-p", vault + "/another")
        try await azure("acr", "credential-set", "delete", "-r", name, "-n", "hubset", "--yes")
        try await parent("acr", "cache", "create", "-r", name, "-n", "ownrule", "-s", "quay.io/x/y", "-t", "y")
        try await parent("acr", "cache", "delete", "-r", name, "-n", "ownrule", "--yes")
        try await azure("acr", "cache", "delete", "-r", name, "-n", "hubrule", "--yes")
        #expect(try await azure("acr", "cache", "list", "-r", name, "-o", "json") == "[]")
    }
}
