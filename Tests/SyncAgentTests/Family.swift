// A parent and its child in this process, joined by a transport that can be cut at any byte.

import DistributionAPI
import Gateway
import GatewayProtocol
import HTTPServing
import HTTPTypes
import HummingbirdCore
import Identity
import Logging
import NIOCore
import OCI
import Persistence
import RegistryCore
import Synchronization
import TestSupport
import Testing

@testable import RegistryClient
@testable import SyncAgent

/// Carries requests to handlers in this process.
final class LoopbackTransport: TrustingTransport {
    struct Request: Sendable, Equatable {
        let method: String
        let target: String
        let range: String?
        var isBlob: Bool { self.target.contains("/blobs/") }
    }

    private struct Hold {
        let gate: Gate
        let reached: Gate
        /// `nil` for the first blob of all.
        let digest: Digest?
        let offset: Int64
        let endsWhenCancelled: Bool
    }

    private struct State {
        var isOnline = true
        /// Blob bytes that still pass before the link is cut.
        var budget: Int?
        /// What happens once so many bytes of blobs have passed.
        var milestone: (bytes: Int, action: @Sendable () -> Void)?
        var requests: [Request] = []
        var blobBytes = 0
        /// Sizes of the answers that are no blobs.
        var bodies: [(target: String, bytes: Int)] = []
        var holds: [Hold] = []
        /// Bytes of blobs on their way up that still pass before the link is cut.
        var upwardBudget: Int?
        var upwardBytes = 0
        /// Requests that still pass, and whether the next one is lost or only its answer.
        var fault: (requests: Int, losesAnswer: Bool)?
        /// Calls that the parent does not know, as an older one would not.
        var unknown: Set<String> = []
        /// The largest body that the parent takes of a call, as one with other limits would.
        var largest: [String: Int] = [:]
    }

    static let partSize = 10_000
    private let target: Mutex<DataPlane>
    private let state = Mutex(State())

    init(_ server: DataPlane) { self.target = Mutex(server) }

    private var server: DataPlane { self.target.withLock { $0 } }
    /// From here on another process answers.
    func redirect(to server: DataPlane) { self.target.withLock { $0 = server } }

    func setTrust(_ trust: TrustPolicy) {}

    var requests: [Request] { self.state.withLock { $0.requests } }
    /// Bytes of blobs that reached the child.
    var blobBytes: Int { self.state.withLock { $0.blobBytes } }
    /// Bytes of blobs that reached the parent.
    var upwardBytes: Int { self.state.withLock { $0.upwardBytes } }
    var isOnline: Bool { self.state.withLock { $0.isOnline } }

    /// Bytes of all answers that are no blobs.
    var bodyBytes: Int { self.bytes { _ in true } }
    /// Bytes of the answers to some requests, blobs excepted.
    func bytes(_ isCounted: (String) -> Bool) -> Int {
        self.state.withLock { $0.bodies }.reduce(0) { $0 + (isCounted($1.target) ? $1.bytes : 0) }
    }

    func setOnline(_ isOnline: Bool) { self.state.withLock { $0.isOnline = isOnline } }
    /// Cuts the link in the middle of a blob, after this many bytes of blobs from now on.
    func cut(afterBlobBytes count: Int) { self.state.withLock { $0.budget = count } }
    /// Cuts the link in the middle of a chunk on its way up, after this many bytes from now on.
    func cut(afterUpwardBytes count: Int) { self.state.withLock { $0.upwardBudget = count } }
    /// Cuts the link at a request, before it arrives or before its answer does.
    func cut(afterRequests count: Int, losesAnswer: Bool) { self.state.withLock { $0.fault = (count, losesAnswer) } }
    /// Forgets cuts that are still to come, and is online.
    func heal() {
        self.state.withLock { state in
            (state.fault, state.budget, state.upwardBudget) = (nil, nil, nil)
            state.isOnline = true
        }
    }
    /// Does something once so many bytes of blobs have passed, before the next ones do.
    func when(blobBytes count: Int, _ action: @escaping @Sendable () -> Void) { self.state.withLock { $0.milestone = (count, action) } }
    /// Holds a blob's body, once so many of its bytes have passed, until `gate` is opened; `reached` tells that it waits.
    ///
    /// - Parameters:
    ///   - digest: of the blob; `nil` for the first that comes.
    ///   - endsWhenCancelled: whether one who gives up does not wait for the gate: it is opened then.
    func hold(_ gate: Gate, reached: Gate, of digest: Digest? = nil, at offset: Int64 = 0, endsWhenCancelled: Bool = false) {
        let hold = Hold(gate: gate, reached: reached, digest: digest, offset: offset, endsWhenCancelled: endsWhenCancelled)
        self.state.withLock { $0.holds.append(hold) }
    }
    /// From here on the parent is one that does not know some calls.
    func makeUnknown(_ calls: Set<String>) { self.state.withLock { $0.unknown = calls } }
    /// From here on the parent takes no larger body of a call.
    func limit(_ call: String, to bytes: Int) { self.state.withLock { $0.largest[call] = bytes } }
    func forget() { self.state.withLock { $0.requests = [] } }

    /// Takes what may pass of `count` blob bytes, and whether the link is cut behind them.
    fileprivate func pass(_ count: Int) -> (count: Int, isCut: Bool) {
        self.state.withLock { state in
            guard state.isOnline else { return (0, true) }
            let passed = min(count, state.budget ?? count)
            state.blobBytes += passed
            if let milestone = state.milestone, state.blobBytes >= milestone.bytes {
                milestone.action()
                state.milestone = nil
            }
            if let budget = state.budget {
                state.budget = budget - passed
                if budget == passed { (state.isOnline, state.budget) = (false, nil) }
            }
            return (passed, !state.isOnline)
        }
    }

    fileprivate func takeGate(_ target: String, _ offset: Int64) -> (Gate, reached: Gate, endsWhenCancelled: Bool)? {
        self.state.withLock { state in
            let found = state.holds.firstIndex { hold in
                offset >= hold.offset && hold.digest.map { target.hasSuffix("/\($0)") } ?? true
            }
            guard let hold = found.map({ state.holds.remove(at: $0) }) else { return nil }
            return (hold.gate, hold.reached, hold.endsWhenCancelled)
        }
    }

    func send(_ request: ClientRequest) async throws -> ClientResponse {
        var request = request
        let (unknown, largest) = self.state.withLock { ($0.unknown, $0.largest) }
        if let call = request.target.split(separator: "/").last, let limit = largest[String(call)], request.body.count > limit {
            self.state.withLock { $0.requests.append(Request(method: request.method, target: request.target, range: nil)) }
            return ClientResponse(
                status: 413, headers: [],
                body: ClientResponseBody(Body(reader: nil, bytes: ByteBuffer(), range: 0..<0, meter: nil, target: request.target)))
        }
        if request.method == "POST", let call = request.target.split(separator: "/").last, unknown.contains(String(call)) {
            request.target += "-of-tomorrow"
        }
        return try await self.carry(request)
    }

    private func carry(_ request: ClientRequest) async throws -> ClientResponse {
        let range = request.headers.first { $0.name == "Range" }?.value
        var losesAnswer = false
        let isOnline = self.state.withLock { state in
            state.requests.append(Request(method: request.method, target: request.target, range: range))
            guard state.isOnline else { return false }
            guard let fault = state.fault else { return true }
            state.fault = fault.requests > 0 ? (fault.requests - 1, fault.losesAnswer) : nil
            if fault.requests == 0 { (state.isOnline, losesAnswer) = (false, fault.losesAnswer) }
            return fault.requests > 0 || fault.losesAnswer
        }
        guard isOnline else { throw TransportError(.unreachable, "the link is cut") }
        let upward = request.target.contains("/blobs/uploads/") ? self.passUpward(request.body.count) : request.body.count
        let isBroken = upward < request.body.count
        var headers = HTTPFields()
        for (name, value) in request.headers { if let name = HTTPField.Name(name) { headers.append(HTTPField(name: name, value: value)) } }
        headers[.contentLength] = String(request.body.count)
        let requestBody: RequestBody =
            isBroken
            ? .init(asyncSequence: Parts(upward > 0 ? [Array(request.body.prefix(upward))] : [], breaks: true))
            : .init(buffer: ByteBuffer(bytes: request.body))
        let method = HTTPRequest.Method(rawValue: request.method) ?? .get
        let fields = headers
        let ask: @Sendable () async -> ServerResponse? = {
            try? await self.server.respond(
                method, request.target, headers: fields, body: requestBody, host: request.endpoint.authority,
                isSecure: request.endpoint.isSecure)
        }
        // A client that goes away does not take the server's writing with it; a poll that nobody waits for ends.
        let response = request.body.isEmpty ? await ask() : await Task(operation: ask).value
        try Task.checkCancellation()
        guard let response, self.isOnline, !losesAnswer, !isBroken else {
            throw TransportError(.interrupted, "the link is cut")
        }
        let isBlob = request.target.contains("/blobs/") && response.status.code < 300
        let body: Body =
            switch response.body {
            case .none, .announced: Body(reader: nil, bytes: ByteBuffer(), range: 0..<0, meter: nil, target: request.target)
            case .bytes where request.method == "HEAD":
                Body(reader: nil, bytes: ByteBuffer(), range: 0..<0, meter: nil, target: request.target)
            case .bytes(let buffer) where request.target.hasSuffix("/parcel") && response.status.code < 300:
                self.parcel(buffer, request)
            case .bytes(let buffer):
                self.counted(buffer, request.target, Body(reader: nil, bytes: buffer, range: 0..<0, meter: nil, target: request.target))
            case .blob(let reader, let range):
                Body(reader: reader, bytes: ByteBuffer(), range: range, meter: isBlob ? self : nil, target: request.target)
            // Sites ask for one range at a time.
            case .pieces: throw TransportError(.interrupted, "the answer has several parts")
            }
        return ClientResponse(
            status: response.status.code, headers: response.headers.map { ($0.name.rawName, $0.value) } + Self.length(request, response),
            body: ClientResponseBody(body))
    }

    /// What the listener writes for answers to HEAD.
    private static func length(_ request: ClientRequest, _ response: ServerResponse) -> [(String, String)] {
        request.method == "HEAD" ? [("Content-Length", String(response.contentLength))] : []
    }

    private func passUpward(_ count: Int) -> Int {
        self.state.withLock { state in
            let passed = min(count, state.upwardBudget ?? count)
            state.upwardBytes += passed
            if let budget = state.upwardBudget {
                state.upwardBudget = budget - passed
                if budget == passed { (state.isOnline, state.upwardBudget) = (false, nil) }
            }
            return passed
        }
    }

    private func counted(_ buffer: ByteBuffer, _ target: String, _ body: Body) -> Body {
        self.state.withLock { $0.bodies.append((target, buffer.readableBytes)) }
        return body
    }

    /// A parcel: what is a blob in it counts as one.
    private func parcel(_ buffer: ByteBuffer, _ request: ClientRequest) -> Body {
        let map = ParcelMap(answer: Array(buffer.readableBytesView), to: request.body)
        let (blobs, manifests) = (map.blobs, map.manifests.reduce(0) { $0 + $1.count })
        let other = buffer.readableBytes - blobs.reduce(0) { $0 + $1.range.count } - manifests
        // As if the manifests had been asked for one by one.
        self.state.withLock { $0.bodies += [(request.target, other), ("/v2/manifests/", manifests)] }
        return Body(
            reader: MemoryReader(bytes: buffer), bytes: ByteBuffer(), range: 0..<Int64(buffer.readableBytes), meter: self,
            target: request.target, blobs: blobs)
    }

    private struct MemoryReader: BlobReader {
        let bytes: ByteBuffer?
        var size: Int64 { Int64(self.bytes?.readableBytes ?? 0) }
        var file: File? { nil }
        func read(at offset: Int64, count: Int) async throws -> ByteBuffer {
            self.bytes?.getSlice(at: Int(offset), length: count) ?? ByteBuffer()
        }
    }

    /// A body in small parts.
    private struct Body: AsyncSequence, Sendable {
        typealias Element = ByteBuffer
        let reader: (any BlobReader)?
        let bytes: ByteBuffer
        let range: Range<Int64>
        let meter: LoopbackTransport?
        let target: String
        /// Where blobs are in it; `nil` when all of it is one.
        var blobs: [ParcelMap.Blob]?

        /// The stretch from a byte on that is of one kind: its end, and the blob it belongs to.
        func stretch(from offset: Int64) -> (end: Int64, target: String?, begin: Int64) {
            guard let blobs else { return (self.range.upperBound, self.target, 0) }
            if let blob = blobs.first(where: { $0.range.contains(Int(offset)) }) {
                return (Int64(blob.range.upperBound), "/\(blob.digest)", Int64(blob.range.lowerBound))
            }
            let next = blobs.map { Int64($0.range.lowerBound) }.first { $0 > offset }
            return (next ?? self.range.upperBound, nil, 0)
        }

        struct AsyncIterator: AsyncIteratorProtocol {
            let body: Body
            var offset: Int64
            var isOver = false
            /// A connection that was cut stays cut, however soon the link is back.
            var isCut = false

            mutating func next() async throws -> ByteBuffer? {
                guard let reader = body.reader else {
                    defer { self.isOver = true }
                    return self.isOver || self.body.bytes.readableBytes == 0 ? nil : self.body.bytes
                }
                let (end, target, begin) = self.body.stretch(from: self.offset)
                if let target, let (gate, reached, ends) = self.body.meter?.takeGate(target, self.offset - begin) {
                    reached.open()
                    await withTaskCancellationHandler {
                        await gate.wait()
                    } onCancel: {
                        if ends { gate.open() }
                    }
                    if ends { try Task.checkCancellation() }
                }
                guard self.offset < self.body.range.upperBound else { return nil }
                let wanted = Int(Swift.min(Int64(LoopbackTransport.partSize), end - self.offset))
                if target == nil {
                    guard !self.isCut, self.body.meter?.isOnline != false else { throw TransportError(.interrupted, "the link is cut") }
                    defer { self.offset += Int64(wanted) }
                    return try await reader.read(at: self.offset, count: wanted)
                }
                // A server that cannot read on ends the connection.
                guard var part = try? await reader.read(at: self.offset, count: wanted) else {
                    throw TransportError(.interrupted, "the parent closed the connection")
                }
                // What is counted is what reaches the child.
                let (passed, isCut) = self.isCut ? (0, true) : self.body.meter?.pass(wanted) ?? (wanted, false)
                self.isCut = isCut
                guard passed > 0 else { throw TransportError(.interrupted, "the link is cut") }
                self.offset += Int64(passed)
                return part.readSlice(length: passed)
            }
        }

        func makeAsyncIterator() -> AsyncIterator { AsyncIterator(body: self, offset: self.range.lowerBound) }
    }
}

/// A parent with one connected registry, and what the connected registry is made of.
final class Family: Sendable {
    let name: String
    let parent: DataPlane
    let child: Site
    let transport: LoopbackTransport
    let connection: ConnectionString

    /// - Parameter parent: one that has other children already.
    init(
        of parent: DataPlane? = nil, name: String = "site1", mode: ConnectedRegistryMode = .readOnly, repositories: [String] = ["*"],
        clientTokens: [String] = [], schedule: String = "* * * * *", window: String? = nil, budget: ByteBudget? = nil,
        priorities: [String]? = nil
    ) async throws {
        self.name = name
        if let parent { self.parent = parent } else { self.parent = try await DataPlane(Site()) }
        for token in clientTokens { _ = try await self.parent.client(token) }
        let password = try await self.parent.connectedRegistry(
            name, repositories: repositories, mode: mode, clientTokens: clientTokens, schedule: schedule, window: window)
        if budget != nil || priorities != nil {
            try await self.parent.configure(
                name, mode: mode, clientTokens: clientTokens, schedule: schedule, window: window, budget: budget, priorities: priorities)
        }
        self.child = try await Site(clock: self.parent.site.clock)
        self.transport = LoopbackTransport(self.parent)
        self.connection = try ConnectionString(
            parsing: ConnectionStringTests.text(
                name: name, token: "\(name)-sync", password: password, endpoint: "harbour.test", scheme: "http"))
    }

    func memory(_ site: Site? = nil) async throws -> SyncMemoryStore {
        try await SyncMemoryStore(database: (site ?? self.child).database, connection: self.connection)
    }

    func agent(_ site: Site? = nil, memory: SyncMemoryStore? = nil) async throws -> SyncAgent {
        let site = site ?? self.child
        let transport = self.transport
        var memory = memory
        if memory == nil { memory = try await self.memory(site) }
        return SyncAgent(
            connection: self.connection, memory: try #require(memory), store: site.store, identities: site.identities,
            registry: site.registry, folder: site.folder,
            transport: transport, makeUntrusted: { transport }, version: "test", loginServer: "child.test",
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, clock: site.clock.wall)
    }

    /// Runs the child's agent while `body` looks on.
    func following(_ agent: SyncAgent? = nil, _ body: @Sendable @escaping () async throws -> Void) async throws {
        var agent = agent
        if agent == nil { agent = try await self.agent() }
        let running = try #require(agent)
        let task = Task { _ = await running.run() }
        do {
            try await body()
        } catch {
            task.cancel()
            await task.value
            throw error
        }
        task.cancel()
        await task.value
    }

    /// Waits for the child's content to meet a condition, woken by each change of it.
    func until(_ condition: @Sendable () async throws -> Bool) async throws -> Bool {
        let deadline = ContinuousClock.now + .seconds(600)
        while true {
            let seen = self.child.activity.count
            if try await condition() { return true }
            guard ContinuousClock.now < deadline else { return false }
            await self.child.activity.wait(beyond: seen, atMost: .seconds(1))
        }
    }

    func childHas(_ tag: OCI.Tag, at content: Content?, in name: RepositoryName) async throws -> Bool {
        try await self.child.store.resolve(tag, in: name, of: self.child.registry) == content?.digest
    }

    /// Whether an image can be pulled whole from the child.
    func isWhole(_ image: TestImage, in name: RepositoryName) async throws -> Bool {
        let manifest = try await self.child.store.manifest(.digest(image.manifest.digest), in: name, of: self.child.registry)
        guard manifest.bytes == image.manifest.bytes else { return false }
        for content in image.blobs {
            let stored = try await self.child.store.blob(content.digest, in: name, of: self.child.registry)
            let reader = try await self.child.store.open(stored)
            guard Array(try await reader.read(at: 0, count: content.bytes.count).readableBytesView) == content.bytes else { return false }
        }
        return true
    }

    /// What a tag names at the parent.
    func atParent(_ tag: OCI.Tag, in name: RepositoryName) async throws -> Digest? {
        try await self.parent.site.store.resolve(tag, in: name, of: self.parent.site.registry)
    }

    func atChild(_ tag: OCI.Tag, in name: RepositoryName) async throws -> Digest? {
        try await self.child.store.resolve(tag, in: name, of: self.child.registry)
    }

    /// Lets the child take its settings and compare once.
    func introduce() async throws {
        let memory = try await self.memory()
        try await self.following(self.agent(memory: memory)) { () async throws in
            #expect(try await eventually { await memory.memory.cursor != nil })
        }
    }

    var unsent: Int64 { get async throws { try await self.child.store.outboxCount(of: self.child.registry).pending } }

    var parentState: ConnectedRegistry? {
        get async throws { try await self.parent.connectedRegistries.find(self.name, in: self.parent.site.registry) }
    }
}
