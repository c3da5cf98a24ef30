// What must be true of a family when all is well again.

internal import GatewayProtocol
internal import OCI
internal import Persistence
internal import RegistryCore
internal import TestSupport

extension World {
    /// Looks at everything that was promised.
    func judge() async throws {
        for machine in self.machines {
            try await self.checkWhole(machine)
            try await self.checkContent(machine)
        }
        try await self.checkWrites()
        self.checkTraffic()
    }

    /// Every blob that the database names is there with its digest.
    private func checkContent(_ machine: Machine) async throws {
        guard let site = machine.running?.site else { return }
        let rows = try await site.database.read { try $0.rows("SELECT digest, size, generation FROM blob") }
        for row in rows {
            let blob = StoredBlob(digest: try Digest(row.text(0)), size: row.integer(1), generation: row.text(2))
            let bytes = try await site.store.open(blob).read(at: 0, count: Int(blob.size))
            if Digest.of(bytes.readableBytesView, algorithm: blob.digest.algorithm) != blob.digest {
                self.scheduler.fail("\(blob.digest) at \(machine.name) has other bytes than its name says")
            }
        }
    }

    /// What a client was told is stored is found under its tag, or under the tag of its conflict, or is told as refused.
    private func checkWrites() async throws {
        for write in self.ledger.standing where try await !self.isFound(write) {
            self.scheduler.fail(
                "\(write.repository):\(write.tag) at \(write.digest), acknowledged at \(write.machine), is lost")
        }
    }

    private func isFound(_ write: Ledger.Write) async throws -> Bool {
        for machine in self.machines {
            guard let site = machine.running?.site else { continue }
            let rows = try await site.database.read {
                try $0.rows(
                    "SELECT tag.name FROM tag JOIN repository ON repository.id = tag.repository WHERE repository.name = ? AND tag.digest = ?",
                    SQLValue(write.repository), SQLValue(write.digest))
            }
            let prefix = "\(write.tag).conflict-"
            for row in rows {
                let isKept = row.text(0) == write.tag.description && machine.name == "root" || row.text(0).hasPrefix(prefix)
                if isKept, try await site.store.holdsWhole(write.digest, in: write.repository, of: site.registry) { return true }
            }
            for entry in try await site.store.outboxRefusals(of: site.registry, limit: 1000)
            where entry.repository == write.repository && entry.target == write.digest.description {
                return true
            }
        }
        return false
    }

    /// No byte twice, but for what a kill, a full disk or damage takes; and no more than the budget.
    private func checkTraffic() {
        for link in self.links {
            let lost = Int64(4 * self.kills + link.child.disk.failures) * 16_384
            for (blob, bytes) in link.blobs.sorted(by: { $0.key < $1.key }) {
                guard let size = self.ledger.size(of: blob) else { continue }
                let allowed = size * Int64(1 + (link.damaged[blob] ?? 0)) + lost
                if bytes > allowed { self.scheduler.fail("\(blob) of \(size) bytes cost \(link.child.name) \(bytes)") }
            }
            guard let limit = link.child.member?.budget?.hour, let first = link.received.keys.min() else { continue }
            var sum: Int64 = 0
            for (hour, bytes) in link.received.sorted(by: { $0.key < $1.key }) {
                sum += bytes
                if sum > limit * (hour - first + 1) {
                    self.scheduler.fail(
                        "\(link.child.name) received \(sum) bytes by its hour \(hour - first), allowed are \(limit) in each")
                }
            }
        }
    }
}
