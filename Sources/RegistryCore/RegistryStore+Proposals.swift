// What a child tells its parent: changes that its own clients made. Each is tried against what stands here, and what was answered is
// kept in the same transaction, so that a child that did not hear the answer gets it again.

package import OCI
package import Persistence

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A change that a connected registry has made and asks its parent to take over.
package struct Proposal: Sendable, Hashable {
    package enum Change: Sendable, Hashable {
        /// The tag named `expected` when both last agreed; `nil` stands for no tag.
        case tag(Tag, expected: Digest?, target: Digest?)
        /// The manifest has been pushed.
        case manifestPushed(Digest)
        case manifestDeleted(Digest)
        case locks(LockTarget, expected: ImageLocks, target: ImageLocks)
    }

    /// The name of this proposal; repetitions have the same.
    package let operation: String
    package let repository: RepositoryName
    package let change: Change

    package init(operation: String, repository: RepositoryName, change: Change) {
        self.operation = operation
        self.repository = repository
        self.change = change
    }
}

/// What became of a proposal.
package struct ProposalAnswer: Sendable, Hashable, Codable {
    package enum Outcome: String, Sendable, Codable {
        /// It was done, or was so already.
        case agreed
        /// Something else stands, and goes on standing.
        case conflict
    }

    package var outcome: Outcome
    /// With a conflict: what the tag names here; absent when there is no such tag.
    package var current: Digest?
    /// With a conflict about locks: what stands.
    package var locks: Int64?
    /// With a conflict: the tag that keeps what was proposed.
    package var saved: Tag?
    /// The log's head of the transaction.
    package var log: String
    package var sequence: Int64
}

extension RegistryStore {
    /// Milliseconds for which answers are kept: as long as a child may be away before its changes expire.
    private static let answerMemory: Int64 = 100 * 86_400_000

    /// Tries a proposal against what stands.
    ///
    /// - Parameter child: the connected registry's name.
    /// - Throws: ``RegistryError``: a lock, content that has not arrived. Such a refusal is not kept; the same proposal may be made again.
    package func propose(_ proposal: Proposal, by child: String, in registry: RegistryID) async throws -> ProposalAnswer {
        let now = self.clock.milliseconds()
        let isSabotaged = Sabotage.skipsComparison
        let answer = try await self.database.write { session in
            if let row = try session.row(
                "SELECT answer FROM proposal WHERE registry = ? AND child = ? AND operation = ?", .integer(registry.value),
                SQLValue(child), .text(proposal.operation))
            {
                return try JSONDecoder().decode(ProposalAnswer.self, from: Data(row.text(0).utf8))
            }
            var answer = try Self.judge(proposal, isSabotaged: isSabotaged, by: child, in: registry, now: now, session)
            let head = try ChangeLog.head(in: session)
            (answer.log, answer.sequence) = (head.log, head.sequence)
            try session.execute(
                "INSERT INTO proposal (registry, child, operation, answer, time) VALUES (?, ?, ?, ?, ?)", .integer(registry.value),
                SQLValue(child), .text(proposal.operation), .text(String(decoding: try JSONEncoder().encode(answer), as: UTF8.self)),
                .integer(now))
            return answer
        }
        switch proposal.change {
        case .tag(_, _, .some): self.versions.tagsMoved()
        case .tag, .manifestDeleted, .locks: self.versions.contentRemoved()
        case .manifestPushed: break
        }
        self.activity.signal()
        return answer
    }

    /// Forgets answers that nobody will ask for again.
    package func trimProposals() async throws {
        let before = self.clock.milliseconds() - Self.answerMemory
        _ = try await self.database.write { try $0.execute("DELETE FROM proposal WHERE time < ?", .integer(before)) }
    }

    private static func judge(
        _ proposal: Proposal, isSabotaged: Bool, by child: String, in registry: RegistryID, now: Int64, _ session: any SQLWriter
    ) throws -> ProposalAnswer {
        let name = proposal.repository
        let agreed = ProposalAnswer(outcome: .agreed, current: nil, locks: nil, saved: nil, log: "", sequence: 0)
        let origin = ChangeOrigin.child(child)
        guard let repository = try self.repository(name, in: registry, session) else {
            switch proposal.change {
            // What is to go is not here.
            case .tag(_, _, nil), .manifestDeleted: return agreed
            case .tag, .manifestPushed, .locks: throw RegistryError.repositoryUnknown(name)
            }
        }
        switch proposal.change {
        case .tag(let tag, let expected, let target):
            let current = try session.row("SELECT digest FROM tag WHERE repository = ? AND name = ?", .integer(repository), SQLValue(tag))
                .map { try Digest($0.text(0)) }
            if current == target { return agreed }
            if let target { try self.requireHeld(target, name, repository, session) }
            guard current == expected || isSabotaged else {
                var answer = agreed
                answer.outcome = .conflict
                answer.current = current
                if let target, let saved = ConflictTag.name(for: tag, child: child, digest: target) {
                    answer.saved = saved
                    try self.move(
                        saved, to: target, repository: repository, name: name, registry: registry, origin: origin, now: now, session)
                }
                return answer
            }
            if let target {
                try ConflictTag.refuse(tag)
                try self.requireWritable(name, repository, session)
                try self.requireMovable(tag, to: target, name, repository, session)
                try self.move(
                    tag, from: current?.description, to: target, repository: repository, name: name, registry: registry, origin: origin,
                    now: now, session)
            } else {
                try self.requireDeletable(.tag(name, tag), repository, session)
                _ = try self.remove(tag, repository: repository, name: name, registry: registry, origin: origin, now: now, session)
            }
            return agreed
        case .manifestPushed(let digest):
            try self.requireHeld(digest, name, repository, session)
            return agreed
        case .manifestDeleted(let digest):
            guard
                try session.row("SELECT 1 FROM manifest WHERE repository = ? AND digest = ?", .integer(repository), SQLValue(digest)) != nil
            else { return agreed }
            // Tags that the child knew of have gone before. One that is left was set here, and stands with what it names.
            if let tag = try session.row(
                "SELECT name FROM tag WHERE repository = ? AND digest = ? ORDER BY name LIMIT 1", .integer(repository), SQLValue(digest))
            {
                guard !ConflictTag.isReserved(tag.text(0)) else {
                    throw RegistryError(
                        .denied, "manifest \(digest) is kept by tag \(tag.text(0)); delete that tag of \(name) here first",
                        detail: ["tag": tag.text(0)], status: 409)
                }
                var answer = agreed
                answer.outcome = .conflict
                answer.current = digest
                return answer
            }
            try self.requireDeletable(.manifest(name, digest), repository, session)
            _ = try self.remove(digest, repository: repository, name: name, registry: registry, origin: origin, now: now, session)
            return agreed
        case .locks(let target, let expected, let wanted):
            let current = try self.locks(of: target, repository, session)
            if current == wanted { return agreed }
            guard current == expected else {
                var answer = agreed
                answer.outcome = .conflict
                answer.locks = current.rawValue
                return answer
            }
            try self.write(wanted, to: target, repository: repository, registry: registry, origin: origin, now: now, session)
            return agreed
        }
    }

    private static func requireHeld(_ digest: Digest, _ name: RepositoryName, _ repository: Int64, _ session: any SQLReader) throws {
        guard try session.row("SELECT 1 FROM manifest WHERE repository = ? AND digest = ?", .integer(repository), SQLValue(digest)) != nil
        else { throw RegistryError.manifestUnknown(name, .digest(digest)) }
    }
}
