// Tells an operator of a certificate that ends, while there is time to do something about it.

internal import Logging
internal import NIOSSL
internal import Persistence

/// Watches how long the certificate in use is good: one that nobody replaces turns every client away at once.
///
/// Told once a day, at most, and at once when it is another certificate or its end has come.
struct CertificateWatch {
    /// How a certificate stands in its time.
    private enum State: Equatable {
        case good
        case early
        case ending
        case ended
    }

    /// Days before the end from which on it is told.
    static let days: Int64 = 30

    private let advice: Logger.Message
    private var told: (certificate: NIOSSLCertificate, state: State, at: Int64)?

    /// - Parameter advice: what to do.
    init(advice: String) { self.advice = "\(advice)" }

    /// Looks at the certificate in use.
    ///
    /// - Parameter now: milliseconds since 1970.
    mutating func look(at pem: String, now: Int64, logger: Logger) {
        guard let certificate = try? NIOSSLCertificate.fromPEMBytes(Array(pem.utf8)).first else { return }
        let (begins, ends) = (Int64(certificate.notValidBefore) * 1000, Int64(certificate.notValidAfter) * 1000)
        let state: State =
            if now >= ends { .ended } else if now < begins { .early } else if ends - now <= Self.days * 86_400_000 { .ending } else {
                .good
            }
        if let told, told.certificate == certificate, told.state == state, now - told.at < 86_400_000, told.at <= now { return }
        self.told = (certificate, state, now)
        var facts: Logger.Metadata = ["advice": "\(self.advice)", "ends": .string(Timestamp.text(milliseconds: ends))]
        switch state {
        case .good: return
        case .early:
            facts["begins"] = .string(Timestamp.text(milliseconds: begins))
            logger.error("certificate is not good yet, or this machine's clock is wrong: clients refuse it", metadata: facts)
        case .ending: logger.warning("certificate ends soon", metadata: facts)
        case .ended: logger.error("certificate has ended: clients refuse it", metadata: facts)
        }
    }
}
