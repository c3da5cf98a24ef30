// The nonces that tell an instance from a copy of its data folder.

internal import Persistence

/// The nonce that came back last, and those that were offered since.
///
/// More than one is offered where an answer was lost, or where a heartbeat that its sender has given up arrives behind the next one: which
/// of the answers has reached the instance is known only when its nonce comes back.
struct LeaseNonces {
    /// How many are remembered that have not come back.
    static let maximumOffered = 8
    /// What ``init(_:)`` reads first from a row, in this order.
    static let columns = "nonce, offered_nonce, earlier_nonces"

    private let confirmed: String?
    /// The newest last.
    private let offered: [String]

    init(confirmed: String?, offered: [String]) {
        self.confirmed = confirmed
        self.offered = offered.suffix(Self.maximumOffered)
    }

    init(_ row: SQLRow) {
        let earlier = row.text(2).split(separator: "\n").map(String.init)
        self.init(confirmed: row.optionalText(0), offered: earlier + (row.optionalText(1).map { [$0] } ?? []))
    }

    /// Whether none is known: the parent has been restored, or nobody has been active.
    var isEmpty: Bool { self.confirmed == nil && self.offered.isEmpty }

    /// Whether an instance that brings this one is the one that was spoken to.
    ///
    /// - Parameter nonce: `nil` from one that has never got an answer.
    func accept(_ nonce: String?) -> Bool { nonce == self.confirmed || nonce.map(self.offered.contains) == true }

    /// What is known once `nonce` has been accepted and another one is offered: with one that comes back all others are over.
    func following(_ nonce: String?, offering next: String) -> LeaseNonces {
        let isRepeated = nonce == self.confirmed && nonce.map(self.offered.contains) != true
        return LeaseNonces(confirmed: nonce, offered: (isRepeated ? self.offered : []) + [next])
    }

    /// As the ``columns`` take them.
    var values: [SQLValue] {
        [SQLValue(self.confirmed), SQLValue(self.offered.last), SQLValue(self.offered.dropLast().joined(separator: "\n"))]
    }
}
