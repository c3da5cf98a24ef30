// Keeps the listener's certificate in step with time, with the names it must cover, and with the operator's files.

internal import Foundation
internal import HTTPServing
internal import Logging
internal import Persistence
internal import ServiceLifecycle
internal import Synchronization

/// Where the listener's certificate comes from.
enum CertificateSource: Sendable {
    /// Issued by the own CA in the folder.
    case authority(CertificateAuthority, folder: String)
    /// Files of the operator.
    case given(certificate: String, key: String)

    /// The own CA; `nil` where the operator gives a certificate.
    var authority: CertificateAuthority? {
        if case .authority(let authority, _) = self { authority } else { nil }
    }

    /// Certificate and key as they should be now, for `names`.
    func current(_ names: [String]) throws -> (certificatePEM: String, keyPEM: String) {
        switch self {
        case .authority(let authority, let folder): try authority.leaf(folder: folder, names: names, now: Date())
        case .given(let certificate, let key):
            (String(decoding: try FileSystem.read(certificate), as: UTF8.self), String(decoding: try FileSystem.read(key), as: UTF8.self))
        }
    }
}

/// Renews, reissues or reloads the certificate. Connections that exist are not touched.
final class CertificateKeeper: Service {
    /// Seconds between two looks.
    private static let interval = 60

    let source: CertificateSource
    let context: TLSContextSource
    private let names: Mutex<[String]>
    private let used: Mutex<String>
    private let logger: Logger

    init(source: CertificateSource, names: [String], logger: Logger) throws {
        let current = try source.current(names)
        self.source = source
        self.context = try TLSContextSource(certificatePEM: current.certificatePEM, keyPEM: current.keyPEM)
        self.names = Mutex(names)
        self.used = Mutex(current.certificatePEM)
        self.logger = logger
    }

    /// Covers these names from the next connection on.
    func cover(_ names: [String]) {
        self.names.withLock { $0 = names }
        self.refresh()
    }

    func refresh() {
        do {
            let current = try self.source.current(self.names.withLock { $0 })
            guard self.used.withLock({ $0 != current.certificatePEM }) else { return }
            try self.context.replace(certificatePEM: current.certificatePEM, keyPEM: current.keyPEM)
            self.used.withLock { $0 = current.certificatePEM }
            self.logger.notice("certificate replaced; new connections use it")
        } catch {
            // The one in use goes on serving; the operator may be in the middle of replacing two files.
            self.logger.error("certificate could not be renewed", metadata: ["error": .string("\(error)")])
        }
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while (try? await Task.sleep(for: .seconds(Self.interval))) != nil { self.refresh() }
        }
    }
}
