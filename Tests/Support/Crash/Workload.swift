// What clients, operators and a parent do to a server while every call is logged: the real stores under a seeded script.

internal import Identity
package import OCI
internal import Persistence
internal import RegistryCore
package import TestSupport

/// One run of a script and what it promised.
package final class Workload {
    /// The clock's beginning; later files have the time of the machine, so the clock begins there too.
    package let clock: TestClock
    package let journal: CrashJournal
    package let oracle: Oracle
    /// Everything that was ever sent, to send again.
    package private(set) var contents: [Digest: Content] = [:]
    /// Refusals that came without a sentence.
    package private(set) var unexplained: [String] = []
    /// Operations that failed; only where faults are planned.
    package private(set) var refusals = 0
    package private(set) var layers: Layers?

    private let path: String
    private let isTolerant: Bool
    private let directFrom: Int64
    private var generator: SeededGenerator
    private var images: [Image] = []
    private var passwords: [(token: String, password: String)] = []
    private var number = 0

    /// A manifest that is in a repository.
    private struct Image {
        let repository: RepositoryName
        let manifest: Content
        let blobs: [Content]
        let children: [Digest]
        let subject: Digest?
        var tags: Set<Tag>
    }

    private static let repositories = ["app", "team/base", "team/tools/small"].map { repository($0) }
    private static let mirror = repository("mirror/app")

    /// - Parameters:
    ///   - isTolerant: whether operations may fail; what fails promises nothing.
    ///   - directFrom: bytes from which on content is written around the page cache.
    package init(
        _ path: String, seed: UInt64, now: Int64, mutation: SyncSite? = nil, isTolerant: Bool = false, directFrom: Int64 = 8 << 20
    ) throws {
        try FileSystem.createFolder(path)
        let journal = CrashJournal(path, mutation: mutation)
        self.path = path
        self.journal = journal
        self.clock = TestClock(milliseconds: now)
        self.oracle = Oracle { journal.position }
        self.isTolerant = isTolerant
        self.directFrom = directFrom
        self.generator = SeededGenerator(seed: seed)
    }

    /// The instant the script began at: signed tokens are valid then.
    package var start: Int64 = 0

    package func run(steps: Int) async throws {
        self.start = self.clock.milliseconds
        // Every other script begins with a process that is killed while it makes the folder.
        if !self.isTolerant, Bool.random(using: &self.generator) { try await self.dieAtStart() }
        try await self.tolerate { try await self.open() }
        try await self.tolerate { try await self.setUp() }
        for _ in 0..<steps { try await self.tolerate { try await self.step() } }
    }

    package func close() async {
        await self.layers?.close()
        self.layers = nil
    }

    package func end() async {
        await self.close()
        self.journal.end()
    }

    // MARK: Failing

    private func tolerate(_ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch {
            guard self.isTolerant else { throw error }
            self.refusals += 1
            let sentence: String
            switch error {
            case let error as PersistenceError: sentence = error.description
            case let error as RegistryError: sentence = error.message
            case let error as IdentityError: sentence = error.message
            default: sentence = ""
            }
            if sentence.split(separator: " ").count < 4 { self.unexplained.append("\(type(of: error)): \(error)") }
        }
    }

    private func open() async throws {
        self.layers = try await Layers(self.path, clock: self.clock, tokenTime: self.start, directFrom: self.directFrom)
    }

    private func opened() async throws -> Layers {
        if self.layers == nil { try await self.open() }
        guard let layers else { throw PersistenceError(.io, tried: "open the data folder", cause: "it cannot be opened") }
        return layers
    }

    private func setUp() async throws {
        let layers = try await self.opened()
        try await layers.identities.createSystemScopeMaps(in: layers.registry)
        let token = try await layers.tokens.issue(.registryRefresh, subject: .token("reader"), audience: "registry/harbour").token
        self.oracle.observe(.signed(token), .present, since: 0)
    }

    // MARK: Steps

    private func step() async throws {
        let name = Self.repositories[Int.random(in: 0..<Self.repositories.count, using: &self.generator)]
        let kind = Int.random(in: 0..<100, using: &self.generator)
        // These give the folder up: nobody may hold it meanwhile.
        if kind >= 94 { return try await self.die() }
        if kind >= 87 { return try await self.restart() }
        let layers = try await self.opened()
        switch kind {
        case 0..<26: try await self.pushImage(to: name, layers)
        case 26..<32: try await self.pushIndex(to: name, layers)
        case 32..<37: try await self.pushReferrer(layers)
        case 37..<42: try await self.mount(into: name, layers)
        case 42..<49: try await self.deleteTag(layers)
        case 49..<56: try await self.deleteManifest(layers)
        case 56..<60: try await self.retag(layers)
        case 60..<64: try await self.abandonUpload(in: name, layers)
        case 64..<70: try await self.collect(layers)
        case 70..<75: try await self.makeToken(layers)
        case 75..<77: try await self.deleteToken(layers)
        case 77..<84: try await self.replicate(layers)
        default: try await self.retract(layers)
        }
    }

    private func content(largest: Int) -> Content {
        let size =
            switch Int.random(in: 0..<8, using: &self.generator) {
            case 0: 0
            case 1: Int.random(in: 1...600, using: &self.generator)
            case 2: largest
            default: Int.random(in: 600...9000, using: &self.generator)
            }
        return self.remember(Content(self.generator.bytes(size), .layer))
    }

    private func remember(_ content: Content) -> Content {
        self.contents[content.digest] = content
        return content
    }

    private func freshName() -> String {
        self.number += 1
        return "n\(self.number)"
    }

    private func pushBlob(_ content: Content, to name: RepositoryName, _ layers: Layers) async throws {
        let parts = Int.random(in: 1...3, using: &self.generator)
        try await self.oracle.attempt([(.blob(name, content.digest), .present)]) { try await layers.push(content, to: name, parts: parts) }
    }

    private func put(
        _ manifest: Content, tag: Tag?, to name: RepositoryName, blobs: [Content], children: [Digest] = [], subject: Digest? = nil,
        _ layers: Layers
    ) async throws {
        var facts: [(Fact, Truth?)] = [(.manifest(name, manifest.digest), .present)]
        if let tag { facts.append((.tag(name, tag), .names(manifest.digest))) }
        try await self.oracle.attempt(facts) { try await layers.put(manifest, tags: tag.map { [$0] } ?? [], to: name) }
        self.record(manifest, tag: tag, in: name, blobs: blobs, children: children, subject: subject)
    }

    private func record(
        _ manifest: Content, tag: Tag?, in name: RepositoryName, blobs: [Content], children: [Digest], subject: Digest?
    ) {
        if let tag {
            for index in self.images.indices where self.images[index].repository == name { self.images[index].tags.remove(tag) }
        }
        if let index = self.images.firstIndex(where: { $0.repository == name && $0.manifest.digest == manifest.digest }) {
            if let tag { self.images[index].tags.insert(tag) }
        } else {
            self.images.append(
                Image(
                    repository: name, manifest: manifest, blobs: blobs, children: children, subject: subject, tags: tag.map { [$0] } ?? []))
        }
    }

    private func makeImage(subject: Content? = nil) -> TestImage {
        let largest = self.directFrom == 0 ? (1 << 20) + 700 : 40_000
        var layers = (0..<Int.random(in: 1...2, using: &self.generator)).map { _ in self.content(largest: largest) }
        // Now and then a layer that is here already.
        if Bool.random(using: &self.generator), let known = self.images.last?.blobs.last { layers.append(known) }
        let image = TestImage(self.freshName(), layers: layers, subject: subject, artifactType: subject == nil ? nil : "application/x-sig")
        _ = self.remember(image.config)
        return image
    }

    private func pushImage(to name: RepositoryName, _ layers: Layers) async throws {
        let image = self.makeImage()
        if Int.random(in: 0..<3, using: &self.generator) == 0 {
            // Clients push the layers of one image at the same time; their commits share transactions.
            try await withThrowingTaskGroup(of: Void.self) { group in
                let oracle = self.oracle
                for blob in image.blobs {
                    group.addTask {
                        try await oracle.attempt([(.blob(name, blob.digest), .present)]) { try await layers.push(blob, to: name) }
                    }
                }
                try await group.waitForAll()
            }
        } else {
            for blob in image.blobs { try await self.pushBlob(blob, to: name, layers) }
        }
        let tag = Int.random(in: 0..<4, using: &self.generator) == 0 ? nil : tag("v\(Int.random(in: 1...3, using: &self.generator))")
        try await self.put(image.manifest, tag: tag, to: name, blobs: image.blobs, layers)
    }

    private func pushIndex(to name: RepositoryName, _ layers: Layers) async throws {
        let children = self.images.filter { $0.repository == name && !$0.blobs.isEmpty }.suffix(2)
        guard !children.isEmpty else { return }
        let index = Fixture.index(children.map(\.manifest.descriptor))
        try await self.put(index, tag: tag("multi"), to: name, blobs: [], children: children.map(\.manifest.digest), layers)
    }

    private func pushReferrer(_ layers: Layers) async throws {
        guard let subject = self.images.last else { return }
        let image = self.makeImage(subject: subject.manifest)
        for blob in image.blobs { try await self.pushBlob(blob, to: subject.repository, layers) }
        try await self.put(
            image.manifest, tag: nil, to: subject.repository, blobs: image.blobs, subject: subject.manifest.digest, layers)
    }

    private func mount(into name: RepositoryName, _ layers: Layers) async throws {
        guard let source = self.images.last(where: { $0.repository != name && !$0.blobs.isEmpty }), let blob = source.blobs.first else {
            return
        }
        try await self.oracle.attempt([(.blob(name, blob.digest), .present)]) {
            let isThere = try await layers.store.mount(blob.digest, from: [source.repository], into: name, of: layers.registry)
            guard isThere else {
                throw RegistryError(.blobUnknown, "blob \(blob.digest) of \(source.repository) was acknowledged and is not there to mount")
            }
        }
    }

    private func deleteTag(_ layers: Layers) async throws {
        guard let index = self.images.indices.first(where: { !self.images[$0].tags.isEmpty }),
            let tag = self.images[index].tags.min(by: { $0.description < $1.description })
        else { return }
        let name = self.images[index].repository
        try await self.oracle.attempt([(.tag(name, tag), .absent)]) {
            try await layers.store.delete(tag, from: name, of: layers.registry, origin: "test")
        }
        self.images[index].tags.remove(tag)
    }

    private func deleteManifest(_ layers: Layers) async throws {
        guard !self.images.isEmpty else { return }
        let index = Int.random(in: 0..<self.images.count, using: &self.generator)
        let image = self.images[index]
        var facts: [(Fact, Truth?)] = [(.manifest(image.repository, image.manifest.digest), .absent)]
        facts += image.tags.map { (.tag(image.repository, $0), .absent) }
        try await self.oracle.attempt(facts) {
            try await layers.store.delete(image.manifest.digest, from: image.repository, of: layers.registry, origin: "test")
        }
        self.images.remove(at: index)
        let needed = Set(self.images.filter { $0.repository == image.repository }.flatMap { $0.blobs.map(\.digest) })
        if let blob = image.blobs.last, !needed.contains(blob.digest) {
            try await self.oracle.attempt([(.blob(image.repository, blob.digest), .absent)]) {
                try await layers.store.deleteBlob(blob.digest, from: image.repository, of: layers.registry)
            }
        }
    }

    private func retag(_ layers: Layers) async throws {
        guard let image = self.images.first else { return }
        try await self.put(
            image.manifest, tag: tag("stable"), to: image.repository, blobs: image.blobs, children: image.children, subject: image.subject,
            layers)
    }

    private func abandonUpload(in name: RepositoryName, _ layers: Layers) async throws {
        let id = try await layers.uploads.begin(in: name, of: layers.registry)
        let bytes = self.generator.bytes(3000)
        _ = try await layers.uploads.append(Parts([bytes]), range: nil, length: 3000, to: id, in: name, of: layers.registry)
        if Bool.random(using: &self.generator) { try await layers.uploads.cancel(id, in: name, of: layers.registry) }
    }

    private func makeToken(_ layers: Layers) async throws {
        let token = "client-\(self.freshName())"
        let begin = self.journal.position
        try await layers.identities.putToken(token, scopeMap: "_repositories_pull", isEnabled: true, in: layers.registry)
        let made = try await layers.identities.generatePasswords([.password1], expiry: nil, token: token, in: layers.registry)
        guard let password = made.values[.password1] else { return }
        self.oracle.observe(.password(token: token, password: password), .present, since: begin)
        self.passwords.append((token, password))
    }

    private func deleteToken(_ layers: Layers) async throws {
        guard let (token, password) = self.passwords.last else { return }
        _ = try await self.oracle.attempt([(.password(token: token, password: password), .absent)]) {
            try await layers.identities.deleteToken(token, in: layers.registry)
        }
        self.passwords.removeLast()
    }

    /// Takes an image as a connected registry does: blobs by transfer, or what is small of them together; then everything visible in one
    /// transaction.
    private func replicate(_ layers: Layers) async throws {
        let image = self.makeImage()
        let isBundled = self.images.count.isMultiple(of: 2)
        let small = isBundled ? image.blobs.filter { $0.bytes.count <= Layers.smallContentLimit } : []
        try await layers.store.admitArrived(small: small.compactMap { VerifiedContent($0.bytes, digest: $0.digest) })
        for blob in image.blobs where !small.contains(where: { $0.digest == blob.digest }) { try await layers.transfer(blob) }
        let tag = tag("v1")
        let update = ReplicaUpdate(
            repository: Self.mirror,
            manifests: [try NewManifest(image.manifest.bytes, declared: image.manifest.mediaType, expected: image.manifest.digest)],
            tags: [.init(tag: tag, digest: image.manifest.digest)])
        var facts: [(Fact, Truth?)] = [
            (.manifest(Self.mirror, image.manifest.digest), .present), (.tag(Self.mirror, tag), .names(image.manifest.digest)),
        ]
        facts += image.blobs.map { (.blob(Self.mirror, $0.digest), .present) }
        try await self.oracle.attempt(facts) { try await layers.store.apply(update, to: layers.registry, origin: "parent") }
        self.record(image.manifest, tag: tag, in: Self.mirror, blobs: image.blobs, children: [], subject: nil)
    }

    private func retract(_ layers: Layers) async throws {
        guard let index = self.images.firstIndex(where: { $0.repository == Self.mirror }) else { return }
        let image = self.images[index]
        var facts: [(Fact, Truth?)] = [(.manifest(Self.mirror, image.manifest.digest), .absent)]
        facts += image.tags.map { (.tag(Self.mirror, $0), .absent) }
        try await self.oracle.attempt(facts) {
            try await layers.store.retract(
                tags: image.tags.sorted { $0.description < $1.description }, manifests: [image.manifest.digest], from: Self.mirror,
                of: layers.registry, origin: "parent")
        }
        self.images.remove(at: index)
    }

    // MARK: Collecting

    private func collect(_ layers: Layers) async throws {
        self.clock.advance(seconds: 2 * 86_400)
        let policy = GarbagePolicy(untaggedAge: Bool.random(using: &self.generator) ? GarbagePolicy.day : nil)
        let kept = policy.untaggedAge == nil ? self.images : self.reached()
        var safe: Set<Fact> = []
        for image in kept {
            safe.insert(.manifest(image.repository, image.manifest.digest))
            for blob in image.blobs { safe.insert(.blob(image.repository, blob.digest)) }
        }
        let all = self.oracle.allowed(at: .max).keys.filter { fact in
            switch fact {
            case .blob, .manifest: !safe.contains(fact)
            default: false
            }
        }
        _ = try await self.oracle.attempt(all.map { ($0, nil) }) {
            try await GarbageCollector(store: layers.store, uploads: layers.uploads).collect(policy)
        }
        // What is left is there for good.
        let end = self.journal.position
        for fact in all { self.oracle.observe(fact, try await Self.truth(of: fact, layers), since: end - 1) }
        var left: [Image] = []
        for image in self.images where try await layers.store.holds(image.manifest.digest, in: image.repository, of: layers.registry) {
            left.append(image)
        }
        self.images = left
    }

    /// What tags reach, through indexes and from subjects to those who refer to them.
    private func reached() -> [Image] {
        var reached = self.images.filter { !$0.tags.isEmpty }
        while true {
            let more = self.images.filter { image in
                guard !reached.contains(where: { $0.repository == image.repository && $0.manifest.digest == image.manifest.digest }) else {
                    return false
                }
                return reached.contains { other in
                    other.repository == image.repository
                        && (other.children.contains(image.manifest.digest) || image.subject == other.manifest.digest)
                }
            }
            if more.isEmpty { return reached }
            reached += more
        }
    }

    /// What is true of a fact here and now.
    package static func truth(of fact: Fact, _ layers: Layers) async throws -> Truth {
        switch fact {
        case .blob(let name, let digest):
            guard let bytes = try await layers.read(digest, in: name) else { return .absent }
            let actual = Digest.of(bytes, algorithm: digest.algorithm)
            return actual == digest ? .present : .names(actual)
        case .manifest(let name, let digest):
            do {
                let manifest = try await layers.store.manifest(.digest(digest), in: name, of: layers.registry)
                return Digest.of(manifest.bytes) == digest ? .present : .names(Digest.of(manifest.bytes))
            } catch let error as RegistryError where error.code.status == 404 { return .absent }
        case .tag(let name, let tag):
            return try await layers.store.resolve(tag, in: name, of: layers.registry).map { .names($0) } ?? .absent
        case .password(let token, let password):
            return try await layers.identities.authenticate(token: token, password: password, in: layers.registry) == nil
                ? .absent : .present
        case .signed(let token):
            do {
                _ = try await layers.tokens.verify(token, as: [.registryRefresh], audience: "registry/harbour")
                return .present
            } catch is IdentityError { return .absent }
        }
    }

    // MARK: Restarting

    private func restart() async throws {
        await self.close()
        try await self.open()
    }

    private func death(calls: Int, flushes: Int) -> FaultPlan {
        Bool.random(using: &self.generator)
            ? .death(at: self.journal.calls + Int.random(in: 0..<calls, using: &self.generator), atFlush: false)
            : .death(at: self.journal.flushes + Int.random(in: 0..<flushes, using: &self.generator), atFlush: true)
    }

    private func dieAtStart() async throws {
        self.journal.setFaults(self.death(calls: 250, flushes: 20))
        do {
            try await self.open()
            try await self.setUp()
        } catch {}
        await self.close()
        self.journal.setFaults(nil)
    }

    /// The process is killed in the middle of an operation, and another one starts in the same folder; the machine stays up. Then the
    /// client does again what it got no answer to.
    private func die() async throws {
        guard !self.isTolerant else { return try await self.restart() }
        self.journal.setFaults(self.death(calls: 60, flushes: 10))
        let image = self.makeImage()
        await self.doomed(image)
        await self.close()
        self.journal.setFaults(nil)
        try await self.open()
        try await self.lookAgain(try await self.opened())
        try await self.pushAgain(image, try await self.opened())
    }

    /// What got no answer may have happened.
    private func lookAgain(_ layers: Layers) async throws {
        var left: [Image] = []
        for var image in self.images where try await layers.store.holds(image.manifest.digest, in: image.repository, of: layers.registry) {
            for tag in image.tags
            where try await layers.store.resolve(tag, in: image.repository, of: layers.registry) != image.manifest.digest {
                image.tags.remove(tag)
            }
            left.append(image)
        }
        self.images = left
    }

    private func doomed(_ image: TestImage) async {
        // Whatever it is told, it is told to nobody any more.
        do {
            let layers = try await self.opened()
            try await self.push(image, layers)
            try await self.deleteManifest(layers)
        } catch {}
    }

    private func push(_ image: TestImage, _ layers: Layers) async throws {
        let name = Self.repositories[0]
        for blob in image.blobs { try await self.pushBlob(blob, to: name, layers) }
        try await self.put(image.manifest, tag: tag("again"), to: name, blobs: image.blobs, layers)
    }

    /// As clients do: what they are told is there they do not send.
    private func pushAgain(_ image: TestImage, _ layers: Layers) async throws {
        let name = Self.repositories[0]
        for blob in image.blobs {
            if try await layers.read(blob.digest, in: name) == nil {
                try await self.pushBlob(blob, to: name, layers)
            } else {
                self.oracle.observe(.blob(name, blob.digest), .present, since: self.journal.position - 1)
            }
        }
        try await self.put(image.manifest, tag: tag("again"), to: name, blobs: image.blobs, layers)
    }
}
