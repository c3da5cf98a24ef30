// `outport acr manifest …`: manifests, their attributes and what refers to them.

import ArgumentParser
import JSON

/// `-r` and `-n REPOSITORY:TAG`.
struct ManifestName: ParsableArguments {
    @OptionGroup var registry: RegistryOption

    @Option(name: [.customShort("n"), .long], help: "The name of the artifact: REPOSITORY:TAG or REPOSITORY@DIGEST.")
    var name: String

    @OptionGroup var credentials: RegistryCredentialOptions

    /// A session with these actions on the artifact's repository.
    func open(_ session: ManagementSession, _ actions: String) async throws(ManagementError) -> (data: RegistryData, name: ImageName) {
        let image = try ImageName(name)
        return (
            try await RegistryData.open(
                session, registry.registry, registry.group, credentials, scope: "repository:\(image.repository):\(actions)"), image
        )
    }
}

/// `-r` and `-n REPOSITORY`.
struct ManifestRepository: ParsableArguments {
    @OptionGroup var registry: RegistryOption

    @Option(name: [.customShort("n"), .long], help: "The name of the repository.")
    var name: String

    @OptionGroup var credentials: RegistryCredentialOptions
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
        let data = try await RegistryData.open(
            session, repository.registry.registry, repository.registry.group, repository.credentials,
            scope: "repository:\(repository.name):metadata_read")
        return .array(try await data.list(ImageName.path(repository.name) + "/_manifests", "manifests", page))
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
        let data = try await RegistryData.open(
            session, repository.registry.registry, repository.registry.group, repository.credentials,
            scope: "repository:\(repository.name):pull,metadata_read")
        var manifests: [JSONValue] = []
        for entry in try await data.list(ImageName.path(repository.name) + "/_manifests", "manifests", page) {
            guard let digest = entry["digest"]?.stringValue else { continue }
            manifests.append(try await data.document(.get, "/v2/\(repository.name)/manifests/\(digest)", accept: manifestTypes))
        }
        return .array(manifests)
    }
}

struct ManifestShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Get a manifest.", discussion: "Example: outport acr manifest show -r myregistry -n app:v1")

    @OptionGroup var manifest: ManifestName
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let (data, name) = try await manifest.open(session, "pull")
        return try await data.document(
            .get, "/v2/\(name.repository)/manifests/\(name.digest ?? name.tag ?? "latest")", accept: manifestTypes)
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
        let index = try await data.document(.get, "/v2/\(name.repository)/referrers/\(digest ?? "")\(filter)")
        return ["manifests": index["manifests"] ?? []]
    }
}
