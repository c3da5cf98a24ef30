// Answers made of JSON documents.

internal import HTTPServing
internal import HTTPTypes
internal import JSON
internal import NIOCore

extension ServerResponse {
    /// A document as ARM sends it.
    static func document(_ status: HTTPResponse.Status, _ value: JSONValue, headers: HTTPFields = [:]) -> ServerResponse {
        var headers = headers
        headers[.contentType] = "application/json; charset=utf-8"
        headers[.cacheControl] = headers[.cacheControl] ?? "no-cache"
        return ServerResponse(status, headers: headers, body: .bytes(ByteBuffer(string: value.serialized())))
    }

    static func document(_ value: JSONValue) -> ServerResponse { .document(.ok, value) }

    /// A list; it has one page.
    static func list(_ values: [JSONValue]) -> ServerResponse { .document(.ok, ["value": .array(values)]) }
}
