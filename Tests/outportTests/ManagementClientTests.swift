// Proves what the client does with tokens, refusals, pages and operations that take their time.

import Foundation
import JSON
import Synchronization
import Testing

@testable import outport

@Suite struct ManagementClientTests {
    private let harness = Harness()

    @Test("A1 a token is fetched when it has run out, with the form of az, and kept")
    func expiredToken() async throws {
        var profile = Harness.profile
        profile.token?.expires = 1_767_225_600 + 30
        let kept = Mutex<Profile?>(nil)
        let client = ManagementClient(
            profile: profile, transport: harness.server, now: { 1_767_225_600 }, keep: { new in kept.withLock { $0 = new } })
        _ = try await client.get(FakeServer.registry)
        _ = try await client.get(FakeServer.registry)
        let sent = await harness.server.sent
        #expect(sent.map(\.path) == ["/adfs/oauth2/token", FakeServer.registry, FakeServer.registry])
        #expect(
            sent[0].text == "client_id=app-1&grant_type=client_credentials&client_info=1&client_secret=s3cret"
                + "&claims=%7B%22access_token%22%3A%7B%22xms_cc%22%3A%7B%22values%22%3A%5B%22CP1%22%5D%7D%7D%7D"
                + "&scope=https%3A%2F%2Fparent.example%3A8443%2F%2F.default")
        #expect(sent[1].headers["Authorization"] == "Bearer token-1")
        #expect(sent[1].query == "api-version=2026-09-01-preview")
        #expect(kept.withLock { $0?.token } == .init(value: "token-1", expires: 1_767_229_200))
    }

    @Test("A1 a claims challenge gets a new token with those claims, once")
    func claimsChallenge() async throws {
        let challenge = Data(#"{"access_token":{"nbf":{"essential":true,"value":"7"}}}"#.utf8).base64EncodedString()
        await harness.server.script { sent in
            sent.path == FakeServer.registry
                ? ManagementResponse(
                    status: 401, headers: [("WWW-Authenticate", "Bearer error=\"insufficient_claims\", claims=\"\(challenge)\"")]) : nil
        }
        _ = try await harness.client().get(FakeServer.registry)
        let sent = await harness.server.sent
        #expect(sent.map(\.method) == ["GET", "POST", "GET"])
        #expect(sent[1].text.contains("nbf"))
        #expect(sent[1].text.contains("xms_cc"))
        #expect(sent[2].headers["Authorization"] == "Bearer token-2")
    }

    @Test("A second 401 is final")
    func unauthorized() async throws {
        for _ in 0..<2 {
            await harness.server.script { $0.path == FakeServer.registry ? FakeServer.refusal(401, "InvalidToken", "no") : nil }
        }
        let error = await #expect(throws: ManagementError.self) { try await harness.client().get(FakeServer.registry) }
        #expect(error?.description == "(InvalidToken) no\nRun 'outport login' to sign in again.")
        #expect(await harness.server.sent.count == 3)
    }

    @Test("Passing failures are repeated with growing pauses, others and POST's are not")
    func retries() async throws {
        let pauses = Mutex<[Duration]>([])
        for status in [503, 500, 429] { await harness.server.script { _ in ManagementResponse(status: status) } }
        _ = try await harness.client(sleep: { pause in pauses.withLock { $0.append(pause) } }).get(FakeServer.registry)
        #expect(pauses.withLock { $0 } == [.milliseconds(800), .milliseconds(1600), .milliseconds(3200)])
        await harness.server.script { _ in ManagementResponse(status: 502) }
        let error = await #expect(throws: ManagementError.self) { try await harness.client().post("/x") }
        #expect(error?.message == "Operation returned an invalid status '502' for POST https://parent.example:8443/x.")
        await harness.server.script { _ in ManagementResponse(status: 409, headers: [("Retry-After", "3")]) }
        _ = try await harness.client(sleep: { pause in pauses.withLock { $0 = [pause] } }).get(FakeServer.registry)
        #expect(pauses.withLock { $0 } == [.seconds(3)])
        for _ in 0..<6 { await harness.server.script { _ in ManagementResponse(status: 500) } }
        await #expect(throws: ManagementError.self) { try await harness.client().get(FakeServer.registry) }
    }

    @Test("Every page of a list is read, and none from elsewhere")
    func pages() async throws {
        await harness.server.script { _ in
            FakeServer.ok(["value": [1], "nextLink": .string(FakeServer.origin + "/list?api-version=1&$skipToken=2")])
        }
        await harness.server.script { _ in FakeServer.ok(["value": [2], "nextLink": "/list?$skipToken=3"]) }
        await harness.server.script { _ in FakeServer.ok(["value": [3], "nextLink": ""]) }
        #expect(try await harness.client().list("/list") == [1, 2, 3])
        #expect(await harness.server.sent[1].query == "api-version=1&$skipToken=2")
        await harness.server.script { _ in FakeServer.ok(["value": [1], "nextLink": "https://evil.example/list"]) }
        await #expect(throws: ManagementError.self) { try await harness.client().list("/list") }
        for _ in 0..<2 { await harness.server.script { _ in FakeServer.ok(["value": [1], "nextLink": "/again"]) } }
        await #expect(throws: ManagementError.self) { try await harness.client().list("/list") }
    }

    @Test("An operation is followed by its state in the body")
    func bodyPolling() async throws {
        await harness.server.script { _ in FakeServer.ok(["properties": ["provisioningState": "Creating"]], status: 201) }
        await harness.server.script { _ in FakeServer.ok(["properties": ["provisioningState": "Updating"]], headers: [("Retry-After", "1")])
        }
        await harness.server.script { _ in FakeServer.ok(["properties": ["provisioningState": "Succeeded", "x": 1]]) }
        #expect(try await harness.client().put("/thing", [:])[path: "properties", "x"] == 1)
        #expect(await harness.server.sent.map(\.method) == ["PUT", "GET", "GET"])
        await harness.server.script { _ in
            FakeServer.ok(["properties": ["provisioningState": "Failed", "error": ["code": "Full", "message": "no room"]]], status: 201)
        }
        let error = await #expect(throws: ManagementError.self) { try await harness.client().put("/thing", [:]) }
        #expect(error?.description == "(Full) no room")
    }

    @Test("An operation is followed by Azure-AsyncOperation, its result read from Location after a POST")
    func asyncOperation() async throws {
        let headers = [
            (name: "Azure-AsyncOperation", value: FakeServer.origin + "/op"), (name: "Location", value: FakeServer.origin + "/result"),
            (name: "Retry-After", value: "1"),
        ]
        await harness.server.script { _ in ManagementResponse(status: 202, headers: headers) }
        await harness.server.script { _ in FakeServer.ok(["status": "InProgress"]) }
        await harness.server.script { _ in FakeServer.ok(["status": "Succeeded"]) }
        await harness.server.script { $0.path == "/result" ? FakeServer.ok(["done": true]) : nil }
        #expect(try await harness.client().post("/act") == ["done": true])
        await harness.server.script { _ in ManagementResponse(status: 202, headers: headers) }
        await harness.server.script { _ in FakeServer.ok(["status": "Failed", "error": ["code": "Bad", "message": "why"]]) }
        let error = await #expect(throws: ManagementError.self) { try await harness.client().post("/act") }
        #expect(error?.description == "(Bad) why")
    }

    @Test("An operation is followed by Location alone")
    func location() async throws {
        let headers = [(name: "Location", value: "/op")]
        await harness.server.script { _ in ManagementResponse(status: 202, headers: headers) }
        await harness.server.script { _ in ManagementResponse(status: 202) }
        await harness.server.script { _ in ManagementResponse(status: 204) }
        try await harness.client().delete("/thing")
        #expect(await harness.server.sent.map { "\($0.method) \($0.path)" } == ["DELETE /thing", "GET /op", "GET /op"])
    }

    @Test(
        "A4 refusals keep code and message; what is not there is exit code 3",
        arguments: [
            (404, #"{"error":{"code":"ResourceNotFound","message":"gone"}}"#, "(ResourceNotFound) gone", 3),
            (409, #"{"error":{"code":"Conflict","message":"no","details":[{"message":"because"}]}}"#, "(Conflict) no\nbecause", 1),
            (400, #"{"error":"invalid_client","error_description":"AADSTS7000215: wrong"}"#, "AADSTS7000215: wrong", 1),
            (502, "<html>", "Operation returned an invalid status '502' for GET https://h/p.", 1),
            (404, "", "Operation returned an invalid status '404' for GET https://h/p.", 3),
        ])
    func refusals(status: Int, body: String, text: String, exitCode: Int32) {
        let error = ManagementError(
            refusal: ManagementResponse(status: status, body: Array(body.utf8)),
            of: ManagementRequest(method: .get, url: "https://h/p?secret=1"))
        #expect(error.description == text)
        #expect(error.exitCode == exitCode)
    }

    @Test("The origin of an address is what a token is good for")
    func origins() {
        #expect(URLText.origin("https://A.example:443/x") == "https://a.example")
        #expect(URLText.origin("https://a.example/?x") == URLText.origin("HTTPS://a.example"))
        #expect(URLText.origin("https://a.example:8443") != URLText.origin("https://a.example"))
        #expect(URLText.origin("https://a.example@evil.example/") == "https://evil.example")
        #expect(URLText.origin("http://a.example") != URLText.origin("https://a.example"))
        #expect(URLText.segment("a/b c?") == "a%2Fb%20c%3F")
        #expect(URLText.segment("..") == "%2E%2E")
    }
}
