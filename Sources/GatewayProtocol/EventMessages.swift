// The messages with which a child tells its parent what has happened at it and below: notifications and audit records.

/// `POST events`: told at least once; what is known by its id is not taken twice.
package struct EventsRequest: Codable, Sendable, Hashable {
    /// Events of one request.
    package static let maximumEvents = 200

    package struct Event: Codable, Sendable, Hashable {
        package var id: String
        /// Where it happened: the caller, or one below it.
        package var connectedRegistry: String
        /// `notification` or `audit`.
        package var kind: String
        /// Milliseconds since 1970, by the clock there.
        package var time: Int64
        /// A JSON object.
        package var body: String

        package init(id: String, connectedRegistry: String, kind: String, time: Int64, body: String) {
            self.id = id
            self.connectedRegistry = connectedRegistry
            self.kind = kind
            self.time = time
            self.body = body
        }
    }

    /// How many events had to go unread, in all.
    package struct Dropped: Codable, Sendable, Hashable {
        package var connectedRegistry: String
        package var kind: String
        package var count: Int64

        package init(connectedRegistry: String, kind: String, count: Int64) {
            self.connectedRegistry = connectedRegistry
            self.kind = kind
            self.count = count
        }
    }

    package var events: [Event]
    package var dropped: [Dropped]?

    package init(events: [Event], dropped: [Dropped]?) {
        self.events = events
        self.dropped = dropped
    }
}

package struct EventsResponse: Codable, Sendable, Hashable {
    /// Those that are kept; others are of no connected registry that the caller may speak for.
    package var accepted: Int

    package init(accepted: Int) { self.accepted = accepted }
}
