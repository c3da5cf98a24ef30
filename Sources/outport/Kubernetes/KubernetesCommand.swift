// `outport kubernetes …`: what is put into a cluster by hand.

import ArgumentParser
import Foundation
import JSON
import Kubernetes

/// `outport kubernetes …`
struct KubernetesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kubernetes", abstract: "Put credentials into a cluster.", subcommands: [PullSecretCommand.self])
}

/// Makes and rotates pull secrets.
struct PullSecretCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "pull-secret", abstract: "Make or rotate a pull secret in namespaces of a cluster.",
        discussion: """
            With --token a new password of that token is generated, in the slot that is not in use or was made first, and the Secrets are
            replaced: the other password goes on working until the next time. With --username the given credentials are used: those of a
            token, of a service principal, or of the admin user.

            Examples:
              outport kubernetes pull-secret --namespace web,shop -r myregistry --token puller
              outport kubernetes pull-secret --all-namespaces --server 10.96.0.50 --username puller --password-file password.txt
            """)

    @Option(help: "Namespaces, with commas between them.")
    var namespace: String?

    @Flag(name: [.customShort("A"), .long], help: "Every namespace there is now, but those of Kubernetes itself.")
    var allNamespaces = false

    @Option(help: "The name of the Secret.")
    var name = "outport-pull"

    @Option(name: [.customShort("r"), .long], help: "The registry of --token.")
    var registry: String?

    @Option(help: "A token of the registry, for which a new password is generated.")
    var token: String?

    @Option(help: "The registry's name or address as images are named: that of a connected registry, for example.")
    var server: String?

    @Option(help: "User name: a token, the client id of a service principal, or the registry's name for the admin user.")
    var username: String?

    @Option(help: ArgumentHelp("File with the password.", valueName: "file"))
    var passwordFile: String?

    @Option(help: "A service account of each namespace whose pods use the Secret without naming it, such as default.")
    var serviceAccount: String?

    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        guard (self.namespace != nil) != self.allNamespaces else { throw ValidationError("give --namespace or --all-namespaces") }
        guard (self.token != nil) != (self.username != nil) else {
            throw ValidationError("give --token with -r, or --username with --password-file")
        }
        guard self.token == nil || self.registry != nil else { throw ValidationError("--token needs -r") }
        guard self.username == nil || (self.passwordFile != nil && self.server != nil) else {
            throw ValidationError("--username needs --password-file and --server")
        }
    }

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let namespaces = try await self.namespaces()
        let secret = try await self.secret(session)
        try await self.cluster.withClient { client throws(KubernetesError) in
            for namespace in namespaces {
                try await client.apply(secret.manifest(name: self.name, namespace: namespace))
                if let account = self.serviceAccount {
                    try await PullSecret.use(name: self.name, serviceAccount: account, namespace: namespace, in: client)
                }
            }
        }
        return [
            "name": .string(self.name), "server": .string(secret.registry), "username": .string(secret.user),
            "namespaces": .strings(namespaces),
        ]
    }

    private func namespaces() async throws(ManagementError) -> [String] {
        if let namespace {
            let names = namespace.split(separator: ",").map { $0.filter { !$0.isWhitespace } }.filter { !$0.isEmpty }
            guard !names.isEmpty else { throw .usage("argument --namespace: give at least one.") }
            return names
        }
        return try await self.cluster.withClient { client throws(KubernetesError) in
            try await client.list(.namespace).filter { $0[path: "status", "phase"] != "Terminating" }.compactMap {
                $0[path: "metadata", "name"]?.stringValue
            }.filter { !$0.hasPrefix("kube-") }
        }
    }

    private func secret(_ session: ManagementSession) async throws(ManagementError) -> PullSecret {
        if let username, let passwordFile, let server {
            guard let text = try? String(contentsOfFile: passwordFile, encoding: .utf8) else {
                throw ManagementError("The file '\(passwordFile)' cannot be read.", advice: "Check --password-file.")
            }
            return PullSecret(registry: server, user: username, password: text.trimmingCharacters(in: .whitespacesAndNewlines))
        }
        guard let token, let registry else { throw .usage("Give --token with -r.") }
        let id = try await session.registryID(try session.registryName(registry))
        let known = try await session.client.get("\(id)/tokens/\(URLText.segment(token))")
        let passwords = known[path: "properties", "credentials", "passwords"]?.arrayValue ?? []
        let first = passwords.first { $0["name"] == "password1" }?["creationTime"]?.stringValue
        let second = passwords.first { $0["name"] == "password2" }?["creationTime"]?.stringValue
        // The empty slot, else the older one: what is in use goes on working.
        let slot: PasswordSlot =
            switch (first, second) {
            case (nil, _): .first
            case (_, nil): .second
            case (let first?, let second?): first <= second ? .first : .second
            }
        let made = try await TokenPasswords.generate(session, registry: id, tokenID: "\(id)/tokens/\(token)", slot: slot, expiry: nil)
        let name = slot == .first ? "password1" : "password2"
        guard let password = made["passwords"]?.arrayValue?.first(where: { $0["name"]?.stringValue == name })?["value"]?.stringValue else {
            throw ManagementError("The server gave no password for '\(token)'.")
        }
        let login = try await session.client.get(id)[path: "properties", "loginServer"]?.stringValue
        guard let server = self.server ?? login else {
            throw ManagementError("The registry has no login server.", advice: "Give --server.")
        }
        return PullSecret(registry: server, user: token, password: password)
    }
}
