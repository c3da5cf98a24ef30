// An import as it is kept until it is done.

internal import Import
internal import OCI
internal import Persistence
internal import RegistryCore

/// The parts of an ``ImportOrder`` as text.
struct ImportRecord: Codable {
    private struct Target: Codable {
        let repository: String
        let tag: String?
    }

    /// A registry elsewhere, or `nil` for one of this server.
    private let host: String?
    private let local: Int64?
    private let repository: String
    private let username: String?
    private let password: String?
    private let reference: String
    private let targets: [Target]
    private let replacesTags: Bool
    private let registry: Int64
    private let quota: Int64?

    init(_ order: ImportOrder) {
        switch order.source {
        case .remote(let host, let repository, let credentials):
            (self.host, self.local, self.repository) = (host, nil, repository)
            (self.username, self.password) = (credentials?.username, credentials?.password)
        case .local(let registry, let repository):
            (self.host, self.local, self.repository) = (nil, registry.value, repository.description)
            (self.username, self.password) = (nil, nil)
        }
        self.reference = order.reference.description
        self.targets = order.targets.map { Target(repository: $0.repository.description, tag: $0.tag?.description) }
        self.replacesTags = order.replacesTags
        self.registry = order.registry.value
        self.quota = order.quota
    }

    /// The order again; `nil` when it was written by a version that knew more.
    func order(_ id: String) -> ImportOrder? {
        guard let reference = try? Reference(self.reference),
            let targets = try? self.targets.map({
                ImportedImage.Target(repository: try RepositoryName($0.repository), tag: try $0.tag.map { try Tag($0) })
            })
        else { return nil }
        let source: ImportOrder.Source
        if let host {
            let credentials = self.password.map { SourceCredentials(username: self.username, password: $0) }
            source = .remote(registry: host, repository: self.repository, credentials: credentials)
        } else {
            guard let local, let repository = try? RepositoryName(self.repository) else { return nil }
            source = .local(RegistryID(local), repository)
        }
        return ImportOrder(
            source: source, reference: reference, targets: targets, replacesTags: self.replacesTags, registry: RegistryID(self.registry),
            quota: self.quota, origin: ImportJobs.origin(id))
    }
}
