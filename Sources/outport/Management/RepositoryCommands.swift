// `outport acr repository …`: lists, attributes, locks and deletion.

import ArgumentParser
import JSON

/// `--repository` or `--image`, one of them.
struct RepositoryOrImage: ParsableArguments {
    @Option(help: "The name of the repository.")
    var repository: String?

    @Option(name: [.customShort("t"), .long], help: "The name of the image: REPOSITORY:TAG or REPOSITORY@DIGEST.")
    var image: String?

    func name() throws(ManagementError) -> ImageName {
        switch (repository, image) {
        case (let repository?, nil): return try ImageName(repository, defaultTag: nil)
        case (nil, let image?): return try ImageName(image)
        default: throw .usage("Usage error: --image IMAGE | --repository REPOSITORY")
        }
    }
}

struct RepositoryListCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List repositories in an Azure Container Registry.",
        discussion: "Example: outport acr repository list -n myregistry")

    @OptionGroup var registry: RegistryName
    @Option(help: "Limit the number of items in the results.") var top: Int?
    @OptionGroup var credentials: RegistryCredentialOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let data = try await RegistryData.open(session, registry.name, registry.group, credentials, scope: "registry:catalog:*")
        var page = PageOptions()
        (page.top, page.orderby) = (top, nil)
        return .array(try await data.list("/v2/_catalog", "repositories", page))
    }
}

struct RepositoryShowTagsCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show-tags", abstract: "Show tags for a repository in an Azure Container Registry.",
        discussion: "Example: outport acr repository show-tags -n myregistry --repository app --orderby time_desc --detail")

    @OptionGroup var registry: RegistryName
    @Option(help: "The name of the repository.") var repository: String
    @OptionGroup var page: PageOptions
    @Flag(help: "Show detailed information.") var detail = false
    @OptionGroup var credentials: RegistryCredentialOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let data = try await RegistryData.open(
            session, registry.name, registry.group, credentials, scope: "repository:\(repository):metadata_read")
        let tags = try await data.list(ImageName.path(repository) + "/_tags", "tags", page)
        return .array(detail ? tags : tags.map { $0["name"] ?? .null })
    }
}

struct RepositoryShowManifestsCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show-manifests", abstract: "Show manifests of a repository. Deprecated: use acr manifest list-metadata.",
        discussion: "Example: outport acr repository show-manifests -n myregistry --repository app",
        shouldDisplay: false)

    @OptionGroup var registry: RegistryName
    @Option(help: "The name of the repository.") var repository: String
    @OptionGroup var page: PageOptions
    @Flag(help: "Show detailed information.") var detail = false
    @OptionGroup var credentials: RegistryCredentialOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let data = try await RegistryData.open(
            session, registry.name, registry.group, credentials, scope: "repository:\(repository):metadata_read")
        let manifests = try await data.list(ImageName.path(repository) + "/_manifests", "manifests", page)
        if detail { return .array(manifests) }
        return .array(
            manifests.map {
                ["digest": $0["digest"] ?? "", "tags": $0["tags"] ?? [], "timestamp": $0["lastUpdateTime"] ?? ""]
            })
    }
}

struct RepositoryShowCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Get the attributes of a repository or image in an Azure Container Registry.",
        discussion: "Example: outport acr repository show -n myregistry --image app:v1")

    @OptionGroup var registry: RegistryName
    @OptionGroup var target: RepositoryOrImage
    @OptionGroup var credentials: RegistryCredentialOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let name = try target.name()
        let data = try await RegistryData.open(
            session, registry.name, registry.group, credentials, scope: "repository:\(name.repository):metadata_read")
        let document = try await data.document(.get, name.path)
        return name.member.flatMap { document[$0] } ?? document
    }
}

struct RepositoryUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update the attributes of a repository or image in an Azure Container Registry.",
        discussion: "Example: outport acr repository update -n myregistry --image app:v1 --write-enabled false")

    @OptionGroup var registry: RegistryName
    @OptionGroup var target: RepositoryOrImage
    @OptionGroup var locks: LockOptions
    @OptionGroup var credentials: RegistryCredentialOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let name = try target.name()
        let data = try await RegistryData.open(
            session, registry.name, registry.group, credentials, scope: "repository:\(name.repository):metadata_write,metadata_read")
        let document = try await data.document(.patch, name.path, locks.body)
        return name.member.flatMap { document[$0] } ?? document
    }
}

struct RepositoryUntagCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "untag", abstract: "Untag an image in an Azure Container Registry.",
        discussion: "Example: outport acr repository untag -n myregistry --image app:v1")

    @OptionGroup var registry: RegistryName
    @Option(name: [.customShort("t"), .long], help: "The name of the image: REPOSITORY:TAG.") var image: String
    @OptionGroup var credentials: RegistryCredentialOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let name = try ImageName(image)
        guard name.tag != nil else { throw .usage("'\(image)' names no tag.") }
        let data = try await RegistryData.open(
            session, registry.name, registry.group, credentials, scope: "repository:\(name.repository):delete")
        _ = try await data.send(.delete, name.path)
        return nil
    }
}

struct RepositoryDeleteCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a repository or image in an Azure Container Registry.",
        discussion: "Example: outport acr repository delete -n myregistry --image app@sha256:…")

    @OptionGroup var registry: RegistryName
    @OptionGroup var target: RepositoryOrImage
    @OptionGroup var consent: YesOption
    @OptionGroup var credentials: RegistryCredentialOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let name = try target.name()
        let data = try await RegistryData.open(
            session, registry.name, registry.group, credentials, scope: "repository:\(name.repository):delete,metadata_read")
        guard name.member != nil else {
            try session.confirm("Are you sure you want to delete the repository '\(name.repository)' and all images under it?", consent)
            return try await data.document(.delete, name.path)
        }
        let digest = try await data.digest(of: name)
        let tags = try await data.list(ImageName.path(name.repository) + "/_tags", "tags", PageOptions.all).filter {
            $0["digest"]?.stringValue == digest
        }.compactMap { $0["name"]?.stringValue }
        try session.confirm(
            "This operation will delete the manifest '\(digest)' and all the following images: "
                + "\(tags.map { "'\(name.repository):\($0)'" }.joined(separator: ", ")).\nAre you sure you want to continue?", consent)
        _ = try await data.send(.delete, "/v2/\(name.repository)/manifests/\(digest)")
        return nil
    }
}

extension PageOptions {
    static var all: PageOptions {
        var page = PageOptions()
        (page.top, page.orderby) = (nil, nil)
        return page
    }
}

extension RegistryData {
    /// The digest that an image's name means.
    func digest(of name: ImageName) async throws(ManagementError) -> String {
        if let digest = name.digest { return digest }
        guard let digest = try await document(.get, name.path)[path: "tag", "digest"]?.stringValue else {
            throw ManagementError("The registry names no digest for '\(name.repository):\(name.tag ?? "")'.")
        }
        return digest
    }
}
