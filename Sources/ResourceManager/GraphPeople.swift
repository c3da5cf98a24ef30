// Users, groups, and objects of any kind through Graph.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON

extension GraphHandler {
    private static let knownOfUsers: Set<String> = [
        "userPrincipalName", "displayName", "mailNickname", "accountEnabled", "passwordProfile", "directoryAdministrator", "@odata.type",
    ]
    private static let knownOfGroups: Set<String> = [
        "displayName", "mailNickname", "description", "mailEnabled", "securityEnabled", "@odata.type",
    ]

    // MARK: Users

    func users(_ call: GraphCall, _ words: [String]) async throws -> ServerResponse {
        guard words.count > 1 else {
            switch call.request.method {
            case .get: return try await self.page(.users, call)
            case .post: return try await self.createUser(call)
            default: throw self.unknown(call)
            }
        }
        guard let user = try await self.directory.user(words[1]) else {
            try await self.require(.readAll, call)
            throw Refusal.notFound(words[1])
        }
        switch (call.request.method, words.dropFirst(2).first, words.count) {
        case (.get, nil, _):
            try await self.require(.read(user.objectID), call)
            return .document(try await self.value(.user(user)))
        case (.patch, nil, _):
            try await self.require(.administrate, call)
            return try await self.patchUser(user, call)
        case (.delete, nil, _):
            try await self.require(.administrate, call)
            try await self.directory.deleteUser(user.objectID)
            return ServerResponse(.noContent)
        case (.post, "getmembergroups", 3):
            try await self.require(.read(user.objectID), call)
            return .list(try await self.directory.memberGroups(of: user.objectID).map { .string($0) })
        case (.post, "revokesigninsessions", 3):
            if call.caller.principal.objectID != user.objectID { try await self.require(.administrate, call) }
            try await self.directory.revoke(user.objectID)
            return .document(["value": true])
        default: throw self.unknown(call)
        }
    }

    private func createUser(_ call: GraphCall) async throws -> ServerResponse {
        try await self.require(.administrate, call)
        let body = try call.document()
        try self.refuse(body, beyond: Self.knownOfUsers)
        let name = try body["userPrincipalName"].requiredString()
        let displayName = try body["displayName"].requiredString()
        let password = try Self.password(body["passwordProfile"])
        guard let password else { throw try body["passwordProfile"]["password"].invalid("it is required") }
        let user = try await self.directory.createUser(
            name, displayName: displayName, mailNickname: try body["mailNickname"].string(maximum: 64), password: password,
            isEnabled: try body["accountEnabled"].bool(lenient: true) ?? true,
            isDirectoryAdministrator: try body["directoryAdministrator"].bool() ?? false)
        return .document(.created, try await self.value(.user(user)))
    }

    private static func password(_ profile: BodyField) throws -> String? {
        if try profile["forceChangePasswordNextSignIn"].bool(lenient: true) == true {
            throw Refusal.bad(
                "Changing the password at the next sign-in cannot be demanded here; nothing was changed.",
                target: "passwordProfile.forceChangePasswordNextSignIn")
        }
        return try profile["password"].string(maximum: 1024)
    }

    private func patchUser(_ user: DirectoryUser, _ call: GraphCall) async throws -> ServerResponse {
        let body = try call.document()
        try self.refuse(body, beyond: Self.knownOfUsers.subtracting(["userPrincipalName", "directoryAdministrator"]))
        try await self.directory.updateUser(
            user.objectID, displayName: try body["displayName"].string(maximum: 256),
            mailNickname: try body["mailNickname"].string(maximum: 64),
            password: try Self.password(body["passwordProfile"]), isEnabled: try body["accountEnabled"].bool(lenient: true))
        return ServerResponse(.noContent)
    }

    // MARK: The caller

    func me(_ call: GraphCall, _ words: [String]) async throws -> ServerResponse {
        let principal = call.caller.principal
        switch (call.request.method, words.dropFirst().first, words.count) {
        case (.get, "ownedobjects", 2): return try await self.list(self.directory.owned(by: principal.objectID))
        case (.get, nil, 1):
            guard let user = try await self.directory.user(principal.objectID) else {
                throw Refusal.bad("/me request is only valid with delegated authentication flow: a service principal is signed in.")
            }
            return .document(try await self.value(.user(user)))
        case (.post, "changepassword", 2):
            guard principal.kind == .user else { throw Refusal.bad("Only users have passwords to change.") }
            let body = try call.document()
            let fresh = try body["newPassword"].requiredString()
            do {
                _ = try await self.directory.authenticate(user: principal.name, password: try body["currentPassword"].requiredString())
            } catch let error as IdentityError {
                throw Refusal.bad("The current password is not right: \(error.message).", target: "currentPassword")
            }
            try await self.directory.updateUser(principal.objectID, password: fresh)
            return ServerResponse(.noContent)
        default: throw self.unknown(call)
        }
    }

    // MARK: Groups

    func groups(_ call: GraphCall, _ words: [String]) async throws -> ServerResponse {
        guard words.count > 1 else {
            switch call.request.method {
            case .get: return try await self.page(.groups, call)
            case .post: return try await self.createGroup(call)
            default: throw self.unknown(call)
            }
        }
        guard let group = try await self.directory.group(words[1]) else {
            try await self.require(.readAll, call)
            throw Refusal.notFound(words[1])
        }
        let id = group.objectID
        switch (call.request.method, words.dropFirst(2).first, words.count) {
        case (.get, nil, _):
            try await self.require(.read(id), call)
            return .document(try await self.value(.group(group)))
        case (.patch, nil, _):
            try await self.require(.manage(id), call)
            let body = try call.document()
            try self.refuse(body, beyond: ["displayName", "description", "securityEnabled"])
            try Self.requireSecurity(body["securityEnabled"])
            try await self.directory.updateGroup(
                id, displayName: try body["displayName"].string(maximum: 256), text: try body["description"].string(maximum: 1024))
            return ServerResponse(.noContent)
        case (.delete, nil, _):
            try await self.require(.manage(id), call)
            try await self.directory.deleteGroup(id)
            return ServerResponse(.noContent)
        case (.get, "members", 3):
            try await self.require(.read(id), call)
            return try await self.list(self.directory.members(of: id))
        case (.post, "members", 4) where words[3] == "$ref":
            try await self.require(.manage(id), call)
            try await self.directory.addMember(try self.reference(call), to: id)
            return ServerResponse(.noContent)
        case (.delete, "members", 5) where words[4] == "$ref":
            try await self.require(.manage(id), call)
            try await self.directory.removeMember(words[3], from: id)
            return ServerResponse(.noContent)
        case (.post, "getmembergroups", 3):
            try await self.require(.read(id), call)
            return .list(try await self.directory.memberGroups(of: id).map { .string($0) })
        case (_, "owners", _): return try await self.owners(call, words, of: id)
        default: throw self.unknown(call)
        }
    }

    /// Groups are there to have roles.
    private static func requireSecurity(_ field: BodyField) throws(ResourceError) {
        if try field.bool() == false { throw field.invalid("groups of this directory are security groups") }
    }

    private func createGroup(_ call: GraphCall) async throws -> ServerResponse {
        try await self.require(.administrate, call)
        let body = try call.document()
        try self.refuse(body, beyond: Self.knownOfGroups)
        if try body["mailEnabled"].bool() == true { throw try body["mailEnabled"].invalid("groups of this directory have no mail") }
        try Self.requireSecurity(body["securityEnabled"])
        let group = try await self.directory.createGroup(
            try body["displayName"].requiredString(), mailNickname: try body["mailNickname"].requiredString(),
            text: try body["description"].string(maximum: 1024), owner: call.caller.principal.objectID)
        return .document(.created, try await self.value(.group(group)))
    }

    // MARK: Objects of any kind

    func directoryObjects(_ call: GraphCall, _ words: [String]) async throws -> ServerResponse {
        switch (call.request.method, words.count, words.last) {
        case (.post, 2, "getbyids"):
            try await self.require(.readAll, call)
            let body = try call.document()
            let ids = try body["ids"].strings(maximum: 1000) ?? []
            let types = Set((try body["types"].strings(maximum: 20) ?? []).map { $0.lowercased() })
            let found = try await self.directory.objects(ids).filter { object in
                switch object {
                case .user: types.isEmpty || types.contains("user") || types.contains("directoryobject")
                case .group: types.isEmpty || types.contains("group") || types.contains("directoryobject")
                case .servicePrincipal: types.isEmpty || types.contains("serviceprincipal") || types.contains("directoryobject")
                case .application: types.isEmpty || types.contains("application") || types.contains("directoryobject")
                }
            }
            return try await self.list(found)
        case (.get, 2, _):
            try await self.require(.read(words[1]), call)
            guard let object = try await self.directory.object(words[1]) else { throw Refusal.notFound(words[1]) }
            return .document(try await self.value(object, isTyped: true))
        case (.post, 3, "checkmembergroups"):
            try await self.require(.read(words[1]), call)
            let wanted = Set((try call.document()["groupIds"].strings(maximum: 100) ?? []).map { $0.lowercased() })
            return .list(try await self.directory.memberGroups(of: words[1]).filter(wanted.contains).map { .string($0) })
        case (.post, 3, "getmembergroups"):
            try await self.require(.read(words[1]), call)
            return .list(try await self.directory.memberGroups(of: words[1]).map { .string($0) })
        default: throw self.unknown(call)
        }
    }
}
