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
        try .refusal(
            error.code, error.message, detail: error.detail, status: error.status,
            headers: error.code == .tooManyRequests ? [.retryAfter: self.retryAfter] : [:])
    }

    /// Seconds after which asking again may help: uploads end within minutes.
    private static let retryAfter = "60"

    /// A name, digest or range that is none, with the text that was refused.
    static func refusal(_ error: OCIParseError) throws -> ServerResponse {
        switch error.subject {
        case .digest: try .refusal(.digestInvalid, error.description, detail: ["digest": error.text])
        case .byteRange: try .refusal(.blobUploadInvalid, error.description, detail: ["range": error.text])
        default: try .refusal(.nameInvalid, error.description, detail: ["name": error.text])
        }
    }
}
