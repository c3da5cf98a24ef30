// Cache rules and credential sets as they are stored, and which rule a repository falls under.

internal import OCI
internal import Persistence

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A repository, or all that begin in one way: `team/app`, `team/*`, `*`.
struct CachePattern: Sendable, Hashable, Codable, CustomStringConvertible {
    /// What comes before the star, with its slash; the name itself where there is none.
    private let text: String
    let isWildcard: Bool

    /// - Throws: ``OCIParseError`` for what is neither a name nor a beginning of names up to a slash.
    init(_ text: some StringProtocol) throws(OCIParseError) {
        guard text.hasSuffix("*") else {
            (self.text, self.isWildcard) = (try RepositoryName(text).description, false)
            return
        }
        let prefix = text.dropLast()
        guard prefix.isEmpty || prefix.hasSuffix("/") else {
            throw OCIParseError(.repositoryName, String(text), "a wildcard stands for whole parts of a name, after a slash: team/*")
        }
        if !prefix.isEmpty { _ = try RepositoryName(prefix + "a") }
        (self.text, self.isWildcard) = (String(prefix), true)
    }

    init(from decoder: any Decoder) throws { try self.init(decoder.singleValueContainer().decode(String.self)) }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.description)
    }

    var description: String { self.isWildcard ? self.text + "*" : self.text }

    /// What the star stands for in this name; empty where there is none; `nil` when the name does not fit.
    func rest(of name: RepositoryName) -> Substring? {
        let name = name.description
        guard self.isWildcard else { return name == self.text ? "" : nil }
        return name.hasPrefix(self.text) ? name.dropFirst(self.text.count) : nil
    }

    /// The name with `rest` in the star's place.
    func filled(with rest: Substring) -> String { self.text + rest }

    /// How much of a name it settles: a whole name more than any beginning.
    var weight: Int { self.isWildcard ? self.text.utf8.count : .max }
}

/// What is stored of a cache rule.
package struct CacheRuleDocument: Codable, Sendable, Hashable {
    /// Host, with its port if any.
    let sourceRegistry: String
    let source: CachePattern
    let target: CachePattern
    /// The name of a credential set of the same registry.
    var credentialSet: String?

    /// Where content of a repository comes from; `nil` when the rule is not about it.
    func source(of name: RepositoryName) -> String? { self.target.rest(of: name).map { self.source.filled(with: $0) } }
}

/// What is stored of a credential set: where secrets are, never what they are.
package struct CredentialSetDocument: Codable, Sendable, Hashable {
    let loginServer: String
    var username: SecretIdentifier
    var password: SecretIdentifier
}

typealias StoredCacheRule = StoredResource<CacheRuleDocument>
typealias StoredCredentialSet = StoredResource<CredentialSetDocument>

extension ResourceStore {
    /// The most rules of a registry, as on Azure.
    static let maximumCacheRules = 1000

    func cacheRules(in registry: ResourceID) async throws -> [StoredCacheRule] { try await self.list(.cacheRule, in: registry) }

    func cacheRule(_ id: ResourceID) async throws -> StoredCacheRule? { try await self.find(id, .cacheRule) }

    /// What a rule has set a tag to.
    func cachedTag(_ tag: Tag, in name: RepositoryName, of registry: RegistryID) async throws -> Digest? {
        try await self.database.read {
            try $0.row(
                "SELECT digest FROM cached_tag WHERE registry = ? AND repository = ? AND tag = ?", .integer(registry.value),
                SQLValue(name.description), SQLValue(tag.description))
        }.flatMap { try? Digest($0.text(0)) }
    }

    func credentialSets(in registry: ResourceID) async throws -> [StoredCredentialSet] { try await self.list(.credentialSet, in: registry) }

    func credentialSet(_ id: ResourceID) async throws -> StoredCredentialSet? { try await self.find(id, .credentialSet) }

    /// Stores a rule or a set; its name is spelt as it was at first.
    ///
    /// - Parameter also: runs in the same transaction.
    func put<Document: Codable & Sendable>(
        part document: Document, _ kind: ResourceKind, as id: ResourceID, also: @escaping @Sendable (any SQLWriter) throws -> Void
    ) async throws -> StoredResource<Document> {
        let now = self.clock.milliseconds()
        let text = String(decoding: try JSONEncoder().encode(document), as: UTF8.self)
        try await self.database.write { session in
            try Self.write(text, as: id, registry: nil, now: now, session)
            try also(session)
        }
        guard let stored: StoredResource<Document> = try await self.find(id, kind) else { throw Self.gone(id) }
        return stored
    }

    /// - Returns: whether there was one.
    func delete(part id: ResourceID, _ kind: ResourceKind) async throws -> Bool {
        try await self.database.write {
            try $0.execute("DELETE FROM resource WHERE key = ? AND type = ?", SQLValue(id.key), SQLValue(kind.rawValue)) > 0
        }
    }
}
