// Proves that a configuration file says what it says: no name and no value in it is passed over.

import ArgumentParser
import Configuration
import Foundation
import Persistence
import TestSupport
import Testing

@testable import outport

@Suite struct ServerOptionsTests {
    private let scratch = ScratchFolder()

    private func layers(_ json: String) async throws -> ConfigReader {
        let path = self.scratch.path + "-config.json"
        defer { try? FileSystem.remove(path) }
        try FileSystem.replace(path, with: json.utf8)
        return try await ServerOptions.parse(["--config", path]).layers(["limit": .number, "parent-endpoint": .list])
    }

    @Test("A5 options of a file are taken by their names, numbers as numbers or as text")
    func taken() async throws {
        let layers = try await self.layers(#"{"listen": "127.0.0.1:1", "http": true, "limit": 5, "parent-endpoint": ["a", "b"]}"#)
        #expect(layers.string(forKey: "listen") == "127.0.0.1:1")
        #expect(layers.int(forKey: "limit") == 5)
        #expect(layers.stringArray(forKey: "parent-endpoint") == ["a", "b"])
        #expect(try ServerOptions.parse([]).isPlain(layers))
        #expect(try await self.layers(#"{"limit": "7"}"#).string(forKey: "limit") == "7")
    }

    @Test(
        "A5 a name that no option has, or a value that it does not take, is refused",
        arguments: [
            (#"{"listn": "x"}"#, "'listn'"), (#"{"http": "maybe"}"#, "true or false"), (#"{"limit": 1.5}"#, "a whole number"),
            (#"{"parent-endpoint": "a"}"#, "a list of texts"), (#"{"listen": 5}"#, "a text"), ("[]", "JSON object"),
            ("{", "cannot be used"),
        ])
    func refused(json: String, reason: String) async throws {
        let error = await #expect(throws: ValidationError.self) { try await self.layers(json) }
        #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
    }
}
