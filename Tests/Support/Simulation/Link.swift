// A link between two simulated machines: slow, out of order, cut anywhere, and now and then lying.

internal import HTTPServing
internal import HTTPTypes
internal import HummingbirdCore
internal import NIOCore
internal import OCI
internal import Persistence
internal import RegistryClient
internal import Schedule
internal import SyncAgent
internal import Synchronization
internal import TestSupport

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Carries the requests of one connected registry to its parent.
final class Link: TrustingTransport {
    private struct State {
        var isUp = true
        var luck: Scenario.Luck
        /// Bytes of content that reached the child, by the hour of its own clock.
        var received: [Int64: Int64] = [:]
        /// And by blob.
        var blobs: [String: Int64] = [:]
        /// Parts that were damaged, by blob: such content may come once more.
        var damaged: [String: Int] = [:]
    }

    private static let partSize = 16_384
    private static let window = try? SyncWindow(
        schedule: CronSchedule(parsing: Scenario.Member.schedule), duration: ISODuration(parsing: Scenario.Member.window))
    let child: Machine
    private let parent: Machine
    private let scheduler: Scheduler
    private let state: Mutex<State>

    init(_ child: Machine, to parent: Machine, _ luck: Scenario.Luck, _ scheduler: Scheduler) {
        self.child = child
        self.parent = parent
        self.scheduler = scheduler
        self.state = Mutex(State(luck: luck))
    }

    func setTrust(_ trust: TrustPolicy) {}
    func setUp(_ isUp: Bool) {
        self.scheduler.note("link of \(self.child.name) \(isUp ? "up" : "down")")
        self.state.withLock { $0.isUp = isUp }
    }

    /// From here on nothing goes wrong.
    func heal() {
        self.state.withLock { state in
            state.luck = Scenario.Luck()
            state.isUp = true
        }
    }

    private var isUp: Bool { self.state.withLock { $0.isUp } }
    private var luck: Scenario.Luck { self.state.withLock { $0.luck } }
    var received: [Int64: Int64] { self.state.withLock { $0.received } }
    var blobs: [String: Int64] { self.state.withLock { $0.blobs } }
    var damaged: [String: Int] { self.state.withLock { $0.damaged } }

    private func lag() async throws {
        let lag = self.luck.lag
        try await self.scheduler.sleep(milliseconds: self.scheduler.random(below: lag) + 1)
    }

    func send(_ request: ClientRequest) async throws -> ClientResponse {
        let luck = self.luck
        try await self.lag()
        guard self.isUp, let server = self.parent.running else { throw TransportError(.unreachable, "the link is down") }
        if self.scheduler.chance(luck.lost) {
            try await self.scheduler.sleep(milliseconds: 5000)
            throw TransportError(.timeout, "no answer has come")
        }
        var headers = HTTPFields()
        for (name, value) in request.headers { if let name = HTTPField.Name(name) { headers.append(HTTPField(name: name, value: value)) } }
        headers[.contentLength] = String(request.body.count)
        // What is on its way up may arrive in part.
        let isBroken = !request.body.isEmpty && request.target.contains("/blobs/uploads/") && self.scheduler.chance(luck.cut)
        let passed = isBroken ? self.scheduler.random(below: request.body.count) : request.body.count
        let body: RequestBody =
            isBroken
            ? .init(asyncSequence: Parts(passed > 0 ? [Array(request.body.prefix(passed))] : [], breaks: true))
            : .init(buffer: ByteBuffer(bytes: request.body))
        let response = await server.respond(.init(rawValue: request.method) ?? .get, request.target, headers, body)
        try Task.checkCancellation()
        self.scheduler.note(
            "\(self.child.name) \(request.method) \(Self.traced(request.target)) \(response?.status.code ?? 0)")
        try await self.lag()
        guard let response, !isBroken, self.isUp, !self.scheduler.chance(luck.answerLost) else {
            throw TransportError(.interrupted, "the link was cut")
        }
        let isParcel = request.target.hasSuffix("/parcel")
        let isContent = response.status.code < 300 && (request.method == "GET" && request.target.hasPrefix("/v2/") || isParcel)
        let blob = request.target.contains("/blobs/") ? request.target.split(separator: "/").last.map(String.init) : nil
        var source = Body(link: self, server: server, reader: nil, bytes: ByteBuffer(), range: 0..<0, isContent: isContent, blob: blob)
        if isParcel, isContent, case .bytes(let buffer) = response.body {
            source.parcel = ParcelMap(answer: Array(buffer.readableBytesView), to: request.body)
        }
        switch response.body {
        case .none, .announced: break
        case .bytes(let buffer):
            if request.method != "HEAD" {
                source.bytes = buffer
                source.range = 0..<Int64(buffer.readableBytes)
            }
        case .blob(let reader, let range):
            source.reader = reader
            source.range = range
        case .pieces: throw TransportError(.interrupted, "the answer has several parts")
        }
        var fields = response.headers.map { ($0.name.rawName, $0.value) }
        if request.method == "HEAD" { fields.append(("Content-Length", String(response.contentLength))) }
        return ClientResponse(status: response.status.code, headers: fields, body: ClientResponseBody(source))
    }

    /// Without what differs from run to run: identities of logs and uploads, and tags of settings, which speak of instances and passwords.
    private static func traced(_ target: String) -> String {
        if let instance = target.firstRange(of: "?instance=") { return String(target[..<instance.lowerBound]) }
        let target = target.firstRange(of: "&settings=").map { String(target[..<$0.lowerBound]) } ?? target
        if let uploads = target.firstRange(of: "/uploads/") { return String(target[..<uploads.upperBound]) }
        guard let log = target.firstRange(of: "log=") else { return target }
        return target[..<log.lowerBound] + (target[log.upperBound...].firstIndex(of: "&").map { String(target[$0...]) } ?? "")
    }

    fileprivate func count(_ bytes: Int, of blob: String?, isDamaged: Bool) {
        let hour = self.child.clock.milliseconds / 3_600_000
        // What was on its way when the window closed may arrive for a moment.
        if self.child.member?.hasWindow == true, let window = Self.window {
            let now = Int(self.child.clock.milliseconds / 1000)
            if !window.isOpen(at: now), !window.isOpen(at: now - 15) {
                self.scheduler.fail("\(bytes) bytes of content came to \(self.child.name) outside of its window")
            }
        }
        self.state.withLock { state in
            state.received[hour, default: 0] += Int64(bytes)
            guard let blob else { return }
            state.blobs[blob, default: 0] += Int64(bytes)
            if isDamaged { state.damaged[blob, default: 0] += 1 }
        }
    }

    private struct Body: AsyncSequence, Sendable {
        typealias Element = ByteBuffer
        let link: Link
        let server: Incarnation
        var reader: (any BlobReader)?
        var bytes: ByteBuffer
        var range: Range<Int64>
        let isContent: Bool
        let blob: String?
        /// What is in it, where it is a parcel.
        var parcel: ParcelMap?

        struct AsyncIterator: AsyncIteratorProtocol {
            let body: Body
            var offset: Int64
            var isDamaged = false

            mutating func next() async throws -> ByteBuffer? {
                guard self.offset < self.body.range.upperBound else { return nil }
                let link = self.body.link
                let luck = link.luck
                if self.body.reader != nil, link.scheduler.chance(300) { try await link.lag() }
                guard link.isUp, self.body.server.lane.isAlive, !link.scheduler.chance(luck.cut) else {
                    throw TransportError(.interrupted, "the link was cut")
                }
                let count = Int(Swift.min(Int64(Link.partSize), self.body.range.upperBound - self.offset))
                var part: ByteBuffer
                if let reader = self.body.reader {
                    part = try await reader.read(at: self.offset, count: count)
                } else {
                    part = self.body.bytes.getSlice(at: Int(self.offset), length: count) ?? ByteBuffer()
                }
                let isDamaged = self.body.isContent && link.scheduler.chance(luck.damaged)
                if isDamaged {
                    var bytes = Array(part.readableBytesView)
                    bytes[link.scheduler.random(below: bytes.count)] ^= 0x20
                    part = ByteBuffer(bytes: bytes)
                }
                self.offset += Int64(count)
                if let parcel = self.body.parcel {
                    // Behind what is damaged nothing may be found at its place.
                    self.isDamaged = self.isDamaged || isDamaged
                    let place = Int(self.offset) - count..<Int(self.offset)
                    for blob in parcel.blobs where blob.range.overlaps(place) {
                        link.count(blob.range.clamped(to: place).count, of: "\(blob.digest)", isDamaged: self.isDamaged)
                    }
                    for manifest in parcel.manifests where manifest.overlaps(place) {
                        link.count(manifest.clamped(to: place).count, of: nil, isDamaged: false)
                    }
                } else if self.body.isContent {
                    link.count(count, of: self.body.blob, isDamaged: isDamaged)
                }
                return part
            }
        }

        func makeAsyncIterator() -> AsyncIterator { AsyncIterator(body: self, offset: self.range.lowerBound) }
    }
}
