// The one error of this target, and the one place where errno becomes a sentence.

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// What went wrong with the disk or the database: what was tried, the cause, and what to do next.
package struct PersistenceError: Error, Sendable, CustomStringConvertible {
    /// Kinds a caller decides on.
    package enum Code: String, Sendable {
        case inUse
        case notFound
        case noSpace
        case digestMismatch
        case sizeMismatch
        case constraint
        case busy
        case newerSchema
        case io
    }

    package let code: Code
    package let tried: String
    package let cause: String
    package let advice: String?

    package init(_ code: Code, tried: String, cause: String, advice: String? = nil) {
        self.code = code
        self.tried = tried
        self.cause = cause
        self.advice = advice
    }

    package var description: String {
        "could not \(self.tried): \(self.cause)" + (self.advice.map { "; \($0)" } ?? "")
    }

    /// Turns the current `errno` into an error.
    static func systemCall(_ tried: String, errno number: Int32 = errno) -> PersistenceError {
        let cause = String(cString: strerror(number))
        switch number {
        case ENOSPC, EDQUOT:
            return .init(.noSpace, tried: tried, cause: cause, advice: "free space on the data folder's disk, then repeat the request")
        case EROFS, EACCES, EPERM:
            return .init(.io, tried: tried, cause: cause, advice: "make the data folder writable for the user that runs outport")
        case ENOENT:
            return .init(.notFound, tried: tried, cause: cause)
        default:
            return .init(.io, tried: tried, cause: cause)
        }
    }
}
