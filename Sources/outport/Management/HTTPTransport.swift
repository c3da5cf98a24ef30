// Carries management requests over HTTPS with async-http-client.

import AsyncHTTPClient
import NIOCore
import RegistryClient

/// A transport that verifies the server against the system's roots or against one file of certificates, and follows no
/// redirect: a token goes to the host it was asked for and nowhere else.
struct HTTPTransport: ManagementTransport {
    private let client: HTTPClient
    private let usesOwnRoots: Bool
    /// Attempts at a connection; a machine that has been asleep, or is very busy, may let one of them pass.
    private static let connectAttempts = 3

    /// - Parameters:
    ///   - trustFile: certificates in PEM that replace the system's roots.
    ///   - connectTimeout: how long one attempt at a connection may take.
    init(trustFile: String?, connectTimeout: TimeAmount = .seconds(10)) {
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        configuration.timeout.connect = connectTimeout
        if let trustFile {
            var tls = configuration.tlsConfiguration ?? .makeClientConfiguration()
            tls.trustRoots = .file(trustFile)
            configuration.tlsConfiguration = tls
        }
        usesOwnRoots = trustFile != nil
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    func send(_ request: ManagementRequest) async throws(ManagementError) -> ManagementResponse {
        guard request.url.hasPrefix("https://") else {
            throw ManagementError("'\(request.url)' is not an https address. Tokens are never sent over plain http.")
        }
        guard SourceURL(request.url) != nil else {
            throw ManagementError("'\(request.url.prefix(200))' is no address that can be connected to: ports are from 1 to 65535.")
        }
        var outgoing = HTTPClientRequest(url: request.url)
        outgoing.method = .init(rawValue: request.method.rawValue)
        for header in request.headers { outgoing.headers.add(name: header.name, value: header.value) }
        if let body = request.body { outgoing.body = .bytes(body) }
        var attempt = 1
        while true {
            do {
                let response = try await client.execute(outgoing, timeout: .seconds(request.patience))
                let body = try await response.body.collect(upTo: 64 << 20)
                return ManagementResponse(
                    status: Int(response.status.code), headers: response.headers.map { ($0.name, $0.value) },
                    body: Array(body.readableBytesView))
            } catch let error as HTTPClientError where Self.isUnconnected(error) && attempt < Self.connectAttempts {
                // Nothing has been said yet, so it may be said again, whatever it is.
                attempt += 1
            } catch {
                throw unreachable(request, error, attempt)
            }
        }
    }

    private static func isUnconnected(_ error: HTTPClientError) -> Bool { error == .connectTimeout || error == .tlsHandshakeTimeout }

    func shutdown() async {
        try? await client.shutdown()  // Fails only when already shut down, which is what is wanted.
    }

    private func unreachable(_ request: ManagementRequest, _ error: any Error, _ attempt: Int) -> ManagementError {
        let isCertificate = "\(error)".contains("CERTIFICATE_VERIFY_FAILED") || "\(error)".contains("certificate")
        let tried = attempt > 1 ? " (attempt \(attempt) of \(Self.connectAttempts))" : ""
        let cause = isCertificate ? "its certificate is not trusted" : "\(error)\(tried)"
        let advice =
            if !isCertificate {
                "Check that the server is running and that its address can be reached from here."
            } else if usesOwnRoots {
                "The certificate does not belong to the given CA or to this host name. Check --ca and --server."
            } else {
                "Name the server's CA: outport login … --ca FILE (on the server DATA/tls/ca.pem)."
            }
        return ManagementError("No answer to \(request.summary): \(cause).", advice: advice)
    }
}
