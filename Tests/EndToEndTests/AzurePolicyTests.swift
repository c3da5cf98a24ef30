// Policies, network rules, extensions and a control plane of its own, with the unmodified `az`.

import Foundation
import JSON
import Testing

@Suite(.serialized) struct AzurePolicyTests {
    @Test("A3 A4: az acr network-rule, config retention, authentication-as-arm; the data plane acts on them; outport prints the same")
    func policies() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let azure = try await AzureCLI.operate(parent)
            let name = parent.registryName
            let image = try await ImageLayout.busybox(box)
            let other = try await ImageLayout.busybox(box, tag: "other", message: "other")
            let clients = try Clients(box)
            let admin = try parent.registry(by: try await parent.token("pusher"))
            try await clients.push(image.reference, to: admin, "app:v1").succeeded()

            try await azure("acr", "update", "-n", name, "--default-action", "Deny")
            let refused = try await clients.push(image.reference, to: admin, "app:v2").failed()
            #expect(refused.errors.contains("403"), "\(refused.errors)")
            try await azure("acr", "network-rule", "add", "-n", name, "--ip-address", "127.0.0.0/8")
            try await clients.push(image.reference, to: admin, "app:v2").succeeded()
            try await parent("acr", "network-rule", "add", "-n", name, "--ip-address", "203.0.113.9")
            for command in [["acr", "network-rule", "list", "-n", name]] {
                let theirs = try await azure.attempt(command + ["-o", "json"]).succeeded().trimmed
                let ours = try await parent.attempt(command + ["-o", "json"]).succeeded().trimmed
                #expect(try JSONValue(parsing: ours) == JSONValue(parsing: theirs))
            }
            try await azure("acr", "network-rule", "remove", "-n", name, "--ip-address", "127.0.0.0/8")
            try await clients.push(image.reference, to: admin, "app:v2").failed()
            try await azure("acr", "update", "-n", name, "--default-action", "Allow")

            // A tag moves; what it left goes with the next collection.
            let retention = try await azure.json(
                "acr", "config", "retention", "update", "-r", name, "--status", "enabled", "--days", "0", "--type", "UntaggedManifests")
            #expect(retention["status"] == "enabled" && retention["days"] == 0)
            #expect(try await parent.attempt(["acr", "config", "retention", "show", "-r", name]).succeeded().trimmed.contains("enabled"))
            for tag in ["v1", "v2"] { try await clients.push(other.reference, to: admin, "app:\(tag)").succeeded() }
            try await parent("acr", "collect-garbage")
            let left = try await azure.json("acr", "manifest", "list-metadata", "-r", name, "-n", "app")
            #expect(left.arrayValue?.count == 1)

            // `az acr login` takes a token for registries, an exchange of one for the resource manager is refused.
            try await azure("acr", "login", "-n", name, "--expose-token")
            try await parent("acr", "config", "authentication-as-arm", "update", "-r", name, "--status", "disabled")
            let shown = try await azure.json("acr", "config", "authentication-as-arm", "show", "-r", name)
            #expect(shown["status"] == "disabled")
            let token = try await azure("account", "get-access-token", "--query", "accessToken", "-o", "tsv")
            let status = try await command(
                "curl",
                [
                    "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", parent.server.ca, "-d", "grant_type=access_token", "-d",
                    "service=\(admin.address)", "--data-urlencode", "access_token=\(token)", "https://\(admin.address)/oauth2/exchange",
                ]
            ).succeeded().trimmed
            #expect(status == "403")
        }
    }

    @Test("A5: az extension add --name from the server's own mirror, with nothing configured")
    func extensions() async throws {
        try await withSandbox { box in
            let folder = try box.newFolder("wheels")
            let script = try box.file(
                "wheel.py",
                """
                import base64, hashlib, sys, zipfile
                files = {
                    "azext_stub/__init__.py": "from azure.cli.core import AzCommandsLoader\\n\\nclass Loader(AzCommandsLoader):\\n"
                        "    def __init__(self, cli_ctx=None):\\n        super().__init__(cli_ctx=cli_ctx)\\n"
                        "    def load_command_table(self, args):\\n        return self.command_table\\n"
                        "    def load_arguments(self, command):\\n        pass\\n\\nCOMMAND_LOADER_CLS = Loader\\n",
                    "azext_stub/azext_metadata.json": '{"azext.minCliCoreVersion": "2.51.0"}',
                    "k8s_extension-9.9.9.dist-info/METADATA": "Metadata-Version: 2.1\\nName: k8s-extension\\nVersion: 9.9.9\\n",
                    "k8s_extension-9.9.9.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
                }
                record = "".join("%s,sha256=%s,%d\\n" % (name, base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode(), len(text)) for name, text in files.items())
                with zipfile.ZipFile(sys.argv[1] + "/k8s_extension-9.9.9-py3-none-any.whl", "w") as wheel:
                    for name, text in files.items(): wheel.writestr(name, text)
                    wheel.writestr("k8s_extension-9.9.9.dist-info/RECORD", record + "k8s_extension-9.9.9.dist-info/RECORD,,\\n")
                """)
            try await command("python3", [script, folder]).succeeded()
            let parent = try await Parent.start(box, arguments: ["--extension-mirror", folder])
            let azure = try await AzureCLI.operate(parent)
            try await azure("extension", "add", "--name", "k8s-extension")
            let installed = try await azure.json("extension", "list")
            #expect(installed[0]?["name"] == "k8s-extension")
            #expect(installed[0]?["version"] == "9.9.9")
        }
    }

    @Test("A1 A3: with --management-listen the control plane has an address of its own, and registries have nothing of it")
    func management() async throws {
        try await withSandbox { box in
            let port = try Ports.free()
            let parent = try await Parent.start(box, arguments: ["--management-listen", "127.0.0.1:\(port)"])
            let azure = try await AzureCLI.operate(parent)
            let name = parent.registryName
            let image = try await ImageLayout.busybox(box)
            let clients = try Clients(box)
            let admin = try parent.registry(by: try await parent.token("pusher"))
            try await clients.push(image.reference, to: admin, "app:v1").succeeded()
            #expect(try await azure("acr", "repository", "list", "-n", name, "-o", "tsv") == "app")
            func status(_ address: String, _ path: String) async throws -> String {
                try await command(
                    "curl", ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", parent.server.ca, "https://\(address)\(path)"]
                ).succeeded().trimmed
            }
            for path in ["/metadata/endpoints", "/subscriptions", "/adfs/.well-known/openid-configuration", "/graph/v1.0/me"] {
                #expect(try await status(admin.address, path) == "404", "\(path)")
            }
            #expect(try await status("127.0.0.1:\(port)", "/v2/") == "404")
            #expect(try await status("127.0.0.1:\(port)", "/metadata/endpoints") == "200")
        }
    }
}
