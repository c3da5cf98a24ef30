// The messages with which a child tells its parent what its own clients have changed: one operation at a time, each under a name that a
// repetition has too.

package import OCI

/// One change.
package struct OutboxOperation: Codable, Sendable, Hashable {
    package enum Kind: String, Codable, Sendable {
        /// The tag shall name `digest` where it names `expected`.
        case tagSet
        /// The tag shall go where it names `expected`.
        case tagDelete
        /// The manifest has been pushed by digest.
        case manifestPut
        case manifestDelete
        /// The locks of the repository, or of `tag` or `digest` in it, shall be `locks` where they are `expectedLocks`.
        case lock
    }

    package var kind: Kind
    package var repository: RepositoryName
    package var tag: Tag?
    package var digest: Digest?
    /// What the tag named when both ends last agreed; absent for no such tag.
    package var expected: Digest?
    package var locks: Int64?
    package var expectedLocks: Int64?

    package init(
        _ kind: Kind, _ repository: RepositoryName, tag: Tag? = nil, digest: Digest? = nil, expected: Digest? = nil, locks: Int64? = nil,
        expectedLocks: Int64? = nil
    ) {
        self.kind = kind
        self.repository = repository
        self.tag = tag
        self.digest = digest
        self.expected = expected
        self.locks = locks
        self.expectedLocks = expectedLocks
    }
}

/// `POST outbox`
package struct OutboxRequest: Codable, Sendable, Hashable {
    package var opId: String
    package var operation: OutboxOperation

    package init(opId: String, operation: OutboxOperation) {
        self.opId = opId
        self.operation = operation
    }
}

/// The change was made, or was so already.
package struct OutboxResponse: Codable, Sendable, Hashable {
    /// The log's head behind the change: older rows say nothing about it any more.
    package var cursor: GatewayCursor

    package init(cursor: GatewayCursor) { self.cursor = cursor }
}

/// 409 `CONFLICT`: something else stands at the parent.
package struct OutboxConflictBody: Codable, Sendable, Hashable {
    package var error: GatewayErrorBody.Content
    /// What the tag names there; absent when there is no such tag.
    package var current: Digest?
    package var locks: Int64?
    /// The tag under which the parent keeps what was to be set.
    package var saved: Tag?
    package var cursor: GatewayCursor

    package init(message: String, current: Digest?, locks: Int64?, saved: Tag?, cursor: GatewayCursor) {
        self.error = .init(code: GatewayErrorCode.conflict.rawValue, message: message)
        self.current = current
        self.locks = locks
        self.saved = saved
        self.cursor = cursor
    }
}
