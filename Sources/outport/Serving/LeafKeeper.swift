// Keeps the server's certificate in step with the names it must cover and with time.

internal import Foundation
internal import HTTPServing
internal import Logging
internal import Persistence

/// Issues a new certificate from the own CA when registries in new regions appear.
struct LeafKeeper: Sendable {
    let folder: DataFolder
    let names: ServerNames
    let tls: (context: TLSContextSource, authority: CertificateAuthority?)?
    let logger: Logger

    /// Covers these registries from the next connection on. A given certificate is the operator's affair.
    func cover(_ registries: [(name: String, region: String)]) {
        guard let tls, let authority = tls.authority else { return }
        do {
            let leaf = try authority.leaf(folder: self.folder.tlsPath, names: self.names.certificateNames(registries: registries), now: Date())
            try tls.context.replace(certificatePEM: leaf.certificatePEM, keyPEM: leaf.keyPEM)
        } catch {
            self.logger.error("certificate could not be renewed", metadata: ["error": .string("\(error)")])
        }
    }
}
