// Proves that what one image is wrong with at the parent stays the trouble of that image.

import Gateway
import OCI
import Persistence
import RegistryCore
import TestSupport
import Testing

@testable import SyncAgent

@Suite struct DamagedParentTests {
    private let app = repository("app")

    private func image(_ name: String, seed: UInt64) -> TestImage {
        TestImage(name, layers: [Fixture.layer(bytes: 200_000, seed: seed)])
    }

    private func file(of content: Content, at site: Site) throws -> String {
        let name = try #require(site.scratch.files(below: "blobs").first { $0.contains(content.digest.hex) })
        return "\(site.scratch.path)/blobs/\(name)"
    }

    @Test("C13 C16 a lost blob, a short one and a damaged manifest at the parent are passed over, told, and come when mended")
    func passedOver() async throws {
        let family = try await Family()
        let parent = family.parent.site
        let (lost, short, spoilt, good) = (
            self.image("lost", seed: 1), self.image("short", seed: 2), self.image("spoilt", seed: 3), self.image("good", seed: 4)
        )
        // In the order in which they are looked at.
        for (number, image) in [lost, short, spoilt, good].enumerated() {
            try await parent.push(image, tags: [tag("v\(number)")], to: self.app)
        }
        let (lostFile, shortFile) = (try self.file(of: lost.layers[0], at: parent), try self.file(of: short.layers[0], at: parent))
        try FileSystem.remove(lostFile)
        try FileSystem.replace(shortFile, with: Array(short.layers[0].bytes[..<60_000]))
        try await parent.database.write { session in
            _ = try session.execute(
                "UPDATE manifest_content SET bytes = ? WHERE digest = ?", .blob(Array("damaged".utf8)), SQLValue(spoilt.manifest.digest))
        }
        try await family.following { () async throws in
            #expect(try await family.until { try await family.childHas(tag("v3"), at: good.manifest, in: self.app) })
            #expect(
                try await eventually {
                    let details = try await family.parentState?.report?.status?.details ?? []
                    return details.count == 3 && details.allSatisfy { $0.code == "ContentError" }
                        && [lost, short, spoilt].allSatisfy { image in
                            details.contains { $0.description.contains("\(image.manifest.digest)") }
                        }
                })
            // The log is followed past them.
            try await parent.put(good.manifest, tags: [tag("next")], to: self.app)
            #expect(try await family.until { try await family.childHas(tag("next"), at: good.manifest, in: self.app) })
            try FileSystem.replace(lostFile, with: lost.layers[0].bytes)
            try FileSystem.replace(shortFile, with: short.layers[0].bytes)
            try await parent.database.write { session in
                _ = try session.execute(
                    "UPDATE manifest_content SET bytes = ? WHERE digest = ?", .blob(spoilt.manifest.bytes),
                    SQLValue(spoilt.manifest.digest))
            }
            family.child.clock.advance(seconds: 3600)
            try await parent.put(good.manifest, tags: [tag("wake")], to: self.app)
            for (number, image) in [lost, short, spoilt].enumerated() {
                #expect(try await family.until { try await family.childHas(tag("v\(number)"), at: image.manifest, in: self.app) })
                #expect(try await family.isWhole(image, in: self.app))
            }
            #expect(try await eventually { try await family.parentState?.report?.status?.details == [] })
        }
    }

    @Test("C13 a tag that waits with a damaged image is set when the image arrives under another one")
    func otherTag() async throws {
        let family = try await Family()
        let parent = family.parent.site
        let (lost, other, good) = (self.image("lost", seed: 1), self.image("other", seed: 2), TestImage("good"))
        try await parent.push(lost, tags: [tag("v1"), tag("v2")], to: self.app)
        // One more that stays damaged, so that no comparison mends what the log leaves.
        try await parent.push(other, tags: [tag("other")], to: self.app)
        try await parent.push(good, tags: [tag("good")], to: self.app)
        let file = try self.file(of: lost.layers[0], at: parent)
        try FileSystem.remove(file)
        try FileSystem.remove(try self.file(of: other.layers[0], at: parent))
        try await family.following { () async throws in
            #expect(try await eventually { try await family.parentState?.report?.status?.details.count == 2 })
            #expect(try await family.until { try await family.childHas(tag("good"), at: good.manifest, in: self.app) })
            // One of its tags moves on before.
            try await parent.put(good.manifest, tags: [tag("v2")], to: self.app)
            #expect(try await family.until { try await family.childHas(tag("v2"), at: good.manifest, in: self.app) })
            try FileSystem.replace(file, with: lost.layers[0].bytes)
            try await parent.put(lost.manifest, tags: [tag("latest")], to: self.app)
            #expect(try await family.until { try await family.childHas(tag("latest"), at: lost.manifest, in: self.app) })
            #expect(try await family.until { try await family.childHas(tag("v1"), at: lost.manifest, in: self.app) })
            #expect(try await eventually { try await family.parentState?.report?.status?.details.count == 1 })
        }
        #expect(try await family.childHas(tag("v2"), at: good.manifest, in: self.app))
    }
}
