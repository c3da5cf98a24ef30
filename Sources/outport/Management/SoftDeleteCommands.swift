// Soft delete: its policy, what was deleted and is kept, and putting it back.

import ArgumentParser
import JSON

struct SoftDeleteUpdateCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Update the soft-delete policy.",
        discussion: "Example: outport acr config soft-delete update -r myregistry --status enabled --days 30")

    @OptionGroup var registry: RegistryOption

    @Option(help: "Indicates whether the soft-delete policy is enabled.")
    var status: PolicyStatus?

    @Option(help: "The number of days to retain a deleted manifest or tag after which it gets purged (1 to 90).")
    var days: Int?

    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let current = try await Policy.show("softDeletePolicy", of: registry, session)
        var change: JSONValue = [:]
        if let status {
            if current["status"] == "enabled", status == .disabled {
                session.console.note(
                    "WARNING: What was deleted before is kept and purged as before, by the days of the policy.")
            }
            change["status"] = .string(status.rawValue)
        }
        if let days {
            if let before = current["retentionDays"]?.intValue, days < before {
                try session.confirm(
                    "What was deleted is purged by the days that the policy says at that time. With fewer days some of it may be purged "
                        + "at once. Do you wish to proceed?", consent)
            }
            change["retentionDays"] = .integer(Int64(days))
        }
        return try await Policy.update("softDeletePolicy", change, of: registry, session)
    }
}

/// Entries of what was deleted, with the day on which each is purged, as `az` adds it.
private enum DeletedContent {
    static func entries(
        _ list: String, _ member: String, of repository: String, _ registry: RegistryOption, _ credentials: RegistryCredentialOptions,
        _ session: ManagementSession
    ) async throws(ManagementError) -> [JSONValue] {
        let data = try await RegistryData.open(
            session, registry.registry, registry.group, credentials, scope: "repository:\(repository):deleted_read")
        let entries = try await data.list(self.path(repository, list), member, PageOptions.everything)
        let days = try await Policy.show("softDeletePolicy", of: registry, session)["retentionDays"]?.intValue ?? 7
        return entries.map { entry in
            var entry = entry
            if let text = entry["deletedAt"]?.stringValue { entry["expiresAfter"] = .string(UTCTime.text(text, plusDays: days)) }
            return entry
        }
    }

    static func path(_ repository: String, _ list: String) -> String {
        "/acr/v1/_deleted/"
            + repository.split(separator: "/", omittingEmptySubsequences: false).map { URLText.segment($0) }
            .joined(separator: "/") + "/\(list)"
    }
}

extension PageOptions {
    /// No options: every entry, by name.
    fileprivate static var everything: PageOptions {
        var page = PageOptions()
        (page.top, page.orderby) = (nil, nil)
        return page
    }
}

struct RepositoryListDeletedCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-deleted", abstract: "List the repositories of which something deleted is kept.",
        discussion: "Example: outport acr repository list-deleted -n myregistry")

    @OptionGroup var registry: RegistryName
    @OptionGroup var credentials: RegistryCredentialOptions
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let data = try await RegistryData.open(session, registry.name, registry.group, credentials, scope: "registry:deleted_catalog:*")
        return .array(try await data.list("/acr/v1/_deleted/_catalog", "repositories", .everything))
    }
}

struct ManifestListDeletedCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-deleted", abstract: "List the soft-deleted manifests in a repository.",
        discussion: "Example: outport acr manifest list-deleted -r myregistry -n app")

    @OptionGroup var repository: ManifestRepository
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let (registry, name) = try await repository.place.resolve(session, repository.name, example: "REPOSITORY")
        return .array(
            try await DeletedContent.entries("_manifests", "manifests", of: name, registry, repository.place.credentials, session))
    }
}

struct ManifestListDeletedTagsCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-deleted-tags", abstract: "List the soft-deleted tags in a repository.",
        discussion: "Example: outport acr manifest list-deleted-tags -r myregistry -n app:v1")

    @OptionGroup var place: ManifestPlace

    @Option(name: [.customShort("n"), .long], help: "The name of the repository, or REPOSITORY:TAG.")
    var name: String?

    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let (registry, name) = try await place.resolve(session, name, example: "REPOSITORY[:TAG]")
        let image = try ImageName(name, defaultTag: nil)
        let entries = try await DeletedContent.entries("_tags", "tags", of: image.repository, registry, place.credentials, session)
        return .array(entries.filter { image.tag == nil || $0["tag"]?.stringValue == image.tag })
    }
}

struct ManifestRestoreCommand: ManagementCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Restore a soft-deleted artifact and its tag.",
        discussion: """
            Without --digest it is what the tag named when it was deleted last. Restored with an index is what it lists, and with every
            manifest what refers to it.

            Example: outport acr manifest restore -r myregistry -n app:v1
            """)

    @OptionGroup var place: ManifestPlace

    @Option(name: [.customShort("n"), .long], help: "The name of the artifact: REPOSITORY:TAG, or REPOSITORY with --digest.")
    var name: String?

    @Option(name: [.customShort("d"), .long], help: "The digest of the manifest.")
    var digest: String?

    @Flag(name: [.customShort("f"), .long], help: "Move the tag if it is in use.")
    var force = false

    @OptionGroup var consent: YesOption
    @OptionGroup var global: GlobalOptions

    func perform(in session: ManagementSession) async throws(ManagementError) -> JSONValue? {
        let (registry, name) = try await place.resolve(session, name, example: "REPOSITORY:TAG")
        let image = try ImageName(name, defaultTag: nil)
        guard image.digest == nil else { throw .usage("Write REPOSITORY:TAG, and the digest after --digest.") }
        let data = try await RegistryData.open(
            session, registry.registry, registry.group, place.credentials,
            scope: "repository:\(image.repository):deleted_read,deleted_restore")
        var digest = self.digest
        if digest == nil {
            guard let tag = image.tag else { throw .usage("Write REPOSITORY:TAG, or give --digest.") }
            let found = try await data.list(DeletedContent.path(image.repository, "_tags"), "tags", .everything)
                .filter { $0["tag"]?.stringValue == tag }.compactMap { $0["digest"]?.stringValue }
            guard let last = found.last else { throw ManagementError("No deleted manifests found for tag: \(tag)") }
            if found.count > 1 {
                try session.confirm(
                    "Multiple deleted manifests found for tag: \(tag). Restoring the one deleted last, with digest: \(last). Is this okay?",
                    consent)
            }
            digest = last
        }
        return try await data.document(
            .post, DeletedContent.path(image.repository, "_manifests") + "/\(URLText.segment(digest ?? ""))?force=\(force)",
            ["tag": image.tag.map { .string($0) } ?? .null])
    }
}
