// The documented commands for principals, roles, sign-in, identities and clusters, run with the unmodified `az`.

import Foundation
import JSON
import Testing

@Suite(.serialized) struct AzureIdentityTests {
    /// What the scope of a registry is.
    private func registryID(_ azure: AzureCLI, _ parent: Parent) async throws -> String {
        try await azure("acr", "show", "-n", parent.registryName, "--query", "id", "-o", "tsv")
    }

    @Test("A1 I3 I4: az makes a principal with a role, with which docker's clients may do what the role says and no more")
    func principals() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let azure = try await AzureCLI.operate(parent)
            let scope = try await self.registryID(azure, parent)
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box)
            func sign(_ made: JSONValue) throws -> Registry {
                let user = try #require(made["appId"]?.stringValue)
                return try parent.registry(by: Credentials(name: user, password: try #require(made["password"]?.stringValue)))
            }

            let pusher = try await azure.json(
                "ad", "sp", "create-for-rbac", "--name", "http://pusher", "--scopes", scope, "--role", "acrpush")
            #expect(pusher["tenant"]?.stringValue == (try parent.bootstrap()).tenantId)
            let puller = try await azure.json(
                "ad", "sp", "create-for-rbac", "--name", "http://puller", "--scopes", scope, "--role", "acrpull")
            let pullID = try #require(puller["appId"]?.stringValue)
            try await clients.push(image.reference, to: try sign(pusher), "roles/app:v1").succeeded()
            try await clients.pull(try sign(puller), "roles/app:v1", into: "oci:\(box.path("pulled")):v1").succeeded()
            try await clients.push(image.reference, to: try sign(puller), "roles/app:v2").failed()

            // Listed, shown, reset; a name that is taken is used again with a new password.
            #expect(
                try await azure("ad", "sp", "list", "--display-name", "http://puller", "--query", "[].appId", "-o", "tsv") == pullID)
            #expect(try await azure("ad", "sp", "show", "--id", pullID, "--query", "displayName", "-o", "tsv") == "http://puller")
            #expect(try await azure("ad", "app", "list", "--display-name", "http://puller", "--query", "[].appId", "-o", "tsv") == pullID)
            let reset = try await azure.json("ad", "sp", "credential", "reset", "--id", pullID)
            try await clients.pull(try sign(reset), "roles/app:v1", into: "oci:\(box.path("pulled")):v1").succeeded()
            let again = try await azure.json(
                "ad", "sp", "create-for-rbac", "--name", "http://puller", "--scopes", scope, "--role", "acrpull")
            #expect(again["appId"]?.stringValue == pullID)
            try await clients.pull(try sign(puller), "roles/app:v1", into: "oci:\(box.path("pulled")):v1").failed()
            try await clients.pull(try sign(again), "roles/app:v1", into: "oci:\(box.path("pulled")):v1").succeeded()
            // What az itself no longer takes, and the documents still show.
            #expect(try await azure.attempt("ad", "sp", "credential", "reset", "--name", "http://puller").status == 2)
            let byName = try await parent("ad", "sp", "credential", "reset", "--name", "http://puller")
            try await clients.pull(
                try sign(JSONValue(parsing: byName)), "roles/app:v1", into: "oci:\(box.path("pulled")):v1"
            ).succeeded()

            // A role acts on the next token request, when it comes and when it goes.
            let made = try await azure.json("role", "assignment", "create", "--assignee", pullID, "--scope", scope, "--role", "acrpush")
            #expect(made["scope"]?.stringValue == scope)
            try await clients.push(image.reference, to: try sign(again), "roles/app:v2").succeeded()
            #expect(
                try await azure.json("role", "assignment", "create", "--assignee", pullID, "--scope", scope, "--role", "acrpush")["name"]
                    == made["name"])
            let table = try await azure("role", "assignment", "list", "--scope", scope, "-o", "table")
            #expect(try await parent("role", "assignment", "list", "--scope", scope, "-o", "table") == table)
            #expect(table.contains("AcrPush"))
            #expect(
                try await azure.json("role", "assignment", "list", "--assignee", pullID, "--all").arrayValue?.compactMap {
                    $0["roleDefinitionName"]?.stringValue
                }.sorted() == ["AcrPull", "AcrPush"])
            try await azure("role", "assignment", "delete", "--assignee", pullID, "--role", "acrpush", "--scope", scope)
            try await clients.push(image.reference, to: try sign(again), "roles/app:v3").failed()
            #expect(
                try await azure("role", "definition", "list", "--name", "AcrPull", "--query", "[].name", "-o", "tsv")
                    == "7f951dda-4ed3-4680-a7ca-43fe172d538d")
            #expect(
                try await azure.attempt(
                    "role", "assignment", "create", "--assignee", pullID, "--scope", scope, "--role", "acrpull", "--condition", "true",
                    "--condition-version", "2.0"
                ).failed().errors.contains("onditions"))

            // Groups: a role of a group is a role of its members.
            try await azure("ad", "group", "create", "--display-name", "pushers", "--mail-nickname", "pushers")
            let group = try await azure("ad", "group", "show", "-g", "pushers", "--query", "id", "-o", "tsv")
            let object = try await azure("ad", "sp", "show", "--id", pullID, "--query", "id", "-o", "tsv")
            try await azure(
                "role", "assignment", "create", "--assignee-object-id", group, "--assignee-principal-type", "Group", "--scope", scope,
                "--role", "AcrPush")
            try await azure("ad", "group", "member", "add", "-g", "pushers", "--member-id", object)
            #expect(try await azure.json("ad", "group", "member", "check", "-g", "pushers", "--member-id", object)["value"] == true)
            let secret = try JSONValue(parsing: byName)
            try await clients.push(image.reference, to: try sign(secret), "roles/app:v4").succeeded()
            try await azure("ad", "group", "member", "remove", "-g", "pushers", "--member-id", object)
            #expect(try await azure.json("ad", "group", "member", "list", "-g", "pushers") == [])
            try await clients.push(image.reference, to: try sign(secret), "roles/app:v5").failed()

            try await azure("ad", "sp", "delete", "--id", pullID)
            #expect(try await azure.attempt("ad", "sp", "show", "--id", pullID).status == 3)
            try await clients.pull(try sign(secret), "roles/app:v1", into: "oci:\(box.path("pulled")):v1").failed()
        }
    }

    @Test("A1: az and outport sign in with certificate, password and device code; a revocation asks for a new sign-in")
    func signIns() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let operate = try await AzureCLI.operate(parent)
            let scope = try await self.registryID(operate, parent)
            let tenant = try parent.bootstrap().tenantId

            // A certificate that az makes.
            let made = try await operate.json(
                "ad", "sp", "create-for-rbac", "--name", "certified", "--create-cert", "--scopes", scope, "--role", "Reader")
            let appID = try #require(made["appId"]?.stringValue)
            let file = try #require(made["fileWithCertAndPrivateKey"]?.stringValue)
            let program = try await AzureCLI(box, server: parent.server)
            try await program("login", "--service-principal", "-u", appID, "--certificate", file, "--tenant", tenant)
            #expect(try await program("acr", "show", "-n", parent.registryName, "--query", "name", "-o", "tsv") == parent.registryName)
            // A Reader reads: it may neither delete nor assign.
            let denied = try await program.attempt("acr", "delete", "-n", parent.registryName, "--yes").failed()
            #expect(denied.errors.contains("AuthorizationFailed"))
            #expect(
                try await program.attempt(
                    "role", "assignment", "create", "--assignee-object-id", appID, "--assignee-principal-type", "ServicePrincipal",
                    "--scope",
                    scope, "--role", "Owner"
                ).failed().errors.contains("AuthorizationFailed"))
            let outport = ["OUTPORT_CONFIG_DIR": try box.newFolder("cli")]
            try await command(
                Program.outport,
                [
                    "login", "--service-principal", "-u", appID, "--certificate", file, "--tenant", tenant, "--server",
                    "https://\(parent.server.address)", "--ca", parent.server.ca,
                ], environment: outport
            ).succeeded()
            try await command(Program.outport, ["acr", "show", "-n", parent.registryName], environment: outport).succeeded()

            // Revoked: az drops its token, gets another one and goes on. Disabled: it gets none.
            try await parent("ad", "sp", "revoke", "--id", appID)
            try await program("acr", "show", "-n", parent.registryName, "-o", "none")
            try await command(Program.outport, ["acr", "show", "-n", parent.registryName], environment: outport).succeeded()
            try await parent("ad", "sp", "update", "--id", appID, "--account-enabled", "false")
            try await program.attempt("acr", "show", "-n", parent.registryName).failed()
            try await command(Program.outport, ["acr", "show", "-n", parent.registryName], environment: outport).failed()

            // People.
            try await parent(
                "ad", "user", "create", "--display-name", "Ana", "--user-principal-name", "ana@x.test", "--password", "correct horse 1")
            try await operate("role", "assignment", "create", "--assignee", "ana@x.test", "--scope", scope, "--role", "Contributor")
            let person = try await AzureCLI(box, server: parent.server)
            try await person("login", "-u", "ana@x.test", "-p", "correct horse 1")
            #expect(try await person("account", "show", "--query", "user.name", "-o", "tsv") == "ana@x.test")
            #expect(try await person("ad", "signed-in-user", "show", "--query", "displayName", "-o", "tsv") == "Ana")
            let docker = try await person.json("acr", "login", "-n", parent.registryName, "--expose-token")
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box)
            let registry = try parent.registry(
                by: Credentials(
                    name: "00000000-0000-0000-0000-000000000000", password: try #require(docker["refreshToken"]?.stringValue)))
            try await clients.push(image.reference, to: registry, "people/app:v1").succeeded()
            // A new password ends what the old one gave.
            try await parent("ad", "user", "update", "--id", "ana@x.test", "--password", "correct horse 2")
            try await clients.push(image.reference, to: registry, "people/app:v2").failed()
            try await person.attempt("acr", "show", "-n", parent.registryName).failed()
            #expect(try await person.attempt("login", "-u", "ana@x.test", "-p", "correct horse 1").failed().errors.contains("AADSTS50126"))

            // A device.
            let device = try await AzureCLI(box, server: parent.server)
            let waiting = try await device.start("login", "--use-device-code", log: box.path("device.log"))
            try await self.approve(waiting, parent, "correct horse 2")
            #expect(try await waiting.wait() == 0)
            #expect(try await device("acr", "list", "--query", "[].name", "-o", "tsv") == parent.registryName)
            let folder = try box.newFolder("cli-device")
            let own = try await BackgroundProcess.start(
                Program.outport,
                ["login", "--use-device-code", "--server", "https://\(parent.server.address)", "--ca", parent.server.ca],
                environment: ProcessInfo.processInfo.environment.merging(["OUTPORT_CONFIG_DIR": folder]) { $1 }, log: box.path("own.log"))
            try await self.approve(own, parent, "correct horse 2")
            #expect(try await own.wait() == 0)
            let shown = try await command(
                Program.outport, ["account", "show", "--query", "user.name", "-o", "tsv"], environment: ["OUTPORT_CONFIG_DIR": folder])
            #expect(shown.trimmed == "ana@x.test")
            #expect(
                try await command(Program.outport, ["acr", "show", "-n", parent.registryName], environment: ["OUTPORT_CONFIG_DIR": folder])
                    .isSuccess)
        }
    }

    /// Types the code that a waiting program shows into the page, as a person would.
    private func approve(_ waiting: BackgroundProcess, _ parent: Parent, _ password: String) async throws {
        let code = try await eventually("a code") { () -> String? in
            let words = waiting.output.split(separator: " ").map(String.init)
            return words.firstIndex(of: "code").flatMap { words.dropFirst($0 + 1).first }
        }
        let page = "https://\(parent.server.address)/adfs/oauth2/deviceauth"
        func send(_ password: String) async throws -> String {
            try await command(
                "curl",
                [
                    "--silent", "--cacert", parent.server.ca, page, "--data-urlencode", "user_code=\(code)", "--data-urlencode",
                    "username=ana@x.test", "--data-urlencode", "password=\(password)",
                ]
            ).succeeded().output
        }
        #expect(try await send("wrong").contains("invalid username or password"))
        #expect(try await send(password).contains("Signed in"))
    }

    @Test("A2 I7: az makes identities and records of clusters, which pull with an identity of their own")
    func clusters() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let azure = try await AzureCLI.operate(parent)
            let scope = try await self.registryID(azure, parent)
            func roles() async throws -> [String] {
                try await azure("role", "assignment", "list", "--scope", scope, "--query", "[].principalId", "-o", "tsv").split(
                    separator: "\n"
                ).map(String.init)
            }
            for namespace in ["Microsoft.Kubernetes", "Microsoft.KubernetesConfiguration", "Microsoft.ExtendedLocation"] {
                try await azure("provider", "register", "--namespace", namespace)
            }

            let identity = try await azure.json("identity", "create", "-n", "puller", "-g", "e2e")
            #expect(
                try await azure("identity", "show", "-n", "puller", "-g", "e2e", "--query", "clientId", "-o", "tsv")
                    == identity["clientId"]?.stringValue)
            #expect(try await azure("identity", "list", "-g", "e2e", "--query", "[].name", "-o", "tsv") == "puller")
            let principal = try #require(identity["principalId"]?.stringValue)
            try await azure("role", "assignment", "create", "--assignee", principal, "--scope", scope, "--role", "AcrPull")
            #expect(try await roles() == [principal])
            try await azure("identity", "delete", "-n", "puller", "-g", "e2e")
            #expect(try await roles() == [])

            let cluster = try await azure.json(
                "aks", "create", "-n", "plant", "-g", "e2e", "--generate-ssh-keys", "--attach-acr", parent.registryName)
            let kubelet = try #require(cluster[path: "identityProfile", "kubeletidentity", "objectId"]?.stringValue)
            #expect(try await roles() == [kubelet])
            let table = try await azure("aks", "show", "-n", "plant", "-g", "e2e", "-o", "table")
            #expect(table.contains("Succeeded"))
            try await azure("aks", "update", "-n", "plant", "-g", "e2e", "--detach-acr", parent.registryName)
            #expect(try await roles() == [])
            try await azure("aks", "update", "-n", "plant", "-g", "e2e", "--attach-acr", scope)
            #expect(try await roles() == [kubelet])
            #expect(try await azure("aks", "list", "--query", "[].name", "-o", "tsv") == "plant")
            let file = box.path("kubeconfig")
            #expect(
                try await azure.attempt("aks", "get-credentials", "-n", "plant", "-g", "e2e", "-f", file).failed().errors.contains(
                    "record-credentials"))
            let kubeconfig = """
                {"apiVersion": "v1", "kind": "Config", "current-context": "plant",
                 "clusters": [{"name": "plant", "cluster": {"server": "https://plant.test:6443"}}],
                 "contexts": [{"name": "plant", "context": {"cluster": "plant", "user": "ana"}}],
                 "users": [{"name": "ana", "user": {"token": "t0ken"}}]}
                """
            try await parent("aks", "record-credentials", "-n", "plant", "-g", "e2e", "--file", try box.file("plant.json", kubeconfig))
            try await azure("aks", "get-credentials", "-n", "plant", "-g", "e2e", "-f", file)
            #expect(try String(contentsOfFile: file, encoding: .utf8).contains("plant.test:6443"))
            // The secret is in no document.
            #expect(try await !azure("aks", "show", "-n", "plant", "-g", "e2e").contains("t0ken"))
            try await azure("aks", "delete", "-n", "plant", "-g", "e2e", "--yes")
            #expect(try await roles() == [])
            #expect(try await azure.attempt("aks", "show", "-n", "plant", "-g", "e2e").status == 3)

            try await azure(
                "resource", "create", "-g", "e2e", "-n", "arc", "--resource-type", "Microsoft.Kubernetes/connectedClusters", "-l", "eastus",
                "--properties", #"{"distribution":"k3s"}"#)
            #expect(
                try await azure(
                    "resource", "show", "-g", "e2e", "-n", "arc", "--resource-type", "Microsoft.Kubernetes/connectedClusters", "--query",
                    "properties.distribution", "-o", "tsv") == "k3s")
            #expect(
                try await azure("resource", "list", "-g", "e2e", "--query", "[].name", "-o", "tsv").split(separator: "\n").sorted()
                    == ["arc", Substring(parent.registryName)])

            // A second subscription, which is chosen and attached across.
            let second = try JSONValue(parsing: await parent("account", "subscription", "create", "--name", "Plants"))
            let id = try #require(second["subscriptionId"]?.stringValue)
            try await azure("account", "list", "--refresh", "-o", "none")
            try await azure("account", "set", "-s", "Plants")
            try await azure("group", "create", "-n", "plants", "-l", "eastus")
            let other = try await azure.json("aks", "create", "-n", "far", "-g", "plants", "--generate-ssh-keys", "--attach-acr", scope)
            #expect(other["id"]?.stringValue?.contains(id) == true)
            let far = try #require(other[path: "identityProfile", "kubeletidentity", "objectId"]?.stringValue)
            #expect(try await roles() == [far])
            #expect(
                try await azure.attempt(
                    "rest", "--method", "post", "--url",
                    "/subscriptions/\(id)/providers/Microsoft.Subscription/cancel?api-version=2021-10-01"
                ).failed().errors.contains("Conflict"))
        }
    }
}
