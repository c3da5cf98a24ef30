// Keeps the listener's certificate in step with time, with the names it must cover, and with the operator's files.

package import Logging
package import Persistence
internal import ServiceLifecycle
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Where the listener's certificate comes from.
package enum CertificateSource: Sendable {
    /// Issued by the own CA in the folder.
    case authority(CertificateAuthority, folder: String)
    /// Files of the operator.
    case given(certificate: String, key: String)

    /// The own CA; `nil` where the operator gives a certificate.
    package var authority: CertificateAuthority? {
        if case .authority(let authority, _) = self { authority } else { nil }
    }

    /// What to do about a certificate that ends.
    fileprivate var advice: String {
        switch self {
        case .authority(_, let folder):
            "the own authority ends with it: move ca.pem and ca.key away from \(folder), start again, and give clients the new ca.pem, sites new connection strings"
        case .given(let certificate, let key): "replace \(certificate) and \(key); they are taken within a minute"
        }
    }

    /// Certificate and key as they should be now, for `names`.
    fileprivate func current(_ names: [String], now: Date) throws -> (certificatePEM: String, keyPEM: String) {
        switch self {
        case .authority(let authority, let folder): try authority.leaf(folder: folder, names: names, now: now)
        case .given(let certificate, let key):
            (String(decoding: try FileSystem.read(certificate), as: UTF8.self), String(decoding: try FileSystem.read(key), as: UTF8.self))
        }
    }
}

/// Renews, reissues or reloads the certificate. Connections that exist are not touched.
package final class CertificateKeeper: Service {
    /// Seconds between two looks.
    package static let interval = 60

    package let source: CertificateSource
    package let context: TLSContextSource
    private let names: Mutex<[String]>
    private let used: Mutex<String>
    private let watch: Mutex<CertificateWatch>
    private let logger: Logger
    private let clock: WallClock

    package init(source: CertificateSource, names: [String], logger: Logger, clock: WallClock = .system) throws {
        let current = try source.current(names, now: clock.date)
        self.clock = clock
        self.source = source
        self.context = try TLSContextSource(certificatePEM: current.certificatePEM, keyPEM: current.keyPEM)
        self.names = Mutex(names)
        self.used = Mutex(current.certificatePEM)
        self.watch = Mutex(CertificateWatch(advice: source.advice))
        self.logger = logger
        self.lookAtUsed()
    }

    /// Covers these names from the next connection on.
    package func cover(_ names: [String]) {
        self.names.withLock { $0 = names }
        self.refresh()
    }

    /// Looks whether there is another certificate, and uses it.
    package func refresh() {
        defer { self.lookAtUsed() }
        do {
            let current = try self.source.current(self.names.withLock { $0 }, now: self.clock.date)
            guard self.used.withLock({ $0 != current.certificatePEM }) else { return }
            try self.context.replace(certificatePEM: current.certificatePEM, keyPEM: current.keyPEM)
            self.used.withLock { $0 = current.certificatePEM }
            self.logger.notice("certificate replaced; new connections use it")
        } catch {
            // The one in use goes on serving; the operator may be in the middle of replacing two files.
            self.logger.error("certificate could not be renewed", metadata: ["error": .string("\(error)")])
        }
    }

    private func lookAtUsed() {
        let pem = self.used.withLock { $0 }
        self.watch.withLock { $0.look(at: pem, now: self.clock.milliseconds(), logger: self.logger) }
    }

    package func run() async throws {
        await cancelWhenGracefulShutdown {
            while (try? await Task.sleep(for: .seconds(Self.interval))) != nil { self.refresh() }
        }
    }
}

extension WallClock {
    fileprivate var date: Date { Date(timeIntervalSince1970: Double(self.milliseconds()) / 1000) }
}
