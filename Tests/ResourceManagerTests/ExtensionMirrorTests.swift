// The mirror of extensions: an index of what lies in the folder, and nothing else of the machine.

import Crypto
import Foundation
import HTTPServing
import JSON
import NIOPosix
import Testing

@testable import ResourceManager

@Suite struct ExtensionMirrorTests {
    @Test("A5 the index lists the wheels of the folder with their digests, also those that come later")
    func index() async throws {
        let folder = FileManager.default.temporaryDirectory.path + "/outport-mirror-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let mirror = ExtensionMirror(folder: folder, pool: .singleton)
        func get(_ path: String) async throws -> [UInt8]? {
            let answer = try await mirror.answer(path.split(separator: "/").map(String.init), base: "https://cloud.test")
            guard case .bytes(let buffer)? = answer?.body else { return nil }
            return Array(buffer.readableBytesView)
        }
        #expect(try await JSONValue(parsing: get("/mirror/extensions/index.json") ?? [])["extensions"] == [:])
        let name = "k8s_extension-1.7.0-py3-none-any.whl"
        try Data("wheel".utf8).write(to: URL(filePath: "\(folder)/\(name)"))
        try Data("secret".utf8).write(to: URL(filePath: "\(folder)/notes.txt"))
        let index = try JSONValue(parsing: try await get("/mirror/extensions/index.json") ?? [])
        let item = try #require(index[path: "extensions", "k8s-extension"]?[0])
        #expect(item["sha256Digest"]?.stringValue == SHA256.hash(data: Data("wheel".utf8)).map { String(format: "%02x", $0) }.joined())
        #expect(item["downloadUrl"] == "https://cloud.test/mirror/extensions/k8s_extension-1.7.0-py3-none-any.whl")
        #expect(item["metadata"] == ["name": "k8s-extension", "version": "1.7.0"])
        #expect(try await get("/mirror/extensions/\(name)") == Array("wheel".utf8))
        #expect(try await get("/mirror/extensions/notes.txt") == nil)
        #expect(try await get("/mirror/extensions/other-1-py3-none-any.whl") == nil)
        #expect(try await mirror.answer(["mirror", "extensions", "../\(name)"], base: "") == nil)
    }

    @Test("A5 names of wheels") func names() {
        #expect(Wheel("k8s_extension-1.7.0-py3-none-any.whl")?.name == "k8s-extension")
        #expect(Wheel("a-1.0-2-py3-none-any.whl")?.version == "1.0")
        for name in ["a.whl", "a-1.whl", "a-1-py3-none-any.zip", "-1-py3-none-any.whl", "a/b-1-py3-none-any.whl", ".whl"] {
            #expect(Wheel(name) == nil, "\(name)")
        }
    }
}
