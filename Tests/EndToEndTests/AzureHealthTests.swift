// check-health and content-trust with the unmodified `az`; completion in a real shell; sign-ins at two servers.

import Foundation
import JSON
import Testing

@Suite(.serialized) struct AzureHealthTests {
    @Test("A3 A4: az acr check-health passes every check of the registry, on the port that az looks at; outport says the same of any port")
    func health() async throws {
        try await withSandbox { box in
            // `az` looks a login server up with its port, so the registry has to be at 443.
            let address = "127.0.0.1"
            let parent = try await Parent.start(box, arguments: ["--public-address", address], port: 443)
            let azure = try await AzureCLI.operate(parent)
            let name = parent.registryName
            let wanted = [
                "DNS lookup to \(address) at IP \(address) : OK", "Challenge endpoint https://\(address)/v2/ : OK",
                "Fetch refresh token for registry '\(address)' : OK",
            ]
            let plain = try await azure.attempt("acr", "check-health", "-n", name, "--ignore-errors", "--yes").succeeded()
            let ours = try await parent.attempt(["acr", "check-health", "-n", name, "--yes"]).succeeded()
            for line in wanted + ["Fetch access token for registry '\(address)' : OK"] {
                #expect(plain.errors.contains(line), "\(plain.errors)")
                #expect(ours.errors.contains(line), "\(ours.errors)")
            }
            let repository = try await azure.attempt(
                "acr", "check-health", "-n", name, "--ignore-errors", "--yes", "--repository", "app"
            ).succeeded()
            let same = try await parent.attempt(["acr", "check-health", "-n", name, "--repository", "app"]).succeeded()
            let line = "Fetch access token for repository 'app' in registry '\(address)' : OK"
            #expect(repository.errors.contains(line), "\(repository.errors)")
            #expect(same.errors.contains(line), "\(same.errors)")

            // Whom roles give less is told what is missing.
            let made = try JSONValue(
                parsing: try await parent(
                    "ad", "sp", "create-for-rbac", "--name", "puller", "--role", "AcrPull", "--scopes",
                    try await azure("acr", "show", "-n", name, "--query", "id", "-o", "tsv")))
            let user = try #require(made["appId"]?.stringValue)
            let password = try #require(made["password"]?.stringValue)
            let less = try await parent.attempt(
                ["acr", "check-health", "-n", name, "--repository", "app", "-u", user, "-p", password]
            ).failed()
            #expect(less.errors.contains("lack push"), "\(less.errors)")

            let trust = try await azure.json("acr", "config", "content-trust", "show", "-r", name)
            let shown = try await parent.attempt(["acr", "config", "content-trust", "show", "-r", name]).succeeded().trimmed
            #expect(try JSONValue(parsing: shown) == trust)
            let off = try await azure.json("acr", "config", "content-trust", "update", "-r", name, "--status", "disabled", "--yes")
            #expect(off["status"] == "disabled")
            let on = try await parent.attempt(["acr", "config", "content-trust", "update", "-r", name, "--status", "enabled", "--yes"])
            #expect(try on.failed().errors.contains("not available"))
        }
    }

    @Test("A4 outport completion: a real shell completes commands and options from it")
    func completion() async throws {
        try await withSandbox { box in
            for shell in ["bash", "zsh", "fish"] {
                let script = try await command(Program.outport, ["completion", shell]).succeeded().output
                #expect(script.contains("credential-set"), "\(shell)")
            }
            let file = try box.file("complete.bash", try await command(Program.outport, ["completion", "bash"]).succeeded().output)
            func complete(_ words: String...) async throws -> [String] {
                let line = words.map { "'\($0)'" }.joined(separator: " ")
                let text = """
                    set +u; source '\(file)'; COMP_WORDS=(\(line)); COMP_CWORD=\(words.count - 1); COMP_LINE='\(words.joined(separator: " "))'
                    COMP_POINT=${#COMP_LINE}; _outport outport '\(words.last ?? "")' '\(words.dropLast().last ?? "")'; printf '%s\\n' "${COMPREPLY[@]}"
                    """
                return try await command("bash", ["-c", text]).output.split(whereSeparator: \.isWhitespace).map(String.init)
            }
            #expect(try await complete("outport", "acr", "cred").sorted() == ["credential", "credential-set"])
            #expect(try await complete("outport", "acr", "cache", "create", "--sou").contains("--source-repo"))
        }
    }

    @Test("A4 sign-ins at two servers: by name, by choice, by environment")
    func profiles() async throws {
        try await withSandbox { other in
            let second = try await Parent.start(other, registry: "secondregistry")
            try await withSandbox { box in
                let first = try await Parent.start(box)
                let bootstrap = try second.bootstrap()
                try await first(
                    "login", "--profile", "plant", "--service-principal", "-u", bootstrap.clientId, "-p", bootstrap.clientSecret,
                    "--tenant", bootstrap.tenantId, "--server", bootstrap.resourceManager, "--ca", second.server.ca)
                func names(_ more: String...) async throws -> String {
                    try await first.attempt(["acr", "list", "--query", "[].name", "-o", "tsv"] + more).succeeded().trimmed
                }
                #expect(try await names() == "secondregistry")
                #expect(try await names("--profile", "default") == first.registryName)
                try await first("account", "profile", "use", "-n", "default")
                #expect(try await names() == first.registryName)
                #expect(try await names("--profile", "plant") == "secondregistry")
                #expect(
                    try await first("account", "profile", "list", "--query", "[?isCurrent].name", "-o", "tsv") == "default")
                #expect(try await first.attempt(["account", "profile", "use", "-n", "nowhere"]).status == 3)
                try await first("account", "profile", "remove", "-n", "plant")
                #expect(try await first.attempt(["acr", "list", "--profile", "plant"]).failed().errors.contains("outport login"))
            }
        }
    }
}
