// Proves signing in, and that the sign-in is kept where only its owner can read it.

import Foundation
import JSON
import Testing

@testable import outport

@Suite struct SignInTests {
    private let folder = FileManager.default.temporaryDirectory.appending(path: "outport-test-\(UUID().uuidString)").path

    private var store: ProfileStore { ProfileStore(folder: folder + "/config") }

    @Test("A1 login discovers, signs in, lists subscriptions and keeps it all in 0600")
    func login() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let ca = folder + "/given.pem"
        try Data("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n".utf8).write(to: URL(filePath: ca))
        let server = FakeServer()
        let command = try #require(
            try LoginCommand.parseAsRoot([
                "--service-principal", "-u", "app-1", "-p", "-p4ss=", "--tenant", "tenant-1", "--server", "parent.example:8443/", "--ca",
                ca,
            ]) as? LoginCommand)
        let profile = try await command.signIn(store: store, transport: { _ in server }, now: { 1000 })
        #expect(
            await server.sent.map(\.path) == [
                "/metadata/endpoints", "/adfs/.well-known/openid-configuration", "/adfs/oauth2/token", "/subscriptions",
            ])
        #expect(await server.sent[0].query == "api-version=2022-09-01")
        #expect(await server.sent[3].query == "api-version=2022-12-01")
        #expect(await server.isShutDown)
        #expect(profile.subscriptions.map(\.id) == ["sub-1"])
        #expect(profile.loginServerSuffix == ".outport.test:8443")
        #expect(profile.clientSecret == "-p4ss=")
        #expect(try store.load() == profile)
        let attributes = try FileManager.default.attributesOfItem(atPath: folder + "/config/profile.json")
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        #expect(profile.trustFile == folder + "/config/ca.pem")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder + "/config").sorted() == ["ca.pem", "profile.json"])

        // The next login to the same server needs neither --server nor --ca.
        let again = try #require(
            try LoginCommand.parseAsRoot(["--service-principal", "-u", "app-1", "-p", "x", "-t", "tenant-1"]) as? LoginCommand)
        let renewed = try await again.signIn(store: store, transport: { _ in server }, now: { 1000 })
        #expect(renewed.server == "https://parent.example:8443")
        #expect(renewed.trustFile == profile.trustFile)

        try store.remove()
        #expect(try store.load() == nil)
    }

    @Test("A wrong secret leaves no sign-in behind")
    func wrongSecret() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let server = FakeServer()
        await server.script { sent in
            sent.path.hasSuffix("/token")
                ? ManagementResponse(status: 401, body: Array(#"{"error":"invalid_client","error_description":"AADSTS7000215: no"}"#.utf8))
                : nil
        }
        let command = try #require(
            try LoginCommand.parseAsRoot([
                "--service-principal", "-u", "a", "-p", "b", "-t", "t", "--server", "https://parent.example:8443",
            ])
                as? LoginCommand)
        let error = await #expect(throws: ManagementError.self) {
            try await command.signIn(store: store, transport: { _ in server }, now: { 0 })
        }
        #expect(error?.description == "AADSTS7000215: no")
        #expect(try store.load() == nil)
    }

    @Test("Addresses that are not https are refused", arguments: ["http://h", "ftp://h", "", "https://", "://"])
    func addresses(text: String) {
        #expect(throws: ManagementError.self) { try SignIn.server(text) }
    }

    @Test("The folder of the sign-in follows the environment")
    func folders() throws {
        #expect(try ProfileStore(environment: ["OUTPORT_CONFIG_DIR": "/x", "HOME": "/h"]).folder == "/x")
        #expect(try ProfileStore(environment: ["XDG_CONFIG_HOME": "/c", "HOME": "/h"]).folder == "/c/outport")
        #expect(try ProfileStore(environment: ["HOME": "/h"]).folder == "/h/.config/outport")
        #expect(throws: ManagementError.self) { try ProfileStore(environment: [:]) }
    }

    @Test("A subscription is found by id or name in any case")
    func subscriptions() throws {
        #expect(try Harness.profile.subscription("FIRST").id == "sub-1")
        #expect(try Harness.profile.subscription(nil).id == "sub-1")
        #expect(throws: ManagementError.self) { try Harness.profile.subscription("other") }
    }

    @Test("A file that is no certificate is refused before anything is sent")
    func noCertificate() async throws {
        let command = try #require(
            try LoginCommand.parseAsRoot([
                "--service-principal", "-u", "a", "-p", "b", "-t", "t", "--server", "https://h", "--ca", "/dev/null",
            ]) as? LoginCommand)
        let server = FakeServer()
        await #expect(throws: ManagementError.self) { try await command.signIn(store: store, transport: { _ in server }, now: { 0 }) }
        #expect(await server.sent.isEmpty)
    }
}
