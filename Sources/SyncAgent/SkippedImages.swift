// Images that the parent lists but cannot give, because they are damaged there: they must not keep the others waiting.
// Each is remembered, told to the parent, and tried again after a while that grows.

internal import GatewayProtocol
internal import OCI
internal import Persistence

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Images that could not be taken, durably.
actor SkippedImages {
    struct Image: Sendable, Equatable {
        let repository: RepositoryName
        let digest: Digest
        /// Tags to move once it can be had; none for a referrer.
        var tags: Set<Tag>
        var code: SyncError.Code
        var reason: String
        var attempts: Int64
        /// Seconds since 1970.
        var due: Int64
        /// Milliseconds since 1970.
        let since: Int64
    }

    private struct Key: Hashable {
        let repository: RepositoryName
        let digest: Digest
    }

    /// The first rest before another attempt, and the longest.
    static let rests: ClosedRange<Int64> = 30...3600

    private let database: any Database
    private let clock: WallClock
    private var images: [Key: Image]?

    init(database: any Database, clock: WallClock) {
        self.database = database
        self.clock = clock
    }

    private func load() async throws -> [Key: Image] {
        if let images { return images }
        let rows = try await self.database.read {
            try $0.rows("SELECT repository, digest, tags, reason, attempts, due, since, code FROM sync_skipped")
        }
        var loaded: [Key: Image] = [:]
        for row in rows {
            let image = Image(
                repository: try RepositoryName(row.text(0)), digest: try Digest(row.text(1)),
                tags: Set(try row.text(2).split(separator: " ").map { try Tag($0) }),
                code: SyncError.Code(rawValue: row.text(7)) ?? .content,
                reason: row.text(3), attempts: row.integer(4),
                due: row.integer(5), since: row.integer(6))
            loaded[Key(repository: image.repository, digest: image.digest)] = image
        }
        self.images = loaded
        return loaded
    }

    private func save(_ image: Image) async throws {
        try await self.database.write { session in
            _ = try session.execute(
                """
                INSERT INTO sync_skipped (repository, digest, tags, reason, attempts, due, since, code) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (repository, digest) DO UPDATE SET tags = excluded.tags, reason = excluded.reason,
                    attempts = excluded.attempts, due = excluded.due, code = excluded.code
                """, SQLValue(image.repository), SQLValue(image.digest),
                .text(image.tags.map(\.description).sorted().joined(separator: " ")), .text(image.reason), .integer(image.attempts),
                .integer(image.due), .integer(image.since), .text(image.code.rawValue))
        }
        self.images?[Key(repository: image.repository, digest: image.digest)] = image
    }

    /// Remembers that an image could not be taken.
    ///
    /// - Parameter until: when it is worth trying again; seconds since 1970. `nil` for a while that grows.
    func record(
        _ digest: Digest, tags: [Tag], in name: RepositoryName, code: SyncError.Code = .content, reason: String, until: Int? = nil
    ) async throws {
        let known = try await self.load()[Key(repository: name, digest: digest)]
        let attempts = (known?.attempts ?? 0) + 1
        // A lock is opened by somebody, and that is told.
        let rest = code == .locked ? Self.rests.upperBound : min(Self.rests.upperBound, Self.rests.lowerBound << min(attempts - 1, 10))
        try await self.save(
            Image(
                repository: name, digest: digest, tags: (known?.tags ?? []).union(tags), code: code, reason: reason, attempts: attempts,
                // Never longer than an hour: there may be another budget by then.
                due: min(until.map { Int64($0) } ?? .max, self.clock.seconds + (until == nil ? rest : Self.rests.upperBound)),
                since: known?.since ?? self.clock.milliseconds()))
    }

    /// The image is here, with some of its tags. What else was to be moved to it is looked at anew once the log has been read to its end.
    func resolve(_ digest: Digest, tags: [Tag], in name: RepositoryName) async throws {
        guard var image = try await self.load()[Key(repository: name, digest: digest)] else { return }
        image.tags.subtract(tags)
        guard !image.tags.isEmpty else { return try await self.resolve(digest, in: name) }
        image.due = 0
        try await self.save(image)
    }

    /// Nobody wants the image any more.
    func resolve(_ digest: Digest, in name: RepositoryName) async throws {
        let key = Key(repository: name, digest: digest)
        guard try await self.load()[key] != nil else { return }
        _ = try await self.database.write {
            try $0.execute("DELETE FROM sync_skipped WHERE repository = ? AND digest = ?", SQLValue(name), SQLValue(digest))
        }
        self.images?[key] = nil
    }

    /// A tag names something else now, or nothing: it must not be moved back when its earlier image can be had after all.
    func supersede(_ tag: Tag, in name: RepositoryName, by digest: Digest?) async throws {
        for var image in try await self.load().values
        where image.repository == name && image.digest != digest && image.tags.contains(tag) {
            image.tags.remove(tag)
            if image.tags.isEmpty { try await self.resolve(image.digest, in: name) } else { try await self.save(image) }
        }
    }

    /// Forgets all, before everything is looked at anew.
    func forgetAll() async throws {
        guard try await !self.load().isEmpty else { return }
        _ = try await self.database.write { try $0.execute("DELETE FROM sync_skipped") }
        self.images = [:]
    }

    /// What was locked in a repository may be open now.
    func wake(in name: RepositoryName) async throws {
        for var image in try await self.load().values where image.repository == name && image.code == .locked && image.due > 0 {
            image.due = 0
            try await self.save(image)
        }
    }

    /// There is another budget.
    func wakeUnaffordable() async throws {
        for var image in try await self.load().values where image.code == .budget && image.due > 0 {
            image.due = 0
            try await self.save(image)
        }
    }

    func all() async throws -> [Image] { try await self.load().values.sorted { ($0.since, $0.digest) < ($1.since, $1.digest) } }

    /// Images to try again now.
    func due() async throws -> [Image] {
        let now = self.clock.seconds
        // A clock that was set back must not make them wait for years.
        return try await self.all().filter { $0.due <= now || $0.due > now + Self.rests.upperBound }
    }

    /// Seconds until one is due; `nil` without any.
    func rest() async throws -> Int64? {
        let now = self.clock.seconds
        return try await self.all().map { max(0, $0.due - now) }.min()
    }

    /// What the parent is told.
    func details() async throws -> [StatusDetail] {
        let all = try await self.all()
        return self.unaffordable(all)
            + all.filter { $0.code != .budget }.prefix(20).map { image in
                let tags = image.tags.isEmpty ? "" : " (\(image.tags.map(\.description).sorted().prefix(5).joined(separator: ", ")))"
                guard image.code != .locked else {
                    return StatusDetail(
                        type: "Warning", code: image.code.rawValue,
                        description:
                            "\(image.repository)@\(image.digest)\(tags) is not given by the parent: \(image.reason); it comes when it is unlocked there",
                        timestamp: image.since)
                }
                return StatusDetail(
                    type: "Error", code: image.code.rawValue,
                    description:
                        "\(image.repository)@\(image.digest)\(tags) cannot be taken from the parent: \(image.reason); everything else goes on, and it is tried again at \(Timestamp.text(seconds: image.due)). Push it again or delete it at the parent",
                    timestamp: image.since)
            }
    }

    /// Images that wait for the budget, in one detail.
    private func unaffordable(_ all: [Image]) -> [StatusDetail] {
        let waiting = all.filter { $0.code == .budget }
        guard let first = waiting.first else { return [] }
        var named: [String] = []
        // The sentence is cut where it is too long, and that there are others must not be.
        var bytes = MessageBounds.sentence - first.reason.utf8.count - 200
        for image in waiting.prefix(Self.namedUnaffordable) {
            let name = "\(image.repository)@\(image.digest)"
            bytes -= name.utf8.count + 2
            guard bytes >= 0 else { break }
            named.append(name)
        }
        let names = named.joined(separator: ", ")
        let rest = waiting.count > named.count ? " and others" : ""
        return [
            StatusDetail(
                type: "Warning", code: SyncError.Code.budget.rawValue,
                description: "\(waiting.count) images wait: \(first.reason). They are \(names)\(rest)", timestamp: first.since)
        ]
    }

    /// Images that are named of those that wait for the budget.
    private static let namedUnaffordable = 50
}
