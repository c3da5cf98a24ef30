// The one error of this target: a name or document from outside that does not follow its grammar.

/// Says which kind of value was being parsed, the text given (shortened) and why it was refused.
package struct OCIParseError: Error, Sendable, CustomStringConvertible {
    /// What was being parsed.
    package enum Subject: String, Sendable {
        case digest
        case repositoryName = "repository name"
        case tag
        case reference
        case mediaType = "media type"
        case manifest
        case scope
        case byteRange = "byte range"
    }

    package let subject: Subject
    /// The text that was refused, at most 128 characters of it.
    package let text: String
    package let reason: String

    package init(_ subject: Subject, _ text: String, _ reason: String) {
        self.subject = subject
        self.text = text.count > 128 ? String(text.prefix(128)) + "…" : text
        self.reason = reason
    }

    package var description: String {
        self.text.isEmpty
            ? "invalid \(self.subject.rawValue): \(self.reason)" : "invalid \(self.subject.rawValue) '\(self.text)': \(self.reason)"
    }
}
