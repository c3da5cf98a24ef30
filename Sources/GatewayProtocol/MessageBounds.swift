// What numbers and texts of messages are kept within, whatever the other end says: it may be damaged, or of bad will. Nothing behind the door has to ask
// whether a sum fits.

/// The ranges of numbers, and the lengths of texts.
package enum MessageBounds {
    /// Milliseconds since 1970, to the end of the year 9999.
    package static let times: ClosedRange<Int64> = 0...253_402_300_799_999
    /// Bytes, things, epochs: what every reader of JSON keeps exactly. Two of them can be added.
    package static let counts: ClosedRange<Int64> = 0...((1 << 53) - 1)
    /// Bytes of a sentence.
    package static let sentence = 4096
    /// Bytes of a name, an address or a version.
    package static let name = 512
    /// Details of one heartbeat.
    package static let details = 40
    /// Tags of an image that a plan names.
    package static let planTags = 20
}

extension String {
    /// The beginning that has so many bytes at most.
    package func cut(to limit: Int) -> String {
        guard self.utf8.count > limit else { return self }
        var end = self.utf8.index(self.startIndex, offsetBy: limit)
        while end.samePosition(in: self.unicodeScalars) == nil { end = self.utf8.index(before: end) }
        return String(self.unicodeScalars[..<end])
    }

    fileprivate var asName: String { self.cut(to: MessageBounds.name) }
}

extension Int64 {
    /// The nearest number of a range.
    package func within(_ range: ClosedRange<Int64>) -> Int64 { Swift.min(Swift.max(self, range.lowerBound), range.upperBound) }

    fileprivate var asTime: Int64 { self.within(MessageBounds.times) }
    fileprivate var asCount: Int64 { self.within(MessageBounds.counts) }
}

// MARK: From a child to its parent

extension StatusReport {
    /// The same with every number and every text within its bounds.
    package var bounded: StatusReport {
        var copy = self
        copy.version = self.version.asName
        copy.cursor?.log = self.cursor?.log.asName ?? ""
        copy.root = self.root?.asName
        copy.result = self.result?.bounded
        copy.details = self.details.prefix(MessageBounds.details).map(\.bounded)
        copy.bytesReceived = self.bytesReceived.asCount
        copy.diskFree = self.diskFree?.asCount
        copy.diskTotal = self.diskTotal?.asCount
        copy.resynced = self.resynced?.asTime
        copy.outboxPending = self.outboxPending?.asCount
        copy.bytesSent = self.bytesSent?.asCount
        copy.bytesLeft = self.bytesLeft?.asCount
        copy.budget = self.budget?.boundedUses
        copy.plan = self.plan?.bounded
        copy.descendants = self.descendants?.map(\.bounded)
        return copy
    }
}

extension DescendantStatus {
    /// The same with every number and every text within its bounds. What a connected registry says of those below it comes in their own entries.
    package var bounded: DescendantStatus {
        var copy = self
        copy.instance = self.instance?.asName
        copy.version = self.version?.asName
        copy.loginServer = self.loginServer?.asName
        copy.caPin = self.caPin?.asName
        copy.epoch = self.epoch.asCount
        copy.deactivations = self.deactivations.asCount
        copy.inStepSince = self.inStepSince?.asTime
        copy.silence = self.silence?.asTime
        var status = self.status
        status?.descendants = nil
        copy.status = status?.bounded
        return copy
    }
}

extension SyncResult {
    fileprivate var bounded: SyncResult {
        SyncResult(
            trigger: self.trigger.asName, state: self.state.asName, started: self.started.asTime, ended: self.ended?.asTime,
            lastSuccess: self.lastSuccess?.asTime)
    }
}

extension StatusDetail {
    fileprivate var bounded: StatusDetail {
        StatusDetail(
            type: self.type.asName, code: self.code.asName, description: self.description.cut(to: MessageBounds.sentence),
            timestamp: self.timestamp.asTime)
    }
}

extension BudgetUse {
    fileprivate var bounded: BudgetUse {
        let seconds = 0...(MessageBounds.times.upperBound / 1000)
        return BudgetUse(
            period: self.period.asName, limit: self.limit.asCount, used: self.used.asCount, renews: self.renews.within(seconds))
    }
}

extension [BudgetUse] {
    /// There are three periods; a later version may have some more.
    fileprivate var boundedUses: [BudgetUse] { self.prefix(10).map(\.bounded) }
}

extension SyncPlan {
    fileprivate var bounded: SyncPlan {
        SyncPlan(
            order: self.order.asTime, computed: self.computed.asTime, bytes: self.bytes.asCount,
            imageCount: Int(Int64(self.imageCount).asCount),
            images: self.images.prefix(Self.maximumImages).map {
                Image(
                    repository: $0.repository, digest: $0.digest, tags: Array($0.tags.prefix(MessageBounds.planTags)),
                    bytes: $0.bytes.asCount)
            }, bytesUp: self.bytesUp?.asCount, budget: self.budget?.boundedUses,
            problem: self.problem?.cut(to: MessageBounds.sentence))
    }
}

extension EventsRequest {
    /// The same with every number within its bounds.
    package var bounded: EventsRequest {
        var copy = self
        for index in self.events.indices { copy.events[index].time = self.events[index].time.asTime }
        copy.dropped = self.dropped?.map {
            Dropped(connectedRegistry: $0.connectedRegistry, kind: $0.kind, count: $0.count.asCount)
        }
        return copy
    }
}

// MARK: From a parent to its child

extension GatewaySettings {
    /// The same with every number within its bounds.
    package var bounded: GatewaySettings {
        var copy = self
        copy.resync = self.resync?.asTime
        copy.plan = self.plan?.asTime
        copy.budget = self.budget?.bounded
        copy.clientTokens = self.clientTokens.map(\.bounded)
        copy.scopeMaps = self.scopeMaps.map(\.bounded)
        copy.descendants = self.descendants?.map(\.bounded)
        return copy
    }
}

extension Descendant {
    fileprivate var bounded: Descendant {
        var copy = self
        copy.created = self.created.asTime
        copy.resync = self.resync?.asTime
        copy.plan = self.plan?.asTime
        copy.deactivations = self.deactivations.asCount
        copy.lease = self.lease.map { Lease(instance: $0.instance, epoch: $0.epoch.asCount) }
        copy.syncToken = self.syncToken.bounded
        copy.clientTokens = self.clientTokens.map(\.bounded)
        copy.scopeMaps = self.scopeMaps.map(\.bounded)
        copy.budget = self.budget?.bounded
        return copy
    }
}

extension GatewaySettings.ClientToken {
    fileprivate var bounded: Self {
        var copy = self
        copy.created = self.created.asTime
        copy.passwords = self.passwords.map {
            Password(slot: $0.slot, verifier: $0.verifier, created: $0.created.asTime, expiry: $0.expiry?.asTime)
        }
        return copy
    }
}

extension GatewaySettings.ScopeMap {
    fileprivate var bounded: Self {
        var copy = self
        copy.created = self.created.asTime
        return copy
    }
}

extension ByteBudget {
    /// The same with limits of one byte at least.
    package var bounded: ByteBudget {
        let limits = 1...MessageBounds.counts.upperBound
        return ByteBudget(hour: self.hour?.within(limits), day: self.day?.within(limits), month: self.month?.within(limits))
    }
}

extension ContentsResponse {
    /// The same with every size within its bounds.
    package var bounded: ContentsResponse {
        ContentsResponse(
            manifests: self.manifests.map { manifest in
                Manifest(
                    digest: manifest.digest, size: manifest.size.asCount, manifests: manifest.manifests,
                    blobs: manifest.blobs.map { Blob(digest: $0.digest, size: $0.size.asCount) })
            }, covered: self.covered)
    }
}
