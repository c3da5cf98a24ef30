// Certificates in files, as they are given for a service principal to sign in with.

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

enum CertificateText {
    /// The base64 of the first certificate in a PEM file; nil when there is none in it.
    static func read(_ path: String) throws(ManagementError) -> String? {
        do {
            return CertificateFile.certificate(in: String(decoding: try Data(contentsOf: URL(filePath: path)), as: UTF8.self))
        } catch {
            throw ManagementError("The file '\(path)' cannot be read: \(error)", advice: "Check --cert.")
        }
    }
}
