// Every command of Azure's documents that is about registries, run once with the unmodified `az`; one that is left out fails.

import Foundation
import JSON
import Testing

@Suite(.serialized) struct AzureDocumentedTests {
    /// The commands of the documents.
    private static let documented = [
        "cloud register", "cloud set", "cloud show", "cloud list", "cloud update", "login", "logout", "account show", "account list",
        "account set", "account clear", "account get-access-token", "account list-locations",
        "group create", "group list", "group show", "group exists", "group update", "group delete",
        "provider register", "provider show", "provider list", "provider unregister", "resource show", "resource list", "resource create",
        "resource tag", "resource invoke-action", "resource delete", "rest", "extension add", "extension list",
        "acr check-name", "acr create", "acr show", "acr list", "acr update", "acr show-usage", "acr show-endpoints", "acr login",
        "acr credential show", "acr credential renew", "acr import", "acr check-health", "acr delete", "acr identity assign",
        "acr identity show", "acr identity remove", "acr encryption show", "acr network-rule add", "acr network-rule list",
        "acr network-rule remove", "acr config retention show", "acr config retention update", "acr config soft-delete show",
        "acr config soft-delete update", "acr config content-trust show", "acr config authentication-as-arm show",
        "acr config authentication-as-arm update",
        "acr repository list", "acr repository show", "acr repository show-tags", "acr repository show-manifests", "acr repository update",
        "acr repository untag", "acr repository delete", "acr repository list-deleted",
        "acr manifest list", "acr manifest list-metadata", "acr manifest show", "acr manifest show-metadata",
        "acr manifest update-metadata", "acr manifest delete", "acr manifest list-referrers", "acr manifest list-deleted",
        "acr manifest list-deleted-tags", "acr manifest restore", "acr manifest metadata list",
        "acr scope-map create", "acr scope-map list", "acr scope-map show", "acr scope-map update", "acr scope-map delete",
        "acr token create", "acr token list", "acr token show", "acr token update", "acr token delete", "acr token credential generate",
        "acr token credential delete", "acr replication list", "acr replication show", "acr replication update",
        "acr webhook create", "acr webhook list", "acr webhook show", "acr webhook update", "acr webhook ping", "acr webhook get-config",
        "acr webhook list-events", "acr webhook delete", "acr cache create", "acr cache list", "acr cache show", "acr cache update",
        "acr cache delete", "acr credential-set create", "acr credential-set list", "acr credential-set show", "acr credential-set update",
        "acr credential-set delete",
        "acr connected-registry create", "acr connected-registry list", "acr connected-registry show", "acr connected-registry update",
        "acr connected-registry get-settings", "acr connected-registry list-client-tokens", "acr connected-registry permissions show",
        "acr connected-registry permissions update", "acr connected-registry resync", "acr connected-registry deactivate",
        "acr connected-registry install info", "acr connected-registry delete",
        "ad sp create-for-rbac", "ad sp list", "ad sp show", "ad sp credential reset", "ad sp credential list", "ad sp delete",
        "ad sp create", "ad sp owner list", "ad app create", "ad app update", "ad app credential reset", "ad app credential list",
        "ad app credential delete", "ad app owner add", "ad app owner list", "ad app owner remove", "ad group owner add",
        "ad group owner list", "ad group owner remove", "ad group get-member-groups", "ad user get-member-groups",
        "identity update", "resource patch", "resource wait", "group wait", "aks wait",
        "ad app list", "ad app show", "ad user create", "ad user list", "ad user show", "ad user delete", "ad group create",
        "ad group show",
        "ad group list", "ad group member add", "ad group member list", "ad group member check", "ad group member remove",
        "ad group delete",
        "role assignment create", "role assignment list", "role assignment delete", "role definition list", "role definition show",
        "identity create", "identity show", "identity list", "identity delete",
        "aks create", "aks show", "aks list", "aks update", "aks get-credentials", "aks delete",
    ]

    /// Those that cannot be run where there is nothing but this server, what they are tried with, and what stands for them.
    private static let impossible: [(command: String, reason: String)] = [
        // The option is gone from az; outport takes it.
        ("ad sp credential reset --name http://ci", "AzureIdentityTests runs it with outport"),
        // They wait for an extension that is in no package index; its requests are sent with `az rest` and `outport`.
        ("connectedk8s connect -n plant -g documented", "Scripts/test-kubernetes connects with outport"),
        ("k8s-extension list -c plant -g documented -t connectedClusters", "AzureClusterTests sends the requests with az rest"),
        // It pulls an image of Microsoft's on a cluster.
        ("aks check-acr -n nodes -g documented --acr documentedreg", "outport check"),
        // The server is in one place.
        ("acr replication create -r documentedreg -l westus2", "refused with a sentence"),
    ]

    /// Runs commands, and remembers which.
    private final class Replay {
        let azure: AzureCLI
        let parent: Parent
        private(set) var done: Set<String> = []

        init(_ azure: AzureCLI, _ parent: Parent) {
            self.azure = azure
            self.parent = parent
        }

        /// Blanks in apostrophes are no ends of words.
        static func words(_ text: String) -> [String] {
            var words: [String] = []
            var isQuoted = false
            var word: String?
            for character in text {
                switch character {
                case "'":
                    isQuoted.toggle()
                    word = word ?? ""
                case " " where !isQuoted:
                    if let word { words.append(word) }
                    word = nil
                default: word = (word ?? "") + String(character)
                }
            }
            return words + (word.map { [$0] } ?? [])
        }

        private func note(_ words: [String]) { self.done.insert(words.prefix { !$0.hasPrefix("-") }.joined(separator: " ")) }

        @discardableResult
        func run(_ command: String) async throws -> String {
            let words = Self.words(command)
            let printed = try await self.azure.attempt(words).succeeded().trimmed
            self.note(words)
            return printed
        }

        /// The same with outport, which prints the same.
        func same(_ command: String, _ formats: String...) async throws {
            let words = Self.words(command)
            for format in formats.isEmpty ? ["json", "table"] : formats {
                let theirs = try await self.azure.attempt(words + ["-o", format]).succeeded().trimmed
                let ours = try await self.parent.attempt(words + ["-o", format]).succeeded().trimmed
                if format == "json" {
                    let isSame =
                        try JSONValue(parsing: ours.isEmpty ? "null" : ours) == JSONValue(parsing: theirs.isEmpty ? "null" : theirs)
                    #expect(isSame, "\(command)\naz: \(theirs)\noutport: \(ours)")
                } else {
                    #expect(ours == theirs, "\(command)")
                }
            }
            self.note(words)
        }
    }

    @Test("A1 A2 A3 A4 R4 R5 I1 I3 I4 I7 C1: every documented command, unmodified; none is left out")
    func all() async throws {
        try await withSandbox { other in
            let source = try await Parent.start(other, registry: "sourceregistry")
            try await withSandbox { box in try await self.all(box, source) }
        }
    }

    private func all(_ box: Sandbox, _ source: Parent) async throws {
        let image = try await ImageLayout.busybox(box)
        let clients = try Clients(box)
        try await clients.push(image.reference, to: try source.registry(by: try await source.token("owner")), "library/nginx:latest")
            .succeeded()
        try await clients.push(image.reference, to: try source.registry(by: try await source.token("owner2")), "hello-world:latest")
            .succeeded()
        try await source("acr", "update", "-n", "sourceregistry", "--anonymous-pull-enabled", "true")
        let wheels = try box.newFolder("wheels")
        let upstream = "https://\(source.server.address)"
        let parent = try await Parent.start(
            box,
            arguments: [
                "--upstream", "docker.io=\(upstream)", "--upstream", "mcr.microsoft.com=\(upstream)", "--fetch-ca", source.server.ca,
                "--extension-mirror", wheels,
            ])
        let bootstrap = try parent.bootstrap()
        let replay = Replay(try await AzureCLI.operate(parent), parent)
        try await self.accounts(replay, bootstrap.resourceManager)
        try await self.registry(replay, bootstrap.tenantId)
        try await self.data(replay)
        try await self.tokens(replay, box)
        try await self.sites(replay)
        try await self.directory(replay)
        try await self.clusters(replay, box)
        try await self.ends(replay)
        for (text, reason) in Self.impossible {
            let outcome = try await replay.azure.attempt(Replay.words(text))
            #expect(!outcome.isSuccess, "az \(text) works, and is listed as impossible (\(reason))")
        }
        // Signed in with clouds and extensions, which need a state of their own.
        let unlisted = Set(Self.documented).subtracting(replay.done).subtracting(["cloud register", "cloud set", "login", "extension add"])
        #expect(unlisted.isEmpty, "documented and not run: \(unlisted.sorted())")
    }

    private func accounts(_ replay: Replay, _ endpoint: String) async throws {
        try await replay.run("cloud show --query name -o tsv")
        try await replay.run("cloud list --query [].name -o tsv")
        try await replay.run("cloud update --name self --endpoint-resource-manager \(endpoint)")
        try await replay.run("account show")
        try await replay.run("account list --refresh")
        let subscription = try await replay.run("account show --query id -o tsv")
        try await replay.run("account set -s \(subscription)")
        try await replay.same("account list-locations", "json")
        try await replay.run("account get-access-token --resource https://containerregistry.azure.net --query tokenType -o tsv")
        try await replay.run("extension list")
        try await replay.run("group create -n documented -l eastus --tags a=b")
        try await replay.same("group list")
        try await replay.same("group show -n documented")
        try await replay.run("group exists -n documented")
        try await replay.run("group update -n documented --tags c=d")
        try await replay.same("group show -n documented", "json")
        for namespace in ["Microsoft.Kubernetes", "Microsoft.KubernetesConfiguration", "Microsoft.ExtendedLocation"] {
            try await replay.run("provider register --namespace \(namespace)")
        }
        try await replay.same("provider show -n Microsoft.Kubernetes", "json", "table")
        try await replay.same("provider list", "json", "table")
        try await replay.run("provider unregister --namespace Microsoft.ExtendedLocation")
        #expect(try await replay.run("provider show -n Microsoft.ExtendedLocation --query registrationState -o tsv") == "Unregistered")
        try await replay.run("provider register --namespace Microsoft.ExtendedLocation --wait")
    }

    private func registry(_ replay: Replay, _ tenant: String) async throws {
        let name = replay.parent.registryName
        try await replay.same("acr check-name -n documentedreg")
        // A second registry needs names of its own, which this server was not given: what there is stands for it.
        #expect(
            try await replay.azure.attempt(Replay.words("acr create -n documentedreg -g documented --sku Basic")).failed().errors.contains(
                "--suffix"))
        try await replay.run("acr create -n \(name) -g e2e --sku Premium --admin-enabled true")
        try await replay.same("acr show -n \(name)", "json", "table", "tsv", "yaml")
        try await replay.same("acr list")
        try await replay.run("acr update -n \(name) --data-endpoint-enabled true --tags team=edge")
        try await replay.same("acr show-usage -n \(name)")
        try await replay.same("acr show-endpoints -n \(name)")
        try await replay.same("acr credential show -n \(name)")
        try await replay.run("acr credential renew -n \(name) --password-name password")
        try await replay.run("acr login -n \(name) --expose-token")
        try await replay.run("acr check-health -n \(name) --ignore-errors --yes")
        let id = try await replay.run("acr show -n \(name) --query id -o tsv")
        try await replay.same("resource show --ids \(id)", "json")
        try await replay.same("resource list --resource-type Microsoft.ContainerRegistry/registries", "json")
        try await replay.same("resource list --tag team=edge", "json")
        try await replay.run("resource tag --tags team=core --ids \(id)")
        try await replay.run("resource invoke-action --action listCredentials --ids \(id)")
        try await replay.same("rest --method get --url \(id)?api-version=2025-11-01", "json")
        try await replay.run("identity create -n puller -g documented")
        let identity = try await replay.run("identity show -n puller -g documented --query id -o tsv")
        try await replay.run("acr identity assign -n \(name) --identities [system] \(identity)")
        // As a table az prints the columns of a registry, all of them blank.
        try await replay.same("acr identity show -n \(name)", "json")
        try await replay.same("acr show -n \(name)")
        try await replay.run("acr identity remove -n \(name) --identities [system] \(identity)")
        #expect(try await replay.parent("acr", "identity", "show", "-n", name).isEmpty)
        try await replay.same("acr encryption show -n \(name)", "json")
        try await replay.run("acr network-rule add -n \(name) --ip-address 203.0.113.0/24")
        try await replay.same("acr network-rule list -n \(name)")
        try await replay.run("acr network-rule remove -n \(name) --ip-address 203.0.113.0/24")
        try await replay.run("acr config retention update -r \(name) --status enabled --days 7 --type UntaggedManifests")
        try await replay.same("acr config retention show -r \(name)")
        try await replay.run("acr config retention update -r \(name) --status disabled --type UntaggedManifests")
        try await replay.run("acr config soft-delete update -r \(name) --status enabled --days 7")
        try await replay.same("acr config soft-delete show -r \(name)")
        try await replay.same("acr config content-trust show -n \(name)")
        try await replay.same("acr config authentication-as-arm show -r \(name)")
        try await replay.run("acr config authentication-as-arm update -r \(name) --status enabled")
        for part in ["replication", "cache", "credential-set", "webhook"] { try await replay.same("acr \(part) list -r \(name)") }
        try await replay.same("acr replication show -r \(name) -n eastus")
        try await replay.run("acr replication update -r \(name) -n eastus --global-endpoint-routing true")
        let vault = "https://v.vault.azure.net/secrets"
        try await replay.run("acr credential-set create -r \(name) -n hubset -l docker.io -u \(vault)/u -p \(vault)/p")
        try await replay.run("acr credential-set update -r \(name) -n hubset -p \(vault)/q")
        try await replay.same("acr credential-set show -r \(name) -n hubset")
        try await replay.run("acr cache create -r \(name) -n hubrule -s docker.io/library/ubuntu -t ubuntu -c hubset")
        try await replay.same("acr cache show -r \(name) -n hubrule")
        try await replay.run("acr cache update -r \(name) -n hubrule --remove-cred-set")
        try await replay.run("acr cache delete -r \(name) -n hubrule --yes")
        try await replay.run("acr credential-set delete -r \(name) -n hubset --yes")
        let hook = "-r \(name) -n hookone"
        try await replay.run(
            "acr webhook create \(hook) --uri https://receiver.example/x --actions push delete quarantine chart_push chart_delete")
        try await replay.same("acr webhook show \(hook)")
        try await replay.run("acr webhook update \(hook) --status disabled --actions push --headers X-Key=v")
        try await replay.same("acr webhook get-config \(hook)")
        try await replay.run("acr webhook ping \(hook)")
        try await replay.run("acr webhook list-events \(hook)")
        try await replay.run("acr webhook delete \(hook)")
    }

    private func data(_ replay: Replay) async throws {
        let name = replay.parent.registryName
        try await replay.run("acr import -n \(name) --source docker.io/library/nginx:latest --image nginx:v1")
        try await replay.run("acr import -n \(name) --source mcr.microsoft.com/hello-world:latest --image hello-world:latest")
        try await replay.run("acr import -n \(name) --source docker.io/library/nginx:latest --image nginx:v2 --no-wait")
        let azure = replay.azure
        try await eventually("nginx:v2 is there") {
            try await azure.attempt(Replay.words("acr repository show -n \(name) --image nginx:v2")).isSuccess
        }
        try await replay.same("acr repository list -n \(name)")
        try await replay.same("acr repository show -n \(name) --image nginx:v1")
        try await replay.same("acr repository show-tags -n \(name) --repository nginx --detail")
        try await replay.same("acr repository show-manifests -n \(name) --repository nginx")
        try await replay.run("acr repository update -n \(name) --image nginx:v1 --write-enabled false")
        try await replay.run("acr repository update -n \(name) --image nginx:v1 --write-enabled true")
        let digest = try await replay.run("acr repository show -n \(name) --image nginx:v1 --query digest -o tsv")
        let server = try await replay.run("acr show -n \(name) --query loginServer -o tsv")
        for (verb, at) in [
            ("list", "nginx"), ("list-metadata", "nginx"), ("show", "nginx:v1"), ("show-metadata", "nginx:v1"),
            ("list-referrers", "nginx:v1"),
        ] {
            try await replay.same("acr manifest \(verb) -r \(name) -n \(at)")
            // The whole name says the same.
            let whole = try await replay.parent.attempt(["acr", "manifest", verb, "\(server)/\(at)"]).succeeded().trimmed
            let parts = try await replay.parent.attempt(["acr", "manifest", verb, "-r", name, "-n", at]).succeeded().trimmed
            #expect(whole == parts, "\(verb)")
        }
        try await replay.same("acr manifest metadata list -r \(name) -n nginx")
        let raw = try await replay.parent.attempt(["acr", "manifest", "show", "-r", name, "-n", "nginx:v1", "--raw"]).succeeded().output
        #expect(Data(raw.utf8).digest == digest)
        try await replay.run("acr manifest update-metadata -r \(name) -n nginx:v1 --delete-enabled true")
        try await replay.run("acr repository untag -n \(name) --image nginx:v2")
        try await replay.run("acr manifest delete -r \(name) -n nginx@\(digest) --yes")
        try await replay.same("acr repository list-deleted -n \(name)")
        try await replay.same("acr manifest list-deleted -r \(name) -n nginx")
        try await replay.same("acr manifest list-deleted-tags -r \(name) -n nginx")
        try await replay.run("acr manifest restore -r \(name) -n nginx:v1 --yes")
        try await replay.run("acr repository delete -n \(name) --repository nginx --yes")
    }

    private func tokens(_ replay: Replay, _ box: Sandbox) async throws {
        let at = "-r \(replay.parent.registryName)"
        try await replay.run("acr scope-map create -n mapone \(at) --repository app content/read content/write --description d")
        try await replay.run("acr scope-map update -n mapone \(at) --add-repository tool content/read")
        try await replay.same("acr scope-map show -n mapone \(at)")
        try await replay.same("acr scope-map list \(at)")
        try await replay.run("acr token create -n tokenone \(at) --scope-map mapone")
        try await replay.same("acr token show -n tokenone \(at)")
        try await replay.same("acr token list \(at)")
        try await replay.run("acr token credential generate -n tokenone \(at) --password1 --expiration-in-days 30")
        try await replay.run("acr token credential delete -n tokenone \(at) --password1")
        try await replay.run("acr token update -n tokenone \(at) --status disabled")
        try await replay.run("acr token delete -n tokenone \(at) --yes")
        try await replay.run("acr scope-map delete -n mapone \(at) --yes")
    }

    private func sites(_ replay: Replay) async throws {
        let at = "-r \(replay.parent.registryName)"
        let verb = "acr connected-registry"
        try await replay.run("acr token create -n client1 \(at) --scope-map _repositories_pull --no-passwords")
        try await replay.run(
            "\(verb) create \(at) -n myconnectedregistry --repository hello-world --client-tokens client1 --notifications 'hello-world:tag:*' --yes"
        )
        try await replay.same("\(verb) show \(at) -n myconnectedregistry")
        try await replay.same("\(verb) list \(at)")
        try await replay.same("\(verb) list-client-tokens \(at) -n myconnectedregistry")
        try await replay.run(
            "\(verb) update \(at) -n myconnectedregistry --log-level Debug --sync-schedule '0 12 * * *' --sync-window PT4H")
        try await replay.same("\(verb) permissions show \(at) -n myconnectedregistry")
        try await replay.run("\(verb) permissions update \(at) -n myconnectedregistry --add nginx")
        try await replay.same("\(verb) get-settings \(at) -n myconnectedregistry --parent-protocol https", "json")
        try await replay.run("\(verb) install info \(at) -n myconnectedregistry --parent-protocol https")
        try await replay.run("\(verb) resync \(at) -n myconnectedregistry")
        try await replay.run("\(verb) deactivate \(at) -n myconnectedregistry --yes")
        try await replay.run("\(verb) delete \(at) -n myconnectedregistry --cleanup --yes")
        // With an identity in place of the token: a record, and a string.
        let identity = try await replay.run("identity show -n puller -g documented --query id -o tsv")
        try await replay.run("\(verb) create \(at) -n identified --auth-type ManagedIdentity --identity \(identity) --yes")
        try await replay.same("\(verb) show \(at) -n identified")
        try await replay.same("\(verb) get-settings \(at) -n identified --parent-protocol https", "json")
        let string = try await replay.run(
            "\(verb) get-settings \(at) -n identified --parent-protocol https --query ACR_REGISTRY_CONNECTION_STRING -o tsv")
        #expect(string.contains(";ManagedIdentityClientId="))
        let refused = try await command(
            Program.outport, ["connect", "--connection-string", string, "--data", "/nonexistent", "--listen", "127.0.0.1:1"]
        ).failed()
        #expect(refused.errors.contains("MANAGED_IDENTITY_NOT_SUPPORTED"), "\(refused.errors)")
        for text in ["permissions show -n identified", "permissions update -n identified --add x"] {
            let words = Replay.words("\(verb) \(text) \(at)")
            #expect(try await replay.azure.attempt(words).failed().status == replay.parent.attempt(words).failed().status, "\(text)")
        }
        try await replay.run("\(verb) delete \(at) -n identified --yes")
    }

    private func directory(_ replay: Replay) async throws {
        let scope = try await replay.run("acr show -n \(replay.parent.registryName) --query id -o tsv")
        let appID = try await replay.run("ad sp create-for-rbac --name http://ci --scopes \(scope) --role acrpull --query appId -o tsv")
        try await replay.same("ad sp list --display-name http://ci", "json")
        try await replay.same("ad sp show --id \(appID)", "json")
        try await replay.run("ad sp credential reset --id \(appID)")
        try await replay.same("ad sp credential list --id \(appID)", "json")
        try await replay.same("ad app list --display-name http://ci", "json")
        try await replay.same("ad app show --id \(appID)", "json")
        try await replay.run("role assignment create --assignee \(appID) --scope \(scope) --role acrpush")
        try await replay.same("role assignment list --scope \(scope)")
        try await replay.run("role assignment delete --assignee \(appID) --role acrpush --scope \(scope)")
        try await replay.same("role definition list --name AcrPull", "table")
        let role = try await replay.run("role definition list --name AcrPull --query [0].id -o tsv")
        try await replay.run("role definition show --id \(role)")
        try await replay.run("ad user create --display-name Ann --user-principal-name ann@x.test --password 'a long and good one 1'")
        try await replay.same("ad user list --upn ann@x.test", "json")
        try await replay.same("ad user show --id ann@x.test", "json")
        try await replay.run("ad group create --display-name people --mail-nickname people")
        try await replay.same("ad group show -g people", "json")
        try await replay.same("ad group list --display-name people", "json")
        let ann = try await replay.run("ad user show --id ann@x.test --query id -o tsv")
        try await replay.run("ad group member add -g people --member-id \(ann)")
        try await replay.same("ad group member list -g people", "json")
        try await replay.same("ad group member check -g people --member-id \(ann)", "json")
        try await replay.same("ad user get-member-groups --id ann@x.test", "json")
        try await replay.run("ad group owner add -g people --owner-object-id \(ann)")
        try await replay.same("ad group owner list -g people", "json")
        try await replay.run("ad group owner remove -g people --owner-object-id \(ann)")
        try await replay.same("ad group get-member-groups -g \(replay.run("ad group show -g people --query id -o tsv"))", "json")
        try await replay.run("ad group member remove -g people --member-id \(ann)")
        try await replay.run("ad group delete -g people")
        try await self.applications(replay, owner: ann)
        try await replay.run("ad user delete --id ann@x.test")
        try await replay.run("ad sp delete --id \(appID)")
    }

    /// Applications made one step after the other, with both programs in turn.
    private func applications(_ replay: Replay, owner: String) async throws {
        let appID = try await replay.run("ad app create --display-name builder --query appId -o tsv")
        // Made once: the other program finds it.
        try await replay.same("ad app create --display-name builder", "json")
        try await replay.run("ad app update --id \(appID) --display-name builder2")
        try await replay.same("ad app show --id \(appID)", "json")
        try await replay.run("ad sp create --id \(appID)")
        try await replay.same("ad sp owner list --id \(appID)", "json")
        try await replay.run("ad app owner add --id \(appID) --owner-object-id \(owner)")
        // Nothing happens the second time.
        try await replay.parent("ad", "app", "owner", "add", "--id", appID, "--owner-object-id", owner)
        try await replay.same("ad app owner list --id \(appID)", "json")
        try await replay.run("ad app owner remove --id \(appID) --owner-object-id \(owner)")
        try await replay.run("ad app credential reset --id \(appID) --append")
        try await replay.parent("ad", "app", "credential", "reset", "--id", appID, "--append")
        try await replay.same("ad app credential list --id \(appID)", "json")
        let keys = try await replay.run("ad app credential list --id \(appID) --query [].keyId -o tsv").split(separator: "\n")
        #expect(keys.count == 2)
        try await replay.run("ad app credential delete --id \(appID) --key-id \(keys[0])")
        try await replay.parent("ad", "app", "credential", "delete", "--id", appID, "--key-id", String(keys[1]))
        try await replay.same("ad app credential list --id \(appID)", "json")
        try await replay.parent("ad", "app", "delete", "--id", appID)
        let words = Replay.words("ad app show --id \(appID)")
        #expect(try await replay.azure.attempt(words).failed().status == replay.parent.attempt(words).failed().status)
    }

    private func clusters(_ replay: Replay, _ box: Sandbox) async throws {
        let name = replay.parent.registryName
        try await replay.same("identity list -g documented", "json")
        try await replay.run("identity update -n puller -g documented --tags site=north")
        try await replay.same("identity show -n puller -g documented", "json")
        let identity = try await replay.run("identity show -n puller -g documented --query id -o tsv")
        try await replay.same("identity show --ids \(identity)", "json")
        try await replay.run("resource patch --ids \(identity) --is-full-object -p '{\"tags\":{\"site\":\"south\"}}'")
        try await replay.same("resource show --ids \(identity) --query tags", "json")
        for wait in [
            "group wait -n documented --exists", "group wait -n documented --created", "resource wait --ids \(identity) --exists",
            "resource wait --ids \(identity) --custom tags.site", "resource wait --ids \(identity)x --deleted --interval 1",
        ] { try await replay.same(wait, "json") }
        for failure in ["group wait -n documented", "resource wait --ids \(identity)x --updated --interval 1"] {
            let words = Replay.words(failure)
            #expect(
                try await replay.azure.attempt(words).failed().status == replay.parent.attempt(words).failed().status, "\(failure)")
        }
        try await replay.run("identity delete -n puller -g documented")
        try await replay.run("aks create -n nodes -g documented --generate-ssh-keys --attach-acr \(name)")
        try await replay.run("aks update -n nodes -g documented --detach-acr \(name)")
        try await replay.same("aks wait -n nodes -g documented --created", "json")
        // az fills in a hundred members that a record has not.
        try await replay.same(
            "aks show -n nodes -g documented --query '[name,location,fqdn,kubernetesVersion,nodeResourceGroup,identityProfile.kubeletidentity]'",
            "json")
        try await replay.run("aks list -g documented -o table")
        let kubeconfig = try box.file(
            "plant.kubeconfig",
            """
            apiVersion: v1
            kind: Config
            current-context: nodes
            clusters: [{name: nodes, cluster: {server: "https://10.0.0.1:6443"}}]
            users: [{name: clusterUser_nodes, user: {token: t}}]
            contexts: [{name: nodes, context: {cluster: nodes, user: clusterUser_nodes}}]
            """)
        try await replay.parent("aks", "record-credentials", "-n", "nodes", "-g", "documented", "--file", kubeconfig)
        let (theirs, ours) = (box.path("theirs.yaml"), box.path("ours.yaml"))
        try await replay.run("aks get-credentials -n nodes -g documented -f \(theirs)")
        try await replay.parent("aks", "get-credentials", "-n", "nodes", "-g", "documented", "-f", ours)
        for file in [theirs, ours] {
            let text = try String(contentsOf: URL(filePath: file), encoding: .utf8)
            #expect(text.contains("current-context: nodes") && text.contains("https://10.0.0.1:6443"), "\(text)")
        }
        try await replay.run("aks delete -n nodes -g documented --yes")
        try await replay.run(
            "resource create -g documented -n plant --resource-type Microsoft.Kubernetes/connectedClusters -p '{\"agentPublicKeyCertificate\":\"\"}'"
        )
        try await replay.same("resource show -g documented -n plant --resource-type Microsoft.Kubernetes/connectedClusters", "json")
        try await replay.run("resource delete -g documented -n plant --resource-type Microsoft.Kubernetes/connectedClusters")
    }

    private func ends(_ replay: Replay) async throws {
        try await replay.run("group delete -n documented --yes")
        try await replay.run("acr delete -n \(replay.parent.registryName) --yes")
        try await replay.run("logout")
        try await replay.run("account clear")
    }
}
