// Sign-ins at several servers: which one is used, and what their names may be.

import Foundation
import Testing

@testable import outport

@Suite struct ProfileTests {
    private func profile(_ server: String) -> Profile {
        Profile(
            server: server, cloudName: "c", audience: "a", tokenEndpoint: "t", tenantID: "tenant", clientID: "client", clientSecret: "s")
    }

    @Test("A4 a named sign-in is kept beside the first one; a name, the environment and the choice decide in this order")
    func choice() throws {
        let root = FileManager.default.temporaryDirectory.path + "/outport-profiles-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: root) }
        let environment = ["OUTPORT_CONFIG_DIR": root]
        let folder = ProfileFolder(root: root)
        #expect(folder.names == [])
        #expect(folder.current == "default")
        #expect(try ProfileStore.chosen(nil, environment: environment).folder == root)
        try ProfileStore.chosen(nil, environment: environment).save(self.profile("https://first"))
        try ProfileStore.chosen("plant", environment: environment).save(self.profile("https://plant"))
        #expect(folder.names == ["default", "plant"])
        // Signing in under a name leaves the other alone.
        #expect(try ProfileStore.chosen(nil, environment: environment).load()?.server == "https://first")
        try folder.use("plant")
        #expect(folder.current == "plant")
        #expect(try ProfileStore.chosen(nil, environment: environment).load()?.server == "https://plant")
        #expect(try ProfileStore.chosen("default", environment: environment).load()?.server == "https://first")
        let other = environment.merging(["OUTPORT_PROFILE": "default"]) { $1 }
        #expect(try ProfileStore.chosen(nil, environment: other).load()?.server == "https://first")
        #expect(try ProfileStore.chosen("plant", environment: other).load()?.server == "https://plant")
        try folder.store("plant").remove()
        #expect(folder.names == ["default"])
        // A choice that cannot be read is none.
        try Data("../../etc\n".utf8).write(to: URL(filePath: root + "/current"))
        #expect(folder.current == "default")
    }

    @Test("A4 a command that is still running puts back no sign-in that has been ended or changed meanwhile")
    func renewals() throws {
        let root = FileManager.default.temporaryDirectory.path + "/outport-profiles-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: root) }
        let store = ProfileStore(folder: root)
        var renewed = self.profile("https://first")
        try store.save(renewed)
        renewed.token = .init(value: "new", expires: 5)
        // The subscription is chosen by another command.
        var chosen = self.profile("https://first")
        chosen.defaultSubscription = "plants"
        try store.save(chosen)
        try store.keepTokens(of: renewed)
        #expect(try store.load()?.token?.value == "new")
        #expect(try store.load()?.defaultSubscription == "plants")
        // Somebody else signs in, or the same one with another secret.
        var other = self.profile("https://first")
        other.clientSecret = "t"
        try store.save(other)
        try store.keepTokens(of: renewed)
        #expect(try store.load() == other)
        try store.remove()
        try store.keepTokens(of: renewed)
        #expect(try store.load() == nil)
    }

    @Test("A4 the name of a profile is one part of a path and no other", arguments: ["", ".", "..", "a/b", ".hidden", "a b", "ä"])
    func names(name: String) {
        #expect(!ProfileFolder.isValid(name))
        #expect(throws: ManagementError.self) { _ = try ProfileStore.chosen(name.isEmpty ? "/" : name, environment: ["HOME": "/h"]) }
    }

    @Test("A4 the host of a login server is looked up without its port")
    func hosts() {
        #expect(CheckHealthCommand.host(of: "a.example:8443") == "a.example")
        #expect(CheckHealthCommand.host(of: "a.example") == "a.example")
        #expect(CheckHealthCommand.host(of: "[::1]:443") == "::1")
        #expect(CheckHealthCommand.address(of: "127.0.0.1") == "127.0.0.1")
    }
}
