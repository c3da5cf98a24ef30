// Why a management command failed, in the words and with the exit code that scripts written for `az` expect.

import JSON

/// A management command that could not do what it was asked.
///
/// Printed as `ERROR: (Code) message` where the server gave a code, with what to do next on a line of its own.
struct ManagementError: Error, Hashable, Sendable {
    /// The server's code (`ResourceNotFound`), nil for what was found out here.
    var code: String?
    var message: String
    /// What to do next, where the message does not say it.
    var advice: String?
    /// 1 in general, 2 for a command line that cannot be understood, 3 for what is not there.
    var exitCode: Int32

    init(code: String? = nil, _ message: String, advice: String? = nil, exitCode: Int32 = 1) {
        self.code = code
        self.message = message
        self.advice = advice
        self.exitCode = exitCode
    }

    static func usage(_ message: String, advice: String? = nil) -> ManagementError {
        ManagementError(message, advice: advice, exitCode: 2)
    }

    /// Reads an answer that refuses a request: ARM's and Graph's `{"error":{"code","message"}}`, or OAuth's
    /// `{"error","error_description"}` (RFC 6749, section 5.2).
    init(refusal response: ManagementResponse, of request: ManagementRequest) {
        exitCode = response.status == 404 ? 3 : 1
        let body = try? JSONValue(parsing: response.body)
        if let error = body?["error"], error.objectValue != nil {
            code = error["code"]?.stringValue
            var text = error["message"]?.stringValue ?? "The server refused \(request.summary) with status \(response.status)."
            for detail in error["details"]?.arrayValue ?? [] {
                if let message = detail["message"]?.stringValue { text += "\n\(message)" }
            }
            message = text
        } else if let error = body?["error"]?.stringValue {
            message = body?["error_description"]?.stringValue ?? error
        } else {
            message = "Operation returned an invalid status '\(response.status)' for \(request.summary)."
        }
        if response.status == 401, request.carriesToken { advice = "Run 'outport login' to sign in again." }
    }
}

extension ManagementError: CustomStringConvertible {
    var description: String {
        var text = code.map { "(\($0)) \(message)" } ?? message
        if let advice { text += "\n\(advice)" }
        return text
    }
}
