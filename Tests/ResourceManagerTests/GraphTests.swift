// The directory through Graph: what `az ad` sends, and who may.

import HTTPTypes
import Identity
import JSON
import Persistence
import ResourceManager
import Testing

@Suite struct GraphTests {
    private let now = "2026-09-21T13:33:20.123456Z"

    private func filter(_ text: String) -> String { "?$filter=" + World.encoded(text) }

    @Test("I3 create-for-rbac: application, secret and principal, in the order in which az asks")
    func createForRBAC() async throws {
        let world = try await World()
        #expect(try await world.graph(.get, "/servicePrincipals" + self.filter("displayName eq 'ci'")).values == [])
        #expect(try await world.graph(.get, "/applications" + self.filter("startswith(displayName,'ci')")).values == [])
        let application = try await world.graph(.post, "/applications", ["displayName": "ci", "keyCredentials": []])
        #expect(application.status == 201)
        let id = try #require(application.body["id"]?.stringValue)
        let appID = try #require(application.body["appId"]?.stringValue)
        #expect(application.body["passwordCredentials"] == [])
        let password = try await world.graph(
            .post, "/applications/\(id)/addPassword",
            [
                "passwordCredential": [
                    "displayName": "rbac", "startDateTime": .string(self.now), "endDateTime": "2027-09-21T13:33:20.123456+00:00",
                ]
            ])
        #expect(password.status == 200)
        #expect(password.headers[.cacheControl] == "no-store")
        let secret = try #require(password.body["secretText"]?.stringValue)
        let principal = try await world.graph(.post, "/servicePrincipals", ["appId": .string(appID), "accountEnabled": true])
        #expect(principal.status == 201)
        #expect(principal.body["servicePrincipalNames"] == [.string(appID)])
        _ = try await world.accessToken(appID, secret, World.arm)

        // Its secret's end is shown, its value never again.
        let shown = try await world.graph(.get, "/applications/\(id)")
        #expect(shown.body["passwordCredentials"]?[0]?["endDateTime"] == "2027-09-21T13:33:20.123Z")
        #expect(shown.body["passwordCredentials"]?[0]?["hint"]?.stringValue == String(secret.prefix(3)))
        #expect(shown.body["passwordCredentials"]?[0]?["secretText"]?.isNull == true)
        #expect(!shown.body.serialized().contains(secret))

        // Found by application id, reset on the principal: both secrets sign in until one is removed.
        let found = try await world.graph(.get, "/servicePrincipals" + self.filter("servicePrincipalNames/any(c:c eq '\(appID)')"))
        let objectID = try #require(found.values.first?["id"]?.stringValue)
        let second = try await world.graph(
            .post, "/servicePrincipals/\(objectID)/addPassword", ["passwordCredential": ["displayName": nil]])
        _ = try await world.accessToken(appID, try #require(second.body["secretText"]?.stringValue), World.arm)
        let key = try #require(password.body["keyId"]?.stringValue)
        #expect(try await world.graph(.post, "/applications/\(id)/removePassword", ["keyId": .string(key)]).status == 204)
        let gone = try await world.token([
            ("client_id", appID), ("grant_type", "client_credentials"), ("client_secret", secret), ("scope", World.arm + "/.default"),
        ])
        #expect(gone.status == 401)
        #expect(try await world.graph(.post, "/applications/\(id)/removePassword", ["keyId": .string(key)]).status == 404)
        #expect(try await world.graph(.delete, "/applications/\(id)").status == 204)
        #expect(try await world.graph(.get, "/servicePrincipals/\(objectID)").status == 404)
    }

    @Test("I3 a taken name is refused and the property is named")
    func takenName() async throws {
        let world = try await World()
        #expect(try await world.graph(.post, "/applications", ["displayName": "ci"]).status == 201)
        let taken = try await world.graph(.post, "/applications", ["displayName": "CI"])
        #expect(taken.status == 400)
        #expect(taken.code == "Request_MultipleObjectsWithSameKeyValue")
        #expect(taken.target == "displayName")
        #expect(taken.message?.contains(" does not exist ") == false)
    }

    @Test("I3 a secret ends when it says, and a wrong period is refused")
    func expiry() async throws {
        let world = try await World()
        let application = try await world.graph(.post, "/applications", ["displayName": "ci"]).body
        let id = try #require(application["id"]?.stringValue)
        let appID = try #require(application["appId"]?.stringValue)
        _ = try await world.graph(.post, "/servicePrincipals", ["appId": .string(appID)])
        let past = try await world.graph(
            .post, "/applications/\(id)/addPassword", ["passwordCredential": ["endDateTime": "2020-01-01T00:00:00Z"]])
        #expect(past.status == 400)
        #expect(past.target == "passwordCredential.endDateTime")
        let soon = self.time(world, plus: 60)
        let made = try await world.graph(.post, "/applications/\(id)/addPassword", ["passwordCredential": ["endDateTime": .string(soon)]])
        let secret = try #require(made.body["secretText"]?.stringValue)
        let token = try await world.accessToken(appID, secret, World.arm)
        world.clock.advance(seconds: 61)
        let answer = try await world.send(.get, "/subscriptions", text: "", headers: [.authorization: "Bearer \(token)"])
        #expect(answer.status == 401)
    }

    private func time(_ world: World, plus seconds: Int64) -> String {
        Timestamp.text(milliseconds: world.clock.wall.milliseconds() + seconds * 1000)
    }

    @Test("I7 groups: members, nested members, check, removal; forms as az sends them")
    func groups() async throws {
        let world = try await World()
        func group(_ name: String) async throws -> String {
            let answer = try await world.graph(
                .post, "/groups",
                ["displayName": .string(name), "mailNickname": .string(name), "mailEnabled": false, "securityEnabled": true])
            #expect(answer.status == 201)
            let id = answer.body["id"]?.stringValue
            return try #require(id)
        }
        let outer = try await group("outer")
        let inner = try await group("inner")
        let actor = try await world.actor("ci")
        func reference(_ id: String) -> JSONValue { ["@odata.id": .string("https://localhost:8443/graph/v1.0/directoryObjects/\(id)")] }
        #expect(try await world.graph(.post, "/groups/\(outer)/members/$ref", reference(inner)).status == 204)
        #expect(try await world.graph(.post, "/groups/\(inner)/members/$ref", reference(outer)).status == 204)
        #expect(try await world.graph(.post, "/groups/\(inner)/members/$ref", reference(actor.objectID)).status == 204)
        #expect(try await world.graph(.post, "/groups/\(inner)/members/$ref", reference(actor.objectID)).status == 400)
        #expect(try await world.graph(.post, "/groups/\(inner)/members/$ref", reference(inner)).status == 400)
        let members = try await world.graph(.get, "/groups/\(inner)/members").values
        #expect(
            Set(members.compactMap { $0["@odata.type"]?.stringValue }) == ["#microsoft.graph.group", "#microsoft.graph.servicePrincipal"])
        let check = try await world.graph(.post, "/directoryObjects/\(actor.objectID)/checkMemberGroups", ["groupIds": [.string(outer)]])
        #expect(check.values == [.string(outer)])
        let ids = try await world.graph(
            .post, "/directoryObjects/getByIds", ["ids": [.string(outer), .string(actor.objectID), "gone"], "types": ["group"]])
        #expect(ids.values.compactMap { $0["id"]?.stringValue } == [outer])
        #expect(try await world.graph(.delete, "/groups/\(inner)/members/\(actor.objectID)/$ref").status == 204)
        #expect(
            try await world.graph(.post, "/directoryObjects/\(actor.objectID)/checkMemberGroups", ["groupIds": [.string(outer)]]).values
                == [])
        #expect(try await world.graph(.delete, "/groups/\(outer)").status == 204)
        #expect(try await world.graph(.get, "/groups/\(outer)").code == "Request_ResourceNotFound")
    }

    @Test("I3 lists have pages, and filters that are not understood are refused")
    func lists() async throws {
        let world = try await World()
        for number in 1...5 { _ = try await world.graph(.post, "/applications", ["displayName": "app-\(number)"]) }
        var names: [String] = []
        var path = "/applications?$top=2&$filter=" + World.encoded("startswith(displayName,'APP')")
        var pages = 0
        while true {
            let page = try await world.graph(.get, path)
            names += page.values.compactMap { $0["displayName"]?.stringValue }
            pages += 1
            guard let next = page.body["@odata.nextLink"]?.stringValue else { break }
            path = String(next.dropFirst("https://localhost:8443/graph/v1.0".count))
        }
        #expect(names == ["app-1", "app-2", "app-3", "app-4", "app-5"])
        #expect(pages == 3)
        for filter in ["displayName ne 'x'", "displayName eq 'x' or displayName eq 'y'", "secret eq 'x'", "displayName eq x", "("] {
            #expect(try await world.graph(.get, "/applications" + self.filter(filter)).status == 400, "\(filter)")
        }
        #expect(try await world.graph(.get, "/applications" + self.filter("displayName eq 'o''neil' and appId eq 'x'")).values == [])
    }

    @Test("I8 only a directory administrator or an owner touches an object; who administrates is in nobody else's hands")
    func owners() async throws {
        let world = try await World()
        let stranger = try await world.actor("stranger", role: "AcrPull")
        let owner = try await world.actor("owner", role: "Owner")
        let victim = try await world.actor("victim")
        let victimApplication = try #require(try await world.directory.application(victim.appID))

        // A program without any say in access sees itself and nobody else.
        #expect(try await world.graph(.get, "/servicePrincipals", as: stranger).code == "Authorization_RequestDenied")
        #expect(try await world.graph(.get, "/servicePrincipals/\(stranger.objectID)", as: stranger).status == 200)
        #expect(try await world.graph(.get, "/servicePrincipals/\(victim.objectID)", as: stranger).status == 403)
        #expect(try await world.graph(.post, "/applications", ["displayName": "x"], as: stranger).status == 403)
        // Whoever may assign roles registers applications and owns those, but resets nobody else's secret.
        #expect(try await world.graph(.get, "/servicePrincipals", as: owner).status == 200)
        let mine = try await world.graph(.post, "/applications", ["displayName": "mine"], as: owner).body
        let id = try #require(mine["id"]?.stringValue)
        #expect(try await world.graph(.post, "/applications/\(id)/addPassword", ["passwordCredential": [:]], as: owner).status == 200)
        let principal = try await world.graph(.post, "/servicePrincipals", ["appId": mine["appId"] ?? nil], as: owner).body
        let principalID = try #require(principal["id"]?.stringValue)
        #expect(try await world.graph(.post, "/servicePrincipals/\(principalID)/addPassword", [:], as: owner).status == 200)
        let bootstrap = try await world.administrator()
        for path in [
            "/servicePrincipals/\(victim.objectID)", "/applications/\(victimApplication.objectID)",
            "/servicePrincipals/\(bootstrap.objectID)",
        ] {
            #expect(try await world.graph(.post, path + "/addPassword", [:], as: owner).code == "Authorization_RequestDenied")
            #expect(try await world.graph(.delete, path, as: owner).status == 403)
        }
        #expect(
            try await world.graph(
                .post, "/users",
                ["userPrincipalName": "a@x.test", "displayName": "a", "passwordProfile": ["password": "correct horse"]], as: owner
            ).status == 403)
        #expect(try await world.graph(.post, "/groups", ["displayName": "g", "mailNickname": "g"], as: owner).status == 403)
        let theirs = try await world.directory.createApplication("theirs", owner: nil)
        #expect(try await world.graph(.post, "/servicePrincipals", ["appId": .string(theirs.appID)], as: owner).status == 403)
        // An owner that is added may; the only administrator cannot be removed by anybody.
        let reference: JSONValue = ["@odata.id": .string("x/directoryObjects/\(stranger.objectID)")]
        #expect(try await world.graph(.post, "/applications/\(victimApplication.objectID)/owners/$ref", reference).status == 204)
        #expect(
            try await world.graph(.post, "/applications/\(victimApplication.objectID)/addPassword", [:], as: stranger).status == 200)
        #expect(try await world.graph(.post, "/servicePrincipals/\(victim.objectID)/addPassword", [:], as: stranger).status == 200)
        #expect(try await world.graph(.delete, "/servicePrincipals/\(bootstrap.objectID)").status == 400)
        #expect(try await world.graph(.patch, "/servicePrincipals/\(bootstrap.objectID)", ["accountEnabled": false]).status == 400)
    }

    @Test("A1 users are made, changed and removed; weak passwords and what is not available are refused with the field")
    func users() async throws {
        let world = try await World()
        func body(_ name: String, _ password: String) -> JSONValue {
            [
                "userPrincipalName": .string(name), "displayName": "Ana", "accountEnabled": true, "mailNickname": "ana",
                "passwordProfile": ["password": .string(password), "forceChangePasswordNextSignIn": false],
            ]
        }
        for (name, password) in [
            ("ana", "correct horse"), ("a b@x", "correct horse"), ("ana@x.test", "short"), ("ana@x.test", "aaaaaaaaaaaa"),
            ("anatol@x.test", "anatol-1234567"),
        ] {
            #expect(try await world.graph(.post, "/users", body(name, password)).status == 400, "\(name) \(password)")
        }
        let made = try await world.graph(.post, "/users", body("ana@x.test", "correct horse"))
        #expect(made.status == 201)
        #expect(!made.body.serialized().contains("horse"))
        #expect(try await world.graph(.post, "/users", body("ANA@x.test", "correct horse")).target == "userPrincipalName")
        let listed = try await world.graph(.get, "/users" + self.filter("userPrincipalName eq 'ana@x.test'")).values
        #expect(listed.count == 1)
        #expect(try await world.graph(.patch, "/users/ana@x.test", ["displayName": "Ana B"]).status == 204)
        #expect(try await world.graph(.get, "/users/ana@x.test").body["displayName"] == "Ana B")
        #expect(try await world.graph(.patch, "/users/ana@x.test", ["jobTitle": "captain"]).target == "jobTitle")
        #expect(
            try await world.graph(
                .patch, "/users/ana@x.test", ["passwordProfile": ["password": "correct horse 2", "forceChangePasswordNextSignIn": true]]
            ).status == 400)
        #expect(try await world.graph(.delete, "/users/ana@x.test").status == 204)
        #expect(try await world.graph(.get, "/users/ana@x.test").status == 404)
        #expect(try await world.graph(.get, "/me").status == 400)
    }

    @Test("Unknown paths and bodies are refused in Graph's form", arguments: ["/nonsense", "/users/x/y/z", "/applications/x"])
    func unknown(path: String) async throws {
        let world = try await World()
        let answer = try await world.graph(.get, path)
        #expect(answer.status == 404)
        #expect(answer.message?.isEmpty == false)
        let none = try await world.send(.get, "/graph/v1.0/users", text: "", headers: [:])
        #expect(none.status == 401)
        #expect(none.code == "InvalidAuthenticationToken")
    }

    @Test(
        "I8 every kind of directory call by every kind of caller",
        arguments: ["none", "AcrPull", "Reader", "Contributor", "User Access Administrator", "Owner", "user", "administrator"])
    func matrix(role: String) async throws {
        let world = try await World()
        let caller: Actor
        switch role {
        case "administrator": caller = try await world.administrator()
        case "user":
            let user = try await world.directory.createUser("ana@x.test", displayName: "Ana", mailNickname: nil, password: "correct horse")
            let token = try await world.token([
                ("client_id", World.client), ("grant_type", "password"), ("username", user.name), ("password", "correct horse"),
                ("scope", World.graph + "/.default"),
            ])
            caller = Actor(
                objectID: user.objectID, appID: user.name, secret: "", management: "",
                directory: try #require(token.body["access_token"]?.stringValue))
        default: caller = try await world.actor("caller", role: role == "none" ? nil : role)
        }
        let (isAdministrator, delegates) = (role == "administrator", ["Owner", "User Access Administrator"].contains(role))
        let reads = isAdministrator || delegates || role == "user"
        let registers = isAdministrator || delegates
        let victim = try await world.actor("victim")
        let application = try #require(try await world.directory.application(victim.appID)).objectID
        let person = try await world.directory.createUser("bob@x.test", displayName: "Bob", mailNickname: nil, password: "correct horse")
        let group = try await world.directory.createGroup("g", mailNickname: "g", text: nil, owner: nil).objectID
        let reference: JSONValue = ["@odata.id": .string("x/directoryObjects/\(caller.objectID)")]
        let calls: [(HTTPRequest.Method, String, JSONValue?, Bool)] = [
            (.get, "/applications", nil, reads), (.get, "/servicePrincipals", nil, reads), (.get, "/users", nil, reads),
            (.get, "/groups", nil, reads), (.get, "/users/bob@x.test", nil, reads), (.get, "/groups/\(group)/members", nil, reads),
            (.get, "/servicePrincipals/\(victim.objectID)", nil, reads), (.get, "/applications/\(application)/owners", nil, reads),
            (.post, "/directoryObjects/getByIds", ["ids": []], reads), (.get, "/me/ownedObjects", nil, true),
            (.post, "/applications", ["displayName": "new"], registers),
            (.patch, "/applications/\(application)", ["displayName": "mine"], isAdministrator),
            (.post, "/applications/\(application)/addPassword", [:], isAdministrator),
            (.post, "/applications/\(application)/owners/$ref", reference, isAdministrator),
            (.post, "/servicePrincipals/\(victim.objectID)/addPassword", [:], isAdministrator),
            (.post, "/servicePrincipals/\(victim.objectID)/revokeSignInSessions", nil, isAdministrator),
            (.patch, "/servicePrincipals/\(victim.objectID)", ["accountEnabled": false], isAdministrator),
            (.post, "/groups/\(group)/members/$ref", reference, isAdministrator),
            (.post, "/groups", ["displayName": "h", "mailNickname": "h"], isAdministrator),
            (.patch, "/users/bob@x.test", ["passwordProfile": ["password": "correct horse 2"]], isAdministrator),
            (.post, "/users/\(person.objectID)/revokeSignInSessions", nil, isAdministrator),
            (.delete, "/users/\(person.objectID)", nil, isAdministrator), (.delete, "/groups/\(group)", nil, isAdministrator),
            (.delete, "/servicePrincipals/\(victim.objectID)", nil, isAdministrator),
            (.delete, "/applications/\(application)", nil, isAdministrator),
        ]
        for (method, path, body, isAllowed) in calls {
            let answer = try await world.graph(method, path, body, as: caller)
            #expect((answer.status == 403) == !isAllowed, "\(role): \(method) \(path) → \(answer.status) \(answer.body)")
            #expect(isAllowed ? answer.status < 300 : answer.code == "Authorization_RequestDenied", "\(role): \(method) \(path)")
        }
    }
}
