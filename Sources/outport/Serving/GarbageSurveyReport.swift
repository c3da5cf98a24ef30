// What `outport gc --dry-run` prints.

internal import JSON
internal import RegistryCore

/// The garbage that would go.
struct GarbageSurveyReport: Sendable {
    let items: [GarbageItem]

    /// Bytes of disk that would be free: blobs and files; manifests live in the database.
    var bytes: Int64 { self.items.filter { $0.kind == .blob || $0.kind == .file }.reduce(0) { $0 + $1.bytes } }

    private func count(_ kind: GarbageItem.Kind) -> Int { self.items.count { $0.kind == kind } }

    var json: JSONValue {
        [
            "uploads": .integer(self.count(.upload)), "manifests": .integer(self.count(.manifest)),
            "purged": .integer(self.count(.deleted)), "links": .integer(self.count(.link)),
            "blobs": .integer(self.count(.blob)), "files": .integer(self.count(.file)), "bytes": .integer(self.bytes),
            "items": .array(
                self.items.map { item in
                    [
                        "kind": .string(item.kind.rawValue), "subject": .string(item.subject),
                        "repository": .string(orNull: item.repository),
                        "bytes": .integer(item.bytes), "reason": .string(item.reason),
                    ]
                }),
        ]
    }

    var table: String {
        let rows = self.items.map { item in
            [
                (header: "KIND", cell: item.kind.rawValue), (header: "SUBJECT", cell: item.subject),
                (header: "REPOSITORY", cell: item.repository ?? ""), (header: "BYTES", cell: String(item.bytes)),
                (header: "REASON", cell: item.reason),
            ]
        }
        let summary =
            "would remove \(self.count(.upload)) uploads, \(self.count(.manifest)) manifests, \(self.count(.deleted)) manifests kept after deletion, \(self.count(.link)) links, \(self.count(.blob)) blobs, \(self.count(.file)) stray files: \(self.bytes) bytes"
        return rows.isEmpty ? summary : TableText.render(rows) + "\n\n" + summary
    }
}
