// Tries a connection string out, so that a wrong one is told before anything is installed with it.

package import RegistryClient

/// What a connection string is worth, seen from here.
package enum ConnectionCheck: Sendable, Hashable {
    case accepted
    /// The parent does not take it; a sentence.
    case refused(String)
    /// There was no answer, which says nothing about the string.
    case unreachable(String)

    /// Signs in at the parent with the string, and does nothing else there.
    ///
    /// - Parameter makeUntrusted: a way that verifies nothing, for fetching the parent's authority.
    package static func run(
        _ connection: ConnectionString, transport: any TrustingTransport, makeUntrusted: @Sendable () throws -> any Transport
    ) async -> ConnectionCheck {
        let gateway = GatewayClient(transport: transport, connection: connection)
        do {
            if let pin = connection.pin {
                let fetched = try await gateway.trust(over: try makeUntrusted())
                guard try TrustPolicy.pin(ofPEM: fetched) == pin else {
                    return .refused("the authority that \(connection.parent) shows is not the one pinned in the connection string")
                }
                transport.setTrust(.authorities([fetched]))
            }
            _ = try await gateway.bearer()
            return .accepted
        } catch let error as TransportError {
            return error.code == .untrusted ? .refused(error.message) : .unreachable(error.message)
        } catch {
            return .refused(SyncError(error).message)
        }
    }
}
