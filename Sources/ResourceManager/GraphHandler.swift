// The directory in the language of Microsoft Graph, as far as `az ad` and `az role` speak it.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import JSON
internal import OCI

/// A call to the directory that has been authenticated.
struct GraphCall: Sendable {
    let request: ServerRequest
    let caller: AuthorizedCaller
    /// What follows `v1.0`.
    let segments: [String]
    let body: JSONValue?
    /// The URL of `…/v1.0` as the client knows it.
    let base: String

    /// The body as an object.
    func document() throws(ResourceError) -> BodyField {
        guard let body else { throw ResourceError(.badRequest, .invalidContent, "The request has no body. Send a JSON object.") }
        let field = BodyField(body: body)
        guard try field.object() != nil else { throw field.invalid("it must be a JSON object") }
        return field
    }
}

/// Answers `/graph/v1.0/…`. The families of objects are in extensions.
struct GraphHandler: Sendable {
    let directory: Directory
    let policy: AccessPolicy
    let tenantID: String

    /// A refusal in Graph's form.
    struct Refusal: Error {
        let status: HTTPResponse.Status
        let code: String
        let message: String
        /// The property that is wrong.
        var target: String?

        var response: ServerResponse {
            var error: [String: JSONValue] = ["code": .string(self.code), "message": .string(self.message)]
            if let target {
                error["target"] = .string(target)
                error["details"] = [["code": .string(self.code), "message": .string(self.message), "target": .string(target)]]
            }
            return .document(self.status, ["error": .object(error)])
        }

        static func notFound(_ id: String) -> Refusal {
            .init(
                status: .notFound, code: "Request_ResourceNotFound",
                message: "Resource '\(id.prefix(120))' was not found in the directory or one of its queried references is not there.")
        }

        static func bad(_ message: String, target: String? = nil) -> Refusal {
            .init(status: .badRequest, code: "Request_BadRequest", message: message, target: target)
        }
    }

    func answer(_ call: GraphCall) async -> ServerResponse {
        do {
            return try await self.route(call)
        } catch {
            return Self.refusal(error, call.request).response
        }
    }

    /// Every refusal as Graph words it. None says "does not exist": clients take that for a directory that is catching up, and
    /// try again for minutes.
    private static func refusal(_ error: any Error, _ request: ServerRequest) -> Refusal {
        switch error {
        case let error as Refusal: return error
        case let error as IdentityError:
            let message = error.message.prefix(1).uppercased() + error.message.dropFirst() + "."
            switch error.code {
            case .notFound: return .init(status: .notFound, code: "Request_ResourceNotFound", message: message)
            case .denied: return .init(status: .forbidden, code: "Authorization_RequestDenied", message: message)
            case .alreadyExists:
                let target = ["displayName", "appId", "userPrincipalName", "members", "owners"].first { message.contains($0) }
                let code = target == "members" || target == "owners" ? "Request_BadRequest" : "Request_MultipleObjectsWithSameKeyValue"
                return .init(status: .badRequest, code: code, message: message, target: target)
            case .limitReached: return .init(status: .badRequest, code: "Directory_QuotaExceeded", message: message)
            case .busy: return .init(status: .serviceUnavailable, code: "Service_Unavailable", message: message)
            case .invalidCredentials: return .bad(message, target: "passwordProfile.password")
            default: return .bad(message)
            }
        case let error as ResourceError:
            return .init(
                status: error.status, code: error.status == .badRequest ? "Request_BadRequest" : error.code.rawValue,
                message: error.message,
                target: error.target)
        default:
            if let known = ResourceError(translating: error) {
                return .init(status: known.status, code: known.code.rawValue, message: known.message)
            }
            request.logger.error("directory call failed", metadata: ["path": .string(request.path), "error": .string("\(error)")])
            return .init(
                status: .internalServerError, code: "Service_InternalServerError",
                message: "The server could not do this; its log has the cause under the request id \(request.correlationID).")
        }
    }

    private func route(_ call: GraphCall) async throws -> ServerResponse {
        let words = call.segments.map { $0.lowercased() }
        switch words.first {
        case "applications": return try await self.applications(call, words)
        case "serviceprincipals": return try await self.servicePrincipals(call, words)
        case "users": return try await self.users(call, words)
        case "me": return try await self.me(call, words)
        case "groups": return try await self.groups(call, words)
        case "directoryobjects": return try await self.directoryObjects(call, words)
        // Asked for by clients that list what applications were consented to: nothing is.
        case "oauth2permissiongrants" where words.count == 1 && call.request.method == .get: return .list([])
        default: throw self.unknown(call)
        }
    }

    func unknown(_ call: GraphCall) -> Refusal {
        .init(
            status: .notFound, code: "BadRequest",
            message:
                "'\(call.request.method.rawValue.prefix(10)) /\(call.segments.joined(separator: "/").prefix(200))' is no call that this "
                + "directory knows.")
    }

    // MARK: Common parts

    func require(_ action: DirectoryAction, _ call: GraphCall) async throws {
        try await self.policy.require(action, for: call.caller)
    }

    /// A page of a list, with where the next one is.
    func page(_ list: DirectoryList, _ call: GraphCall) async throws -> ServerResponse {
        try await self.require(.readAll, call)
        let filter = try call.request.query("$filter").flatMap { $0.isEmpty ? nil : try DirectoryFilter($0) }
        func number(_ name: String) throws(Refusal) -> Int64? {
            guard let text = call.request.query(name) else { return nil }
            guard let value = Int64(text), value >= 0 else { throw .bad("The value of '\(name)' is no number.", target: name) }
            return value
        }
        let count = try number("$top").map { Int(min($0, Int64(Directory.maximumPage))) } ?? 100
        let page = try await self.directory.list(list, filter: filter, start: try number("$skiptoken"), count: count)
        var values: [JSONValue] = []
        for object in page.objects { values.append(try await self.value(object)) }
        var answer: JSONValue = [
            "@odata.context": .string("\(call.base)/$metadata#\(list.rawValue)"), "value": .array(values),
        ]
        if let next = page.next {
            var link = "\(call.base)/\(list.rawValue)?$top=\(count)&$skiptoken=\(next)"
            if let text = call.request.query("$filter") { link += "&$filter=\(GraphText.encoded(text))" }
            answer["@odata.nextLink"] = .string(link)
        }
        return .document(answer)
    }

    func list(_ objects: [DirectoryObject], isTyped: Bool = true) async throws -> ServerResponse {
        var values: [JSONValue] = []
        for object in objects { values.append(try await self.value(object, isTyped: isTyped)) }
        return .list(values)
    }

    /// The object that `{"@odata.id": "…/directoryObjects/ID"}` names.
    func reference(_ call: GraphCall) throws -> String {
        let field = try call.document()["@odata.id"]
        let text = try field.requiredString()
        guard let id = text.split(separator: "/").last.map({ $0.lowercased() }), id.utf8.count == 36 else {
            throw Refusal.bad(
                "'\(text.prefix(200))' is no reference to an object, such as \(call.base)/directoryObjects/ID.", target: "@odata.id")
        }
        return id
    }

    /// Refuses what this directory would otherwise ignore.
    func refuse(_ body: BodyField, beyond known: Set<String>) throws {
        for (name, value) in body.value?.objectValue ?? [:] where !known.contains(name) {
            switch value {
            case .null, .array([]), .object([:]), .bool(false), .string(""): continue
            default:
                throw Refusal.bad(
                    "The property '\(name.prefix(60))' is not available in this directory; nothing was changed.",
                    target: String(name.prefix(60)))
            }
        }
    }

    /// Owners of an object: list, add, remove.
    func owners(_ call: GraphCall, _ words: [String], of id: String) async throws -> ServerResponse {
        switch (call.request.method, words.count, words.last) {
        case (.get, 3, _):
            try await self.require(.read(id), call)
            return try await self.list(self.directory.owners(of: id))
        case (.post, 4, "$ref"):
            try await self.require(.manage(id), call)
            try await self.directory.addOwner(try self.reference(call), to: id)
            return ServerResponse(.noContent)
        case (.delete, 5, "$ref"):
            try await self.require(.manage(id), call)
            try await self.directory.removeOwner(words[3], from: id)
            return ServerResponse(.noContent)
        default: throw self.unknown(call)
        }
    }
}

/// Text of Graph.
enum GraphText {
    /// Percent-encodes everything but the unreserved characters of RFC 3986.
    static func encoded(_ text: String) -> String {
        text.utf8.map { byte in
            ASCII.isLetter(byte) || ASCII.isDigit(byte) || "-._~".utf8.contains(byte)
                ? String(decoding: [byte], as: UTF8.self) : "%" + ASCII.hex([byte]).uppercased()
        }.joined()
    }
}
