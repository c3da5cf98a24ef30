// `outport acr manifest …`: manifests, their attributes and what refers to them.

import ArgumentParser
import JSON

/// `-r` and `-n`, or both in one: `REGISTRY.SUFFIX/REPOSITORY:TAG`.
struct ManifestPlace: ParsableArguments {
    @Argument(help: "The whole name: LOGIN_SERVER/REPOSITORY, with :TAG or @DIGEST where one is meant; in place of -r and -n.")
    var id: [String] = []

    @Option(name: [.customShort("r"), .long], help: "The name of the container registry.")
    var registry: String?

    @OptionGroup var group: GroupOption

    @OptionGroup var credentials: RegistryCredentialOptions

    /// The registry and the name in it.
    ///
    /// - Parameter example: how the name in the registry is written.
    func resolve(_ session: ManagementSession, _ name: String?, example: String) async throws(ManagementError) -> (
        registry: RegistryOption, name: String
    ) {
        var option = RegistryOption()
        option.group = group
        switch (id.count, registry, name) {
        case (0, let registry?, let name?):
            option.registry = registry
            return (option, name)
        case (1, nil, nil):
            guard let slash = id[0].firstIndex(of: "/"), slash != id[0].startIndex, id[0][slash...].count > 1 else {
                throw .usage("'\(id[0])' is no whole name: write LOGIN_SERVER/\(example).")
            }
            let server = id[0][..<slash].lowercased()
            let found = try await session.client.list("\(try session.subscriptionPath())/providers/Microsoft.ContainerRegistry/registries")
                .first { $0[path: "properties", "loginServer"]?.stringValue?.lowercased() == server }
            guard let registry = found?["name"]?.stringValue else {
                throw ManagementError(
                    "No registry of this subscription has the login server '\(server)'.",
                    advice: "Run 'outport acr list -o table' to see those there are.")
            }
            option.registry = registry
            return (option, String(id[0][id[0].index(after: slash)...]))
        default: throw .usage("You must provide either a whole name, LOGIN_SERVER/\(example), or both -r REGISTRY and -n \(example).")
        }
    }
}

/// An artifact: `-r` and `-n REPOSITORY:TAG`, or its whole name.
struct ManifestName: ParsableArguments {
    @OptionGroup var place: ManifestPlace

    @Option(name: [.customShort("n"), .long], help: "The name of the artifact: REPOSITORY:TAG or REPOSITORY@DIGEST.")
    var name: String?

    /// A session with these actions on the artifact's repository.
    func open(_ session: ManagementSession, _ actions: String) async throws(ManagementError) -> (data: RegistryData, name: ImageName) {
        let (registry, name) = try await place.resolve(session, name, example: "REPOSITORY:TAG")
        let image = try ImageName(name)
        return (
            try await RegistryData.open(
                session, registry.registry, registry.group, place.credentials, scope: "repository:\(image.repository):\(actions)"), image
        )
    }
}

/// A repository: `-r` and `-n REPOSITORY`, or its whole name.
struct ManifestRepository: ParsableArguments {
    @OptionGroup var place: ManifestPlace

    @Option(name: [.customShort("n"), .long], help: "The name of the repository.")
    var name: String?

    /// A session with these actions on the repository.
    func open(_ session: ManagementSession, _ actions: String) async throws(ManagementError) -> (data: RegistryData, name: String) {
        let (registry, name) = try await place.resolve(session, name, example: "REPOSITORY")
        return (
            try await RegistryData.open(
                session, registry.registry, registry.group, place.credentials, scope: "repository:\(name):\(actions)"), name
        )
    }
}

private let manifestTypes =
    "*/*, application/vnd.oci.artifact.manifest.v1+json, application/vnd.oci.image.manifest.v1+json, "
    + "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, "
    + "application/vnd.docker.distribution.manifest.list.v2+json"

struct ManifestListMetadataCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-metadata", abstract: "List the metadata of the manifests in a repository.",
        discussion: "Example: outport acr manifest list-metadata -r myregistry -n app")

    @OptionGroup var repository: ManifestRepository
    @OptionGroup var page: PageOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let (data, name) = try await repository.open(session, "metadata_read")
        return .array(try await data.list(ImageName.path(name) + "/_manifests", "manifests", page))
    }
}

struct ManifestListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the manifests in a repository.",
        discussion: "Example: outport acr manifest list -r myregistry -n app")
    static let table = TableLayout(row: { (manifest: JSONValue) -> TableRow in
        var row: TableRow = [("MediaType", manifest["mediaType"]?.stringValue ?? "")]
        row.append(("ArtifactType", manifest["artifactType"]?.stringValue ?? ""))
        row.append(("SubjectDigest", manifest[path: "subject", "digest"]?.stringValue ?? ""))
        return row
    })

    @OptionGroup var repository: ManifestRepository
    @OptionGroup var page: PageOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let (data, name) = try await repository.open(session, "pull,metadata_read")
        var manifests: [JSONValue] = []
        for entry in try await data.list(ImageName.path(name) + "/_manifests", "manifests", page) {
            guard let digest = entry["digest"]?.stringValue else { continue }
            manifests.append(try await data.document(.get, "/v2/\(name)/manifests/\(digest)", accept: manifestTypes))
        }
        return .array(manifests)
    }
}

struct ManifestShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Get a manifest.", discussion: "Example: outport acr manifest show -r myregistry -n app:v1")

    @OptionGroup var manifest: ManifestName
    @Flag(help: "Output the raw manifest text with no formatting.") var raw = false
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let (data, name) = try await manifest.open(session, "pull")
        let path = "/v2/\(name.repository)/manifests/\(name.digest ?? name.tag ?? "latest")"
        guard raw else { return try await data.document(.get, path, accept: manifestTypes) }
        // Byte for byte: what is hashed is the digest.
        session.console.write(String(decoding: try await data.send(.get, path, accept: manifestTypes).body, as: UTF8.self))
        return nil
    }
}

struct ManifestShowMetadataCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show-metadata", abstract: "Get the metadata of a manifest.",
        discussion: "Example: outport acr manifest show-metadata -r myregistry -n app:v1")

    @OptionGroup var manifest: ManifestName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let (data, name) = try await manifest.open(session, "metadata_read")
        // A tag has attributes of its own; those of its manifest are asked for by digest.
        return try await data.document(.get, name.path)[name.member ?? ""]
    }
}

struct ManifestUpdateMetadataCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update-metadata", abstract: "Update the attributes of a manifest.",
        discussion: "Example: outport acr manifest update-metadata -r myregistry -n app:v1 --delete-enabled false")

    @OptionGroup var manifest: ManifestName
    @OptionGroup var locks: LockOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let (data, name) = try await manifest.open(session, "metadata_write,metadata_read")
        return try await data.document(.patch, name.path, locks.body)[name.member ?? ""]
    }
}

struct ManifestDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a manifest and the tags that name it.",
        discussion: "Example: outport acr manifest delete -r myregistry -n app@sha256:…")

    @OptionGroup var manifest: ManifestName
    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let (data, name) = try await manifest.open(session, "delete,metadata_read")
        let digest = try await data.digest(of: name)
        try session.confirm("Are you sure you want to delete the artifact '\(digest)' and the tags that name it?", consent)
        _ = try await data.send(.delete, "/v2/\(name.repository)/manifests/\(digest)")
        return nil
    }
}

struct ManifestListReferrersCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-referrers", abstract: "List the manifests that refer to a manifest.",
        discussion: "Example: outport acr manifest list-referrers -r myregistry -n app:v1 --artifact-type application/spdx+json")
    static let table = TableLayout(rows: { (index: JSONValue) -> [TableRow] in
        var rows: [TableRow] = []
        for manifest in index["manifests"]?.arrayValue ?? [] {
            let size: String = manifest["size"]?.intValue.map { String($0) } ?? ""
            var row: TableRow = [("Digest", manifest["digest"]?.stringValue ?? "")]
            row.append(("ArtifactType", manifest["artifactType"]?.stringValue ?? ""))
            row.append(("MediaType", manifest["mediaType"]?.stringValue ?? ""))
            row.append(("Size", size))
            rows.append(row)
        }
        return rows
    })

    @OptionGroup var manifest: ManifestName
    @Option(help: "Filter referrers based on artifact type.") var artifactType: String?
    @Flag(help: "Recursively include referrer artifacts.") var recursive = false
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let (data, name) = try await manifest.open(session, "pull")
        var digest = name.digest
        if digest == nil {
            digest = try await data.send(
                .get, "/v2/\(name.repository)/manifests/\(name.tag ?? "latest")", accept: manifestTypes
            ).header("Docker-Content-Digest")
        }
        let filter = artifactType.map { "?artifactType=\(URLText.encoded($0))" } ?? ""
        let base = "/v2/\(name.repository)/referrers/"
        var found = try await data.list(from: base + (digest ?? "") + filter, "manifests")
        if recursive {
            // Referrers of referrers come behind them; one that refers to itself by a detour is met once.
            var seen = Set(found.compactMap { $0["digest"]?.stringValue })
            var next = 0
            while next < found.count {
                if let digest = found[next]["digest"]?.stringValue {
                    found += try await data.list(from: base + digest, "manifests").filter {
                        $0["digest"]?.stringValue.map { seen.insert($0).inserted } == true
                    }
                }
                next += 1
            }
        }
        return ["manifests": .array(found)]
    }
}

/// `outport acr manifest metadata list`, an older name.
struct MetadataListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Deprecated: use acr manifest list-metadata.",
        discussion: "Example: outport acr manifest metadata list -r myregistry -n app")

    @OptionGroup var command: ManifestListMetadataCommand
    var global: GlobalOptions { command.global }

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? { try await command.perform(in: session) }
}

/// `outport acr manifest metadata show`, an older name.
struct MetadataShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Deprecated: use acr manifest show-metadata.",
        discussion: "Example: outport acr manifest metadata show -r myregistry -n app:v1")

    @OptionGroup var command: ManifestShowMetadataCommand
    var global: GlobalOptions { command.global }

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? { try await command.perform(in: session) }
}

/// `outport acr manifest metadata update`, an older name.
struct MetadataUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Deprecated: use acr manifest update-metadata.",
        discussion: "Example: outport acr manifest metadata update -r myregistry -n app:v1 --write-enabled false")

    @OptionGroup var command: ManifestUpdateMetadataCommand
    var global: GlobalOptions { command.global }

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? { try await command.perform(in: session) }
}
