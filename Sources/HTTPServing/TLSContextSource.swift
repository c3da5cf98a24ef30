// The TLS context new connections use. Replacing it rotates the certificate; connections that exist keep theirs.

package import NIOSSL
internal import Synchronization

/// Holds the current TLS context.
package final class TLSContextSource: Sendable {
    private let state: Mutex<NIOSSLContext>

    /// - Throws: ``CertificateError`` when certificate and key do not fit together.
    package init(certificatePEM: String, keyPEM: String) throws {
        self.state = Mutex(try Self.context(certificatePEM, keyPEM))
    }

    package var current: NIOSSLContext { self.state.withLock { $0 } }

    /// Uses another certificate from the next connection on.
    package func replace(certificatePEM: String, keyPEM: String) throws {
        let context = try Self.context(certificatePEM, keyPEM)
        self.state.withLock { $0 = context }
    }

    private static func context(_ certificatePEM: String, _ keyPEM: String) throws -> NIOSSLContext {
        do {
            let chain = try NIOSSLCertificate.fromPEMBytes(Array(certificatePEM.utf8)).map { NIOSSLCertificateSource.certificate($0) }
            let key = try NIOSSLPrivateKey(bytes: Array(keyPEM.utf8), format: .pem)
            var configuration = TLSConfiguration.makeServerConfiguration(certificateChain: chain, privateKey: .privateKey(key))
            configuration.minimumTLSVersion = .tlsv12
            // The server's order decides: flow control of HTTP/2 slows large blobs, so it is for those who speak nothing else.
            configuration.applicationProtocols = ["http/1.1", "h2"]
            // A peer that does not answer our close is not waited for: shutting down should not take its patience.
            configuration.shutdownTimeout = .seconds(1)
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw CertificateError("the TLS certificate and key cannot be used (\(error)); check that both are PEM and belong together")
        }
    }
}
