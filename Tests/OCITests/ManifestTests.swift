// Proves what is taken as a manifest, what is known of it, and what is refused with which sentence.

import TestSupport
import Testing

@testable import OCI

@Suite struct ManifestTests {
    private let config = Fixture.config("app")
    private let layer = Fixture.layer("one")

    private func refusal(_ text: String, as declared: MediaType? = nil) -> String {
        self.refusal(Array(text.utf8), as: declared)
    }

    private func refusal(_ bytes: [UInt8], as declared: MediaType? = nil) -> String {
        let error = #expect(throws: OCIParseError.self) { try Manifest(parsing: bytes, declared: declared) }
        #expect(error?.subject == .manifest || error?.subject == .mediaType)
        return error?.description ?? ""
    }

    private func descriptor(size: String = "3", digest: String? = nil, mediaType: String = "application/x") -> String {
        "{\"mediaType\":\"\(mediaType)\",\"digest\":\"\(digest ?? self.layer.digest.description)\",\"size\":\(size)}"
    }

    private func image(_ members: String = "", layers: String? = nil) -> String {
        "{\"schemaVersion\":2,\"config\":\(self.descriptor()),\"layers\":[\(layers ?? self.descriptor())]\(members)}"
    }

    @Test("R2 image manifests, OCI and Docker", arguments: [MediaType.ociManifest, .dockerManifest], [true, false])
    func images(type: MediaType, writesType: Bool) throws {
        let content = Fixture.image(
            config: self.config.descriptor, layers: [self.layer.descriptor], type: type, writesType: writesType, annotations: ["a": "b"])
        let manifest = try Manifest(parsing: content.bytes, declared: type)
        #expect(manifest.mediaType == type)
        #expect(!manifest.isIndex)
        #expect(manifest.requiredBlobs.map(\.digest) == [self.config.digest, self.layer.digest])
        #expect(manifest.annotations == ["a": "b"])
        // Without an artifactType the config's media type stands for it.
        #expect(manifest.artifactType == MediaType.config.description)
    }

    @Test("R2 indexes, OCI and Docker, nested too", arguments: [MediaType.ociIndex, .dockerList])
    func indexes(type: MediaType) throws {
        let inner = Fixture.index([TestImage("a").manifest.descriptor])
        let outer = Fixture.index([inner.descriptor, TestImage("b").manifest.descriptor], type: type)
        let manifest = try Manifest(parsing: outer.bytes, declared: type)
        #expect(manifest.isIndex)
        #expect(manifest.manifests.map(\.digest) == [inner.digest, TestImage("b").manifest.digest])
        #expect(manifest.requiredBlobs.isEmpty)
        #expect(manifest.artifactType == nil)
    }

    @Test("R2 an artifact manifest needs no schemaVersion and its blobs are required")
    func artifact() throws {
        let subject = TestImage("a").manifest
        let content = Fixture.artifact([self.layer.descriptor], artifactType: "application/vnd.example.sbom", subject: subject.descriptor)
        let manifest = try Manifest(parsing: content.bytes, declared: .ociArtifact)
        #expect(manifest.requiredBlobs.map(\.digest) == [self.layer.digest])
        #expect(manifest.artifactType == "application/vnd.example.sbom")
        #expect(manifest.subject?.digest == subject.digest)
        let bare = "{\"mediaType\":\"\(MediaType.ociArtifact)\",\"blobs\":[\(self.descriptor())]}"
        #expect(try Manifest(parsing: Array(bare.utf8), declared: nil).mediaType == .ociArtifact)
    }

    @Test("R2 the type is taken from the request, else from the document, else from its members")
    func mediaType() throws {
        let bare = Fixture.image(config: self.config.descriptor, layers: [], writesType: false)
        #expect(try Manifest(parsing: bare.bytes, declared: .dockerManifest).mediaType == .dockerManifest)
        #expect(try Manifest(parsing: bare.bytes, declared: nil).mediaType == .ociManifest)
        let named = Fixture.image(config: self.config.descriptor, layers: [], type: .dockerManifest)
        #expect(try Manifest(parsing: named.bytes, declared: nil).mediaType == .dockerManifest)
        let list = "{\"schemaVersion\":2,\"manifests\":[]}"
        #expect(try Manifest(parsing: Array(list.utf8), declared: nil).mediaType == .ociIndex)
        #expect(self.refusal(named.bytes, as: .ociManifest).contains("Content-Type"))
        #expect(self.refusal(named.bytes, as: .ociIndex).contains("Content-Type"))
        #expect(self.refusal(bare.bytes, as: .ociIndex).contains("index"))
        #expect(self.refusal(Array(list.utf8), as: .ociManifest).contains("config"))
        #expect(self.refusal(bare.bytes, as: .test("application/json")).contains("not a manifest type"))
    }

    @Test("R2 schema 1 is refused with advice")
    func schemaOne() {
        #expect(self.refusal("{\"schemaVersion\":1,\"fsLayers\":[{\"blobSum\":\"x\"}]}").contains("schema 1"))
        #expect(self.refusal("{\"schemaVersion\":1,\"name\":\"x\"}").contains("schema 1"))
    }

    @Test(
        "R1 documents that are no manifest are refused",
        arguments: [
            "", " ", "null", "[]", "1", "\"x\"", "{", "{}", "{\"schemaVersion\":3}", "{\"schemaVersion\":\"2\"}", "{\"schemaVersion\":2}",
            "{\"schemaVersion\":2,\"config\":{},\"layers\":[]}", "{\"schemaVersion\":2,\"manifests\":{}}",
            "{\"schemaVersion\":2,\"mediaType\":\"\",\"manifests\":[]}",
            "{\"schemaVersion\":2,\"mediaType\":5,\"manifests\":[]}", "{\"schemaVersion\":2,\"manifests\":[null]}",
            "{\"schemaVersion\":2,\"manifests\":[]",
            "{\"schemaVersion\":2,\"manifests\":[]} trailing", "\u{1}",
        ])
    func garbage(text: String) {
        #expect(!self.refusal(text).isEmpty)
    }

    @Test("R1 bytes that are not UTF-8 are refused")
    func encoding() {
        #expect(!self.refusal([0x7b, 0xff, 0xfe, 0x7d]).isEmpty)
    }

    @Test(
        "R1 sizes are whole numbers from zero on",
        arguments: ["-1", "-9223372036854775808", "1.5", "1e30", "99999999999999999999", "\"3\"", "null"])
    func sizes(size: String) {
        #expect(!self.refusal(self.image(layers: self.descriptor(size: size))).isEmpty)
    }

    @Test("R1 a descriptor's digest and type are checked, and the sentence says where")
    func descriptors() {
        #expect(self.refusal(self.image(layers: self.descriptor(digest: "sha256:../../etc/passwd"))).contains("sha256:../../etc/passwd"))
        #expect(!self.refusal(self.image(layers: self.descriptor(mediaType: "no type"))).isEmpty)
        #expect(self.refusal("{\"schemaVersion\":2,\"config\":\(self.descriptor()),\"layers\":[{\"size\":1}]}").contains("layers"))
        #expect(!self.refusal(self.image(",\"annotations\":{\"a\":1}")).isEmpty)
        #expect(!self.refusal(self.image(",\"subject\":\"x\"")).isEmpty)
    }

    @Test("R2 foreign layers are not required; a blob named twice is required once")
    func foreignLayers() throws {
        let foreign = Content(Array("windows".utf8), .foreignLayer)
        let content = Fixture.image(
            config: self.config.descriptor, layers: [foreign.descriptor, self.layer.descriptor, self.layer.descriptor])
        let manifest = try Manifest(parsing: content.bytes, declared: nil)
        #expect(manifest.layers.count == 3)
        #expect(manifest.requiredBlobs.map(\.digest) == [self.config.digest, self.layer.digest])
        #expect(manifest.optionalBlobs.map(\.digest) == [foreign.digest])
    }

    @Test("R2 what an index lists that is no manifest is a blob it need not have")
    func buildCache() throws {
        let content = Fixture.image(config: self.config.descriptor, layers: [self.layer.descriptor])
        let index = Fixture.index([self.layer.descriptor, content.descriptor, self.layer.descriptor])
        let manifest = try Manifest(parsing: index.bytes, declared: nil)
        #expect(manifest.manifests.map(\.digest) == [content.digest])
        #expect(manifest.optionalBlobs.map(\.digest) == [self.layer.digest])
    }

    @Test("R1 size, depth and number of descriptors are limited")
    func limits() throws {
        let padding = String(repeating: " ", count: Manifest.maximumSize)
        #expect(self.refusal(self.image() + padding).contains("bytes"))
        // The nesting is measured before a recursive parser sees it.
        let deep = String(repeating: "[", count: 100_000) + String(repeating: "]", count: 100_000)
        #expect(self.refusal(self.image(",\"x\":\(deep)")).contains("nested"))
        #expect(self.refusal(String(repeating: "{\"a\":", count: 800_000)).contains("nested"))
        let brackets = String(repeating: "[{", count: 200)
        #expect(throws: Never.self) {
            try Manifest(parsing: Array(self.image(",\"x\":\"\(brackets)\\\"\(brackets)\"").utf8), declared: nil)
        }
        let many =
            "{\"schemaVersion\":2,\"manifests\":[\(Array(repeating: self.descriptor(), count: Manifest.maximumDescriptors + 1).joined(separator: ","))]}"
        #expect(self.refusal(many).contains("descriptors"))
    }

    @Test("R1 sizes whose sum would not fit are refused, wherever they stand", arguments: ["9223372036854775807", "9007199254740992"])
    func totalSize(size: String) throws {
        let large = self.descriptor(size: size)
        let entries = "[\(large),\(large)]"
        for text in [
            self.image(layers: "\(large),\(large)"), self.image(",\"subject\":\(large)", layers: large),
            "{\"schemaVersion\":2,\"manifests\":\(entries)}",
            "{\"mediaType\":\"\(MediaType.ociArtifact)\",\"blobs\":\(entries)}",
        ] {
            #expect(self.refusal(text).contains("add up to more than 9007199254740992 bytes"))
        }
        let most = self.descriptor(size: "9007199254740992", mediaType: MediaType.ociManifest.description)
        let index = try Manifest(parsing: Array("{\"schemaVersion\":2,\"manifests\":[\(most)]}".utf8), declared: nil)
        #expect(index.manifests.totalSize == Manifest.maximumTotalSize)
        // As many manifests as one import may bring.
        #expect(repeatElement(index.manifests[0], count: 1000).totalSize == 1000 * Manifest.maximumTotalSize)
        #expect(repeatElement(index.manifests[0], count: 1024).totalSize == nil)
    }

    @Test("R1 an empty artifactType counts as none: an image has its config's type, others have no type")
    func emptyArtifactType() throws {
        func type(_ text: String) throws -> String? { try Manifest(parsing: Array(text.utf8), declared: nil).artifactType }
        #expect(try type(self.image(",\"artifactType\":\"\"")) == "application/x")
        #expect(try type("{\"schemaVersion\":2,\"manifests\":[],\"artifactType\":\"\"}") == nil)
        #expect(try type("{\"mediaType\":\"\(MediaType.ociArtifact)\",\"blobs\":[],\"artifactType\":\"\"}") == nil)
    }

    @Test("R2 unknown members are no reason to refuse")
    func unknownMembers() throws {
        let text = self.image(",\"future\":{\"x\":[1,2,{\"y\":null}]},\"artifactType\":\"application/x\"")
        #expect(try Manifest(parsing: Array(text.utf8), declared: .ociManifest).artifactType == "application/x")
    }

    @Test("R1 any mutation of a manifest is parsed or refused, never a trap")
    func mutations() {
        var generator = SeededGenerator(seed: 99)
        let original = Array(self.image(",\"annotations\":{\"k\":\"v\"},\"subject\":\(self.descriptor())").utf8)
        for _ in 0..<3000 {
            var bytes = original
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let at = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: bytes[at] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes.remove(at: at)
                default: bytes.insert(contentsOf: "{[\"9-".utf8.shuffled(using: &generator).prefix(1), at: at)
                }
            }
            if let manifest = try? Manifest(parsing: bytes, declared: nil) { #expect(manifest.layers.allSatisfy { $0.size >= 0 }) }
        }
    }
}
