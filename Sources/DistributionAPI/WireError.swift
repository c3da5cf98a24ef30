// Refusals on the wire, in the form of the distribution specification, "Error Codes".

internal import HTTPServing
internal import HTTPTypes
internal import OCI
internal import RegistryCore

/// `{"errors":[{"code":…,"message":…,"detail":…}]}`
struct ErrorDocument: Encodable {
    struct Entry: Encodable {
        let code: String
        let message: String
        let detail: [String: String]?
    }

    let errors: [Entry]

    init(_ code: ErrorCode, _ message: String, detail: [String: String] = [:]) {
        self.errors = [Entry(code: code.rawValue, message: message, detail: detail.isEmpty ? nil : detail)]
    }
}

extension ServerResponse {
    /// A refusal.
    static func refusal(
        _ code: ErrorCode, _ message: String, detail: [String: String] = [:], status: Int? = nil, headers: HTTPFields = [:]
    ) throws -> ServerResponse {
        try .json(
            .init(code: status ?? code.status), ErrorDocument(code, message, detail: detail), headers: headers, type: "application/json")
    }

    static func refusal(_ error: RegistryError) throws -> ServerResponse {
        try .refusal(error.code, error.message, detail: error.detail, status: error.status)
    }
}
