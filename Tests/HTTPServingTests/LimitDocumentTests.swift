// docs/limits.md gives the numbers that the code has.

import TestSupport
import Testing

@Suite struct LimitDocumentTests {
    private enum Unit {
        case bytes, seconds, characters, count
    }

    /// Each row of the document: the file its constant is in, the constant, and its unit.
    private static let rows: [String: (file: String, constant: String, unit: Unit)] = [
        "request head, HTTP/1.1 and HTTP/2": ("HTTPServing/RegistryChannel", "maximumHeadSize", .bytes),
        "fields of an HTTP/1.1 head": ("HTTPServing/RegistryChannel", "maximumFields", .count),
        "time for a TLS handshake, for a head from its first byte to its last, for an HTTP/2 client to answer when it is told to go":
            ("HTTPServing/RegistryChannel", "headTimeout", .seconds),
        "requests of an HTTP/2 connection answered at a time": ("HTTPServing/RegistryChannel", "maximumAnswers", .count),
        "idle connection": ("HTTPServing/RegistryChannel", "idleTimeout", .seconds),
        "idle connection of a connected registry that has said when it comes back": ("HTTPServing/ConnectionIdleness", "limit", .seconds),
        "response that makes no progress": ("HTTPServing/RegistryChannel", "stalledResponse", .seconds),
        "request that has arrived and is not answered yet": ("HTTPServing/RegistryChannel", "longestAnswer", .seconds),
        "ranges in one request": ("DistributionAPI/ByteRange", "maximumRanges", .count),
        "manifest": ("OCI/Manifest", "maximumSize", .bytes),
        "descriptors in a manifest": ("OCI/Manifest", "maximumDescriptors", .count),
        "depth of a manifest's JSON": ("OCI/Manifest", "maximumDepth", .count),
        "repository name": ("OCI/Names", "maximumLength", .characters),
        "tag": ("RegistryCore/ConflictTag", "maximumLength", .characters),
        "tags in one push (`tag=`)": ("DistributionAPI/DistributionHandler+Content", "maximumTags", .count),
        "open uploads of a repository": ("RegistryCore/Uploads", "limit", .count),
        "page of the catalog and of tags": ("DistributionAPI/DistributionHandler+Lists", "maximumPage", .count),
        "page of `/acr/v1`": ("DistributionAPI/MetadataHandler", "maximumPage", .count),
        "token": ("Identity/TokenAuthority", "maximumLength", .bytes),
        "body of a management request": ("ResourceManager/ResourceManagerHandler", "maximumBody", .bytes),
        "tokens of a registry": ("Identity/IdentityStore", "maximumTokens", .count),
        "scope maps of a registry": ("Identity/IdentityStore", "maximumScopeMaps", .count),
        "repository actions of a scope map": ("Identity/IdentityRecords", "maximumRepositoryActions", .count),
        "role assignments": ("Identity/RoleStore", "maximumAssignments", .count),
        "cache rules of a registry": ("ResourceManager/CacheRule", "maximumCacheRules", .count),
        "subscriptions": ("ResourceManager/SubscriptionAliases", "maximumSubscriptions", .count),
        "imports at a time": ("ResourceManager/ImportJobs", "maximum", .count),
        "images fetched through cache rules at a time": ("ResourceManager/PullThrough", "maximum", .count),
        "people whose passwords are being checked, waiting": ("Identity/PasswordHasher", "maximumWaiting", .count),
        "wrong passwords of a user in a row": ("Identity/Directory+Users", "failuresBeforeLock", .count),
        "devices that wait for a sign-in": ("ResourceManager/PendingSignIns", "maximum", .count),
        "devices that wait for a sign-in, from one address": ("ResourceManager/PendingSignIns", "maximumFromAddress", .count),
        "webhook's receiver": ("Webhooks/WebhookSender", "timeout", .seconds),
    ]

    private static func text(_ value: Int, _ unit: Unit) -> String {
        switch unit {
        case .bytes: value % (1 << 20) == 0 ? "\(value >> 20) MiB" : "\(value >> 10) KiB"
        case .seconds: "\(value) s"
        case .characters: "\(value) characters"
        case .count: value < 1000 ? "\(value)" : "\(value / 1000),\(String(1000 + value % 1000).dropFirst())"
        }
    }

    @Test("R1 I2 docs/limits.md gives the numbers of the code, all of them")
    func numbers() throws {
        let document = try Document("docs/limits.md")
        let written = ["Connections", "Content", "Sign-in"].flatMap { document.rows(below: $0) }
        #expect(written.map { $0[0] }.sorted() == Self.rows.keys.sorted())
        for row in written {
            let (file, constant, unit) = try #require(Self.rows[row[0]])
            let value = try #require(try Document("Sources/\(file).swift").constant(constant), "\(constant) of \(file)")
            #expect(row[1] == Self.text(value, unit), "\(row[0])")
        }
    }
}
