// The documented commands for clouds, groups, registries, tokens, scope maps and connected registries, run with the unmodified
// `az`; and the same said by outport, whose output is compared.

import Foundation
import JSON
import Testing

@Suite(.serialized) struct AzureRegistryTests {
    /// Says the same to both and compares what they print.
    private func same(_ azure: AzureCLI, _ parent: Parent, _ command: String, formats: [String] = ["json", "table", "tsv", "yaml"])
        async throws
    {
        let words = command.split(separator: " ").map(String.init)
        for format in formats {
            let theirs = try await azure.attempt(words + ["-o", format]).succeeded().trimmed
            let ours = try await parent.attempt(words + ["-o", format]).succeeded().trimmed
            let isSame = format == "json" ? try Self.withoutOwn(JSONValue(parsing: ours)) == JSONValue(parsing: theirs) : ours == theirs
            #expect(isSame, "\(command) -o \(format):\n\(Self.difference(theirs, ours))")
        }
    }

    /// What outport prints beside what `az` knows, where there is something to tell.
    private static func withoutOwn(_ value: JSONValue) -> JSONValue {
        switch value {
        case .array(let elements): return .array(elements.map(self.withoutOwn))
        case .object(let members):
            return .object(members.filter { $0.key != "nextSyncWindow" }.mapValues(self.withoutOwn))
        default: return value
        }
    }

    /// The lines that only one of them prints.
    private static func difference(_ theirs: String, _ ours: String) -> String {
        let lines = (theirs.split(separator: "\n").map(String.init), ours.split(separator: "\n").map(String.init))
        let changes = lines.1.difference(from: lines.0)
        return changes.prefix(20).map { change in
            switch change {
            case .remove(_, let line, _): "az:      \(line)"
            case .insert(_, let line, _): "outport: \(line)"
            }
        }.joined(separator: "\n")
    }

    /// Both refuse it with the same exit code.
    private func bothRefuse(_ azure: AzureCLI, _ parent: Parent, _ command: String, exit: Int32, saying text: String? = nil) async throws {
        let words = command.split(separator: " ").map(String.init)
        let theirs = try await azure.attempt(words)
        let ours = try await parent.attempt(words)
        #expect(theirs.status == exit, "\(command): \(theirs.errors)")
        #expect(ours.status == exit, "\(command): \(ours.errors)")
        if let text {
            #expect(theirs.errors.contains(text), "\(theirs.errors)")
            #expect(ours.errors.contains(text), "\(ours.errors)")
        }
    }

    @Test("A1 A2 A3 A4: az cloud, account, group, provider, resource, rest, and every command on registries themselves")
    func registries() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box, arguments: ["--suffix", "registry.test:8443"])
            let azure = try await AzureCLI.operate(parent)
            func run(_ command: String) async throws -> String {
                try await azure.attempt(command.split(separator: " ").map(String.init)).succeeded().trimmed
            }

            #expect(try await run("cloud show --query name -o tsv") == "self")
            #expect(try await run("cloud list --query [?isActive].name -o tsv") == "self")
            #expect(try await run("account list-locations --query [].name -o tsv").contains("eastus"))
            for namespace in ["Microsoft.Kubernetes", "Microsoft.KubernetesConfiguration", "Microsoft.ExtendedLocation"] {
                _ = try await run("provider register --namespace \(namespace) --wait")
                #expect(try await run("provider show -n \(namespace) --query registrationState -o tsv") == "Registered")
            }
            _ = try await run("group create --name myResourceGroup --location eastus --tags a=b")
            try await self.same(azure, parent, "group show -n MYRESOURCEGROUP")
            try await self.same(azure, parent, "group list")
            #expect(try await run("group exists -n myResourceGroup") == "true")
            #expect(try await run("group exists -n other") == "false")

            // The tiers, and names.
            try await self.same(azure, parent, "acr check-name -n plantregistry")
            _ = try await run("acr create -n plantregistry -g myResourceGroup --sku basic")
            try await self.same(azure, parent, "acr check-name -n plantregistry", formats: ["json"])
            try await self.bothRefuse(azure, parent, "acr create -n plantregistry -g e2e --sku Standard", exit: 1, saying: "already in use")
            try await self.bothRefuse(azure, parent, "acr create -n abc -g e2e --sku Standard", exit: 1, saying: "not valid")
            try await self.bothRefuse(azure, parent, "acr create -n Abcdef -g e2e --sku Standard", exit: 1)
            try await self.bothRefuse(azure, parent, "acr update -n plantregistry --data-endpoint-enabled true", exit: 1, saying: "Premium")
            _ = try await run("acr update -n plantregistry --sku Premium --data-endpoint-enabled true --tags x=1")
            try await self.same(azure, parent, "acr show -n plantregistry")
            try await self.same(azure, parent, "acr list")
            try await self.same(azure, parent, "acr list -g myResourceGroup --query [].loginServer", formats: ["json", "tsv"])
            try await self.same(azure, parent, "acr show-usage -n plantregistry")
            try await self.same(azure, parent, "acr show-endpoints -n plantregistry")
            try await self.bothRefuse(azure, parent, "acr show -n nosuchregistry", exit: 1, saying: "could not be found")
            try await self.bothRefuse(azure, parent, "acr show -n nosuchregistry -g myResourceGroup", exit: 3, saying: "nosuchregistry")

            // The admin user.
            try await self.bothRefuse(azure, parent, "acr credential show -n plantregistry", exit: 1)
            _ = try await run("acr update -n plantregistry --admin-enabled true")
            try await self.same(azure, parent, "acr credential show -n plantregistry")
            let before = try await run("acr credential show -n plantregistry --query passwords[0].value -o tsv")
            let renewed = try await run("acr credential renew -n plantregistry --password-name password --query passwords[0].value -o tsv")
            #expect(before != renewed)

            // By id and without any command of its own.
            let id = try await run("acr show -n plantregistry --query id -o tsv")
            #expect(try await run("resource show --ids \(id) --query sku.name -o tsv") == "Premium")
            #expect(try await run("rest --method get --url \(id)?api-version=2026-01-01 --query name -o tsv") == "plantregistry")
            #expect(
                try await run("resource list --resource-type Microsoft.ContainerRegistry/registries --query [].name -o tsv").contains(
                    "plantregistry"))
            #expect(
                try await azure.attempt("rest", "--method", "get", "--url", id + "x?api-version=2026-01-01").failed().errors.contains(
                    "ResourceNotFound"))

            // What has nothing behind it says so, and lists stay honest.
            #expect(
                try await azure.attempt("acr", "replication", "create", "-r", "plantregistry", "-l", "westus").failed().errors.contains(
                    "not available"))

            _ = try await run("acr delete -n plantregistry --yes")
            #expect(try await run("acr list --query [].name -o tsv").contains("plantregistry") == false)
            _ = try await run("group delete -n myResourceGroup --yes")
            #expect(try await run("group exists -n myResourceGroup") == "false")
        }
    }

    @Test("I1 C4 A4: every command of az acr token and az acr scope-map")
    func tokens() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let azure = try await AzureCLI.operate(parent)
            let name = parent.registryName
            func run(_ command: String) async throws -> String {
                try await azure.attempt((command + " -r \(name)").split(separator: " ").map(String.init)).succeeded().trimmed
            }
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box)

            _ = try await run("acr scope-map create -n mapping1 --repository app content/read content/write --description d")
            _ = try await run("acr scope-map update -n mapping1 --add-repository team/tool content/read --add-gateway site1 config/read")
            _ = try await run("acr scope-map update -n mapping1 --remove-gateway site1 config/read")
            try await self.same(azure, parent, "acr scope-map show -n mapping1 -r \(name)")
            try await self.same(azure, parent, "acr scope-map list -r \(name)")
            try await self.bothRefuse(azure, parent, "acr scope-map show -n nomap -r \(name)", exit: 3)

            let made = try JSONValue(parsing: try await run("acr token create -n token1 --scope-map mapping1 -o json"))
            let passwords = made[path: "credentials", "passwords"]?.arrayValue?.compactMap { $0["value"]?.stringValue } ?? []
            #expect(passwords.count == 2)
            for password in passwords {
                try await clients.push(
                    image.reference, to: try parent.registry(by: Credentials(name: "token1", password: password)), "app:v1"
                )
                .succeeded()
            }
            _ = try await run("acr token create -n token2 --repository app content/read --gateway site1 config/read --no-passwords")
            try await self.same(azure, parent, "acr token show -n token1 -r \(name)")
            try await self.same(azure, parent, "acr token list -r \(name)")
            try await self.bothRefuse(azure, parent, "acr token show -n notoken -r \(name)", exit: 3)

            // A slot is renewed, the other stays; one is deleted; an expiry is shown.
            let second = try await run(
                "acr token credential generate -n token1 --password2 --expiration-in-days 30 --query passwords[0].value -o tsv")
            func pull(_ password: String) async throws -> Outcome {
                try await clients.pull(
                    try parent.registry(by: Credentials(name: "token1", password: password)), "app:v1", into: "oci:\(box.path("pulled")):v1"
                )
            }
            try await pull(passwords[0]).succeeded()
            try await pull(passwords[1]).failed()
            try await pull(second).succeeded()
            try await self.same(azure, parent, "acr token show -n token1 -r \(name)", formats: ["table"])
            _ = try await run("acr token credential delete -n token1 --password1")
            try await pull(passwords[0]).failed()
            _ = try await run("acr token update -n token1 --status disabled")
            try await pull(second).failed()
            _ = try await run("acr token update -n token1 --scope-map _repositories_pull --status enabled")
            try await pull(second).succeeded()
            _ = try await run("acr token delete -n token1 --yes")
            try await pull(second).failed()
            _ = try await run("acr scope-map delete -n mapping1 --yes")
            try await self.bothRefuse(azure, parent, "acr scope-map show -n mapping1 -r \(name)", exit: 3)
        }
    }

    @Test("C1 C3 C4 C10 A4: every command of az acr connected-registry, on a tree of three levels")
    func connectedRegistries() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let azure = try await AzureCLI.operate(parent)
            let name = parent.registryName
            func run(_ command: String) async throws -> String {
                try await azure.attempt((command + " -r \(name)").split(separator: " ").map(String.init)).succeeded().trimmed
            }
            func actions(_ map: String) async throws -> String { try await run("acr scope-map show -n \(map) --query actions -o tsv") }

            _ = try await run("acr token create -n client1 --scope-map _repositories_pull")
            _ = try await run("acr connected-registry create -n country --repository hello-world app --mode ReadWrite --yes")
            _ = try await run("acr connected-registry create -n region1 --repository hello-world --parent country --mode ReadWrite --yes")
            _ = try await azure.attempt(
                [
                    "acr", "connected-registry", "create", "-n", "plant1", "-r", name, "--repository", "hello-world", "--parent", "region1",
                    "--mode", "ReadOnly", "--client-tokens", "client1", "--notifications", "hello-world:tag:*", "--log-level", "Debug",
                    "-s",
                    "0 12 * * *", "-w", "PT4H", "--sync-message-ttl", "P3D", "--gc-enabled", "true", "--gc-schedule", "0 5 * * *", "--yes",
                ]).succeeded()
            _ = try await run("acr connected-registry create -n region2 --repository app --parent country --mode ReadOnly --yes")
            try await self.bothRefuse(
                azure, parent, "acr connected-registry create -n bad01 -r \(name) --repository app --parent region2 --mode ReadWrite --yes",
                exit: 1)
            // The parent's own permissions grew with the tree.
            #expect(try await actions("country").contains("gateway/plant1/config/read"))

            let at = "-r \(name)"
            // With a schedule of its own there is a next window, which az has no words for.
            try await self.same(azure, parent, "acr connected-registry show -n plant1 \(at)", formats: ["json", "table"])
            try await self.same(azure, parent, "acr connected-registry show -n region1 \(at)")
            try await self.same(azure, parent, "acr connected-registry list \(at)", formats: ["json", "table"])
            try await self.same(azure, parent, "acr connected-registry list --no-children \(at)", formats: ["json", "table"])
            try await self.same(azure, parent, "acr connected-registry list-client-tokens -n plant1 \(at)", formats: ["json", "table"])
            try await self.same(azure, parent, "acr connected-registry permissions show -n region1 \(at)", formats: ["json"])
            try await self.same(
                azure, parent, "acr connected-registry get-settings -n plant1 --parent-protocol https \(at)", formats: ["json"])

            _ = try await run("acr connected-registry permissions update -n plant1 --add team/tool")
            for map in ["country", "region1", "plant1"] {
                #expect(try await actions(map).contains("repositories/team/tool/content/read"), "\(map)")
            }
            #expect(try await !actions("region2").contains("team/tool"))
            _ = try await run("acr connected-registry permissions update -n region1 --remove hello-world")
            for map in ["region1", "plant1"] { #expect(try await !actions(map).contains("hello-world"), "\(map)") }
            #expect(try await actions("country").contains("hello-world"))

            _ = try await run(
                "acr connected-registry update -n plant1 --log-level Warning --remove-client-tokens client1 --gc-enabled false")
            let updated = try JSONValue(parsing: try await run("acr connected-registry show -n plant1 -o json"))
            #expect(updated[path: "logging", "logLevel"] == "Warning")
            #expect(updated["clientTokenIds"]?.arrayValue?.isEmpty != false)
            #expect(updated[path: "garbageCollection", "enabled"] == false)
            _ = try await run("acr connected-registry resync -n plant1")
            _ = try await run("acr connected-registry deactivate -n plant1 --yes")
            let text = try await run(
                "acr connected-registry get-settings -n country --parent-protocol https --generate-password 1 --yes --query ACR_REGISTRY_CONNECTION_STRING -o tsv"
            )
            #expect(text.hasPrefix("ConnectedRegistryName=country;SyncTokenName=country;SyncTokenPassword="))

            // What has children stays; the cleaned-up go with all that was made for them.
            try await self.bothRefuse(azure, parent, "acr connected-registry delete -n region1 --yes \(at)", exit: 1)
            for site in ["plant1", "region1", "region2", "country"] {
                _ = try await run("acr connected-registry delete -n \(site) --cleanup --yes")
                #expect(try await azure.attempt(["acr", "token", "show", "-n", site, "-r", name]).status == 3)
                #expect(try await azure.attempt(["acr", "scope-map", "show", "-n", site, "-r", name]).status == 3)
            }
            #expect(try await run("acr connected-registry list -o json") == "[]")
        }
    }
}
