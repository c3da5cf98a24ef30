// Who calls: a child with its sync token, or, for a heartbeat, with the password of that.

internal import GatewayProtocol
internal import HTTPServing
internal import HTTPTypes
internal import Identity

extension GatewayHandler {
    /// A site whose window is closed says one thing every five minutes: the connection is kept for that, since making another one costs more
    /// than everything that is said. Twice that and a bit, for a heartbeat may be late.
    static let keptConnection: HTTPFields = [ConnectionIdleness.field: String(660)]

    /// The lease and the sync token that a request is made under. Neither has been compared with what is known of them now.
    ///
    /// - Parameter takesPassword: whether name and password of the sync token do in place of a token that was issued for them. A site that
    ///   calls every five minutes would need a new token each time.
    func identify(
        _ request: ServerRequest, _ name: String, _ registry: GatewayRegistry, takesPassword: Bool
    ) async throws -> (lease: SyncLease, tokenName: String) {
        switch request.authorization {
        case .bearer(let text):
            let token = try await self.tokens.verify(text, as: [.sync], audience: registry.audience)
            guard let lease = token.lease, lease.connectedRegistry.lowercased() == name.lowercased(),
                case .token(let tokenName) = token.subject
            else { throw Refusal(.denied, 403, "this sync token is not for connected registry '\(name)'") }
            return (lease, tokenName)
        case .basic(let user, let password) where takesPassword:
            guard let (token, _, _) = try await self.identities.authenticate(token: user, password: password, in: registry.id) else {
                throw Refusal(
                    .unauthorized, 401, "name or password of the sync token are not valid here, have expired, or the token is disabled")
            }
            guard let instance = request.query("instance"), let epoch = request.query("epoch").flatMap(Int64.init) else {
                throw Refusal(.invalid, 400, "a heartbeat with a password needs instance and epoch of the activation in its query")
            }
            let lease = try await self.connectedRegistries.lease(
                connectedRegistry: name, token: token.name, instance: instance, epoch: epoch, registry: registry.id)
            return (lease, token.name)
        default:
            throw Refusal(
                .unauthorized, 401, "this call needs a sync token; request one at /oauth2/token with scope \(GatewayScope.text(name))")
        }
    }
}
