// Every kind of token with every repository and every verb, asked with the clients that people have: docker and skopeo.

import Foundation
import Testing

@Suite(.serialized) struct TokenMatrixTests {
    private enum Verb: String, CaseIterable {
        case pull = "skopeo copy from"
        case push = "skopeo copy to"
        case delete = "skopeo delete"
        case dockerPull = "docker pull"
        case dockerPush = "docker push"
        /// Attributes: with curl, since neither client has a word for them.
        case look = "attributes read"
        case lock = "attributes written"
    }

    private struct Row {
        let token: String
        /// Verbs that it may in `mine/app` and in `other/app`.
        let mine: Set<Verb>
        let other: Set<Verb>
    }

    private static let reading: Set<Verb> = [.pull, .dockerPull]
    private static let writing: Set<Verb> = [.pull, .push, .dockerPull, .dockerPush]
    private static let rows = [
        Row(token: "reader", mine: reading, other: []), Row(token: "writer", mine: writing, other: []),
        Row(token: "wildcard", mine: reading, other: []), Row(token: "looker", mine: [.look], other: []),
        Row(token: "locker", mine: [.look, .lock], other: []), Row(token: "deleter", mine: [.pull, .dockerPull, .delete], other: []),
        Row(token: "puller", mine: reading, other: reading), Row(token: "pusher", mine: writing, other: writing),
        Row(token: "admin", mine: Set(Verb.allCases), other: Set(Verb.allCases)), Row(token: "disabled", mine: [], other: []),
    ]

    @Test("I1: every token with every repository and every verb, with docker and skopeo", .needsRoot)
    func matrix() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let clients = try Clients(box)
            let docker = try await Docker.start(box)
            let image = try await ImageLayout.busybox(box)
            let other = try await ImageLayout.busybox(box, tag: "gone", message: "to be deleted")
            let owner = try parent.registry(by: try await parent.token("owner"))
            for repository in ["mine/app", "other/app"] {
                try await clients.push(image.reference, to: owner, "\(repository):v1").succeeded()
            }
            try await docker.signIn(owner)
            try await docker.run("pull", "\(owner.address)/mine/app:v1").succeeded()

            var credentials: [String: Credentials] = [:]
            let scoped: [(String, String, [String])] = [
                ("reader", "mine/app", ["content/read"]), ("writer", "mine/app", ["content/read", "content/write"]),
                ("wildcard", "mine/*", ["content/read"]), ("looker", "mine/app", ["metadata/read"]),
                ("locker", "mine/app", ["metadata/read", "metadata/write"]), ("deleter", "mine/app", ["content/read", "content/delete"]),
            ]
            for (name, repository, actions) in scoped {
                let printed = try await parent.attempt(
                    ["acr", "token", "create", "-n", name, "-r", parent.registryName, "--repository", repository] + actions + [
                        "--query", "credentials.passwords[0].value", "-o", "tsv",
                    ]
                ).succeeded().trimmed
                credentials[name] = Credentials(name: name, password: printed)
            }
            for (name, map) in [
                ("puller", "_repositories_pull"), ("pusher", "_repositories_push"), ("admin", "_repositories_admin"),
                ("disabled", "_repositories_admin"),
            ] { credentials[name] = try await parent.token(name, scopeMap: map) }
            try await parent.acr("token", "update", "-n", "disabled", "--status", "disabled")

            var count = 0
            for row in Self.rows {
                let registry = try parent.registry(by: try #require(credentials[row.token]))
                for (repository, allowed) in [("mine/app", row.mine), ("other/app", row.other)] {
                    for verb in Verb.allCases {
                        let isDone = try await self.attempt(verb, repository, registry, owner, clients, docker, (image, other), box)
                        #expect(isDone == allowed.contains(verb), "\(row.token) \(verb.rawValue) \(repository)")
                        count += 1
                    }
                }
            }
            #expect(count == Self.rows.count * 2 * Verb.allCases.count)
        }
    }

    /// Whether it is done.
    private func attempt(
        _ verb: Verb, _ repository: String, _ registry: Registry, _ owner: Registry, _ clients: Clients, _ docker: Docker,
        _ images: (image: ImageLayout, other: ImageLayout), _ box: Sandbox
    ) async throws -> Bool {
        let name = "\(registry.address)/\(repository)"
        switch verb {
        case .pull: return try await clients.pull(registry, "\(repository):v1", into: "dir:\(box.path("pulled"))").isSuccess
        case .push: return try await clients.push(images.image.reference, to: registry, "\(repository):pushed").isSuccess
        case .delete:
            // A tag of its own, made by somebody who may.
            try await clients.push(images.other.reference, to: owner, "\(repository):gone").succeeded()
            try clients.signIn(registry)
            return try await clients.skopeo("delete", "--cert-dir", try registry.trustFolder(), "docker://\(name):gone").isSuccess
        case .dockerPull, .dockerPush:
            _ = try await docker.run("logout", registry.address)
            guard let credentials = registry.credentials,
                try await docker.run(
                    "login", "-u", credentials.name, "--password-stdin", registry.address, input: credentials.password
                ).isSuccess
            else { return false }
            if verb == .dockerPull { return try await docker.run("pull", "\(name):v1").isSuccess }
            try await docker.run("tag", "\(owner.address)/mine/app:v1", "\(name):docker").succeeded()
            return try await docker.run("push", "\(name):docker").isSuccess
        case .look:
            return try await registry.ask("GET", "/acr/v1/\(repository)", scope: "repository:\(repository):metadata_read").status == 200
        case .lock:
            let body = Data(#"{"listEnabled":true}"#.utf8)
            return try await registry.ask(
                "PATCH", "/acr/v1/\(repository)", scope: "repository:\(repository):metadata_write,metadata_read",
                headers: ["Content-Type": "application/json"], body: body
            ).status == 200
        }
    }
}
