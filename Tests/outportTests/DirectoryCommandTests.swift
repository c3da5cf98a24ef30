// The ways to sign in and the directory's commands, from the command line to the requests.

import Foundation
import JSON
import Testing

@testable import outport

@Suite struct DirectoryCommandTests {
    private let folder = FileManager.default.temporaryDirectory.appending(path: "outport-test-\(UUID().uuidString)").path

    private func login(_ server: FakeServer, _ arguments: String...) async throws -> Profile {
        let command = try #require(
            try LoginCommand.parseAsRoot(arguments + ["--server", "parent.example:8443"]) as? LoginCommand)
        return try await command.signIn(
            store: ProfileStore(folder: folder), transport: { _ in server }, console: FakeConsole(answers: []), now: { 1000 },
            sleep: { _ in })
    }

    @Test("A1 a user signs in with a password, and later commands with the refresh token")
    func password() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let server = FakeServer()
        await server.script { sent in
            sent.path.hasSuffix("/token") && sent.text.contains("grant_type=password")
                ? ManagementResponse(status: 200, body: Array(#"{"access_token":"a","refresh_token":"r1","expires_in":10}"#.utf8)) : nil
        }
        await server.set("/tenants", [:])
        let profile = try await login(server, "-u", "ana@x.test", "-p", "-pw")
        #expect(profile.accountName == "ana@x.test")
        #expect(profile.refreshToken == "r1")
        #expect(await server.sent.contains { $0.text.contains("username=ana%40x.test&password=-pw") })
        // The password itself is kept nowhere.
        #expect(try !String(contentsOfFile: folder + "/profile.json", encoding: .utf8).contains("-pw"))
        #expect(await server.sent.last { $0.path.hasSuffix("/token") }?.text.contains("refresh_token=r1") == true)
    }

    @Test("A1 I7 a federated token signs in as the identity that believes it, now and for later commands")
    func federated() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let server = FakeServer()
        let profile = try await login(
            server, "--service-principal", "-u", "app-2", "-t", "tenant-1", "--federated-token", "header.claims.signature")
        #expect(profile.federatedToken == "header.claims.signature")
        let sent = try #require(await server.sent.last { $0.path.hasSuffix("/token") }?.text)
        #expect(sent.contains("client_id=app-2") && sent.contains("grant_type=client_credentials"))
        #expect(sent.contains("client_assertion=header.claims.signature") && sent.contains("jwt-bearer"))
        #expect(!sent.contains("client_secret"))
    }

    @Test("A1 a device code is shown and asked about until somebody has signed in")
    func device() async throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let server = FakeServer()
        func answer(_ path: String, _ status: Int, _ body: String) async {
            await server.script { $0.path.hasSuffix(path) ? ManagementResponse(status: status, body: Array(body.utf8)) : nil }
        }
        await answer(
            "/openid-configuration", 200,
            #"{"token_endpoint":"https://parent.example:8443/adfs/oauth2/token","device_authorization_endpoint":"https://parent.example:8443/adfs/oauth2/devicecode"}"#
        )
        await answer("/devicecode", 200, #"{"device_code":"d","user_code":"AB","message":"enter AB","interval":1,"expires_in":900}"#)
        await answer("/token", 400, #"{"error":"authorization_pending"}"#)
        await answer("/token", 400, #"{"error":"slow_down"}"#)
        await answer("/token", 200, #"{"access_token":"a.eyJ1cG4iOiJhbmFAeC50ZXN0In0.b","refresh_token":"r","expires_in":3600}"#)
        let profile = try await login(server, "--tenant", "tenant-1")
        #expect(profile.accountName == "ana@x.test")
        #expect(await server.sent.filter { $0.text.contains("device_code=d") }.count == 3)
    }

    @Test(
        "A1 command lines that say too little are refused with what is missing",
        arguments: [
            (["--service-principal"], "-u APP_ID"), (["--service-principal", "-u", "x"], "--tenant"),
            (["--service-principal", "-u", "x", "-t", "t"], "--certificate"), (["--certificate", "x"], "--service-principal"),
            (["--federated-token", "x"], "--service-principal"),
            (["-u", "ana@x.test"], "-p PASSWORD"),
        ])
    func usage(arguments: [String], advice: String) async throws {
        let command = try #require(try LoginCommand.parseAsRoot(arguments + ["--server", "x:1"]) as? LoginCommand)
        do {
            _ = try await command.signIn(
                store: ProfileStore(folder: folder), transport: { _ in FakeServer() }, console: FakeConsole(answers: []))
            Issue.record("accepted")
        } catch {
            #expect(error.exitCode == 2)
            #expect(error.description.contains(advice))
        }
    }

    @Test("I4 role assignment list asks and filters as az does, and needs no directory to show what there is")
    func assignments() async throws {
        let harness = Harness()
        let path = FakeServer.registry + "/providers/Microsoft.Authorization/"
        await harness.server.script { sent in
            guard sent.path == path + "roleAssignments" else { return nil }
            return ManagementResponse(
                status: 200,
                body: Array(
                    """
                    {"value":[{"id":"x","name":"a","properties":{"scope":"\(FakeServer.registry)","principalId":"p","roleDefinitionId":"/r/g"}},
                              {"id":"y","name":"b","properties":{"scope":"/subscriptions/sub-1","principalId":"p","roleDefinitionId":"/r/g"}}]}
                    """.utf8))
        }
        await harness.server.script { sent in
            sent.path == path + "roleDefinitions"
                ? ManagementResponse(status: 200, body: Array(#"{"value":[{"name":"g","properties":{"roleName":"AcrPull"}}]}"#.utf8)) : nil
        }
        #expect(
            await harness.run(
                "role", "assignment", "list", "--scope", FakeServer.registry, "--query", "[].[name, roleDefinitionName]", "-o", "tsv")
                == 0)
        #expect(harness.console.output == "a\tAcrPull\n")
        #expect(await harness.server.sent[0].query.contains("$filter=atScope%28%29"))
        #expect(await harness.run("role", "assignment", "create", "--role", "AcrPull") == 2)
        #expect(await harness.run("role", "assignment", "delete") == 2)
        #expect(await harness.run("ad", "sp", "credential", "reset") != 0)
        #expect(await harness.run("ad", "sp", "list") == 1)
        #expect(harness.console.notes.last?.contains("outport login") == true)
    }
}
