// What requests say about the state they expect, and pages of long lists: the same for every resource, so it lies around the routes.

internal import Crypto
internal import HTTPServing
internal import HTTPTypes
internal import JSON
internal import NIOCore
internal import OCI

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// `If-Match` and `If-None-Match` of a request (RFC 9110, section 13).
struct Conditions: Sendable {
    private let match: [String]
    private let noneMatch: [String]

    init(_ headers: HTTPFields) {
        self.match = Self.tags(headers[values: .ifMatch])
        self.noneMatch = Self.tags(headers[values: .ifNoneMatch])
    }

    private static func tags(_ values: [String]) -> [String] {
        values.flatMap { $0.split(separator: ",") }.map {
            let tag = $0.drop { $0 == " " }
            return String((tag.hasPrefix("W/") ? tag.dropFirst(2) : tag).prefix { $0 != " " })
        }.filter { !$0.isEmpty }
    }

    var isEmpty: Bool { self.match.isEmpty && self.noneMatch.isEmpty }

    /// Whether a reader has what it would be sent.
    func isCurrent(_ tag: String) -> Bool { self.noneMatch.contains { $0 == tag || $0 == "*" } }

    /// - Parameter current: the tag of what is there; `nil` for nothing.
    /// - Throws: 412 for a change of something else than the client has seen.
    func check(_ current: String?) throws(ResourceError) {
        if !self.match.isEmpty, !self.match.contains(where: { $0 == current || ($0 == "*" && current != nil) }) {
            throw ResourceError(
                .preconditionFailed, .preconditionFailed,
                current == nil
                    ? "The request expects a resource (If-Match) that is not there."
                    : "The resource has changed since the client read it (If-Match): its ETag is \(current ?? ""). Read it again, then repeat the change."
            )
        }
        if let current, self.isCurrent(current) {
            throw ResourceError(
                .preconditionFailed, .preconditionFailed,
                "The request expects that there is no such resource (If-None-Match), and there is one, with the ETag \(current).")
        }
    }
}

/// What resources show that nobody has set: it changes by itself, and is no reason to refuse a change of what was set.
private enum Observed {
    static func members(of type: String) -> JSONValue? {
        switch type.lowercased() {
        case "microsoft.containerregistry/registries/connectedregistries": self.connectedRegistry
        case "microsoft.kubernetesconfiguration/extensions": self.clusterExtension
        default: nil
        }
    }

    /// As patches that take them out.
    private static let connectedRegistry: JSONValue = [
        "properties": [
            "version": nil, "connectionState": nil, "lastActivityTime": nil, "activation": nil, "statusDetails": nil, "loginServer": nil,
            "bytesReceived": nil, "bytesSent": nil, "bytesLeft": nil, "byteBudget": ["used": nil], "nextSyncWindow": nil,
            "syncHistory": nil, "pendingChanges": nil, "inStepSince": nil, "registrySyncResult": nil,
            "parent": ["syncProperties": ["lastSyncTime": nil, "gatewayEndpoint": nil]],
        ]
    ]
    private static let clusterExtension: JSONValue = [
        "properties": ["currentVersion": nil, "provisioningState": nil, "errorInfo": nil, "statuses": nil]
    ]
}

extension ServerResponse {
    private var resource: JSONValue? {
        guard self.status == .ok || self.status == .created, case .bytes(let buffer) = self.body,
            let document = try? JSONValue(parsing: buffer.readableBytesView), document["id"]?.stringValue?.hasPrefix("/") == true
        else { return nil }
        return document
    }

    /// The tag of a resource that is answered; `nil` for lists and for what is no resource.
    var resourceTag: String? { self.resource.map(Self.tag) }

    private static func tag(_ document: JSONValue) -> String {
        var document = document
        if let observed = Observed.members(of: document["type"]?.stringValue ?? "") { document.apply(mergePatch: observed) }
        var hash = SHA256()
        hash.update(data: Array(document.serialized().utf8))
        return "\"" + hash.finalize().prefix(12).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() + "\""
    }

    /// The same with its tag, or without its body for a reader who has it.
    func tagged(_ conditions: Conditions, isRead: Bool) -> ServerResponse {
        guard let document = self.resource else { return self }
        let tag = Self.tag(document)
        // What shows more than was set is sent: the tag does not say whether that is still the same.
        let isObserved = Observed.members(of: document["type"]?.stringValue ?? "") != nil
        if isRead, !isObserved, conditions.isCurrent(tag) {
            return ServerResponse(.notModified, headers: [.eTag: tag, .cacheControl: "no-cache"])
        }
        var response = self
        response.headers[.eTag] = tag
        return response
    }
}

/// Pages of lists.
enum ListPage {
    /// Entries of a page.
    static let size = 1000
    private static let parameter = "$skipToken"

    /// One page of a list that is longer, and where the next one is.
    ///
    /// A page begins behind the entry that ended the one before, by its id: what is made or deleted meanwhile shifts nothing.
    static func page(_ response: ServerResponse, _ request: ServerRequest, base: String) throws(ResourceError) -> ServerResponse {
        guard response.status == .ok, case .bytes(let buffer) = response.body else { return response }
        let token = request.query(self.parameter)
        // Most lists are short, and their text says so.
        guard token != nil || buffer.readableBytes > Self.size * 20 else { return response }
        guard case .object(var members)? = try? JSONValue(parsing: buffer.readableBytesView), let listed = members["value"]?.arrayValue,
            members.count == 1, token != nil || listed.count > Self.size
        else { return response }
        func key(_ entry: JSONValue) -> String { entry["id"]?.stringValue?.lowercased() ?? "" }
        // Whatever order a short list has: where a page ends must say where the next one begins.
        let all = listed.map { (key: key($0), entry: $0) }.sorted { $0.key < $1.key }
        var start = 0
        if let token {
            guard let bytes = Data(base64Encoded: token), let id = String(data: bytes, encoding: .utf8)?.lowercased() else {
                throw .invalid(self.parameter, "it is none that this server has given out")
            }
            start = all.firstIndex { $0.key > id } ?? all.count
        }
        let entries = all[start...].prefix(self.size).map(\.entry)
        members["value"] = .array(entries)
        if start + entries.count < all.count, let last = entries.last?["id"]?.stringValue {
            let query =
                request.query.filter { $0.name.lowercased() != self.parameter.lowercased() }
                + [(name: self.parameter, value: Data(last.utf8).base64EncodedString())]
            let text = query.map { "\(self.encoded($0.name))=\(self.encoded($0.value))" }.joined(separator: "&")
            members["nextLink"] = .string("\(base)\(request.path)?\(text)")
        }
        return .document(.object(members))
    }

    /// The dollar of `$filter` stays, as clients of ARM write it.
    private static func encoded(_ text: String) -> String {
        text.utf8.map { byte in
            ASCII.isLetter(byte) || ASCII.isDigit(byte) || "-._~$".utf8.contains(byte)
                ? String(decoding: [byte], as: UTF8.self) : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
        }.joined()
    }
}
