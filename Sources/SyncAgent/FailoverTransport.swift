// Several ways to one parent: where one cannot be reached the next is tried. See decision 0059.

internal import Persistence
package import RegistryClient
internal import Synchronization

/// Sends what is addressed to the first of several endpoints to the one that answers.
package final class FailoverTransport: TrustingTransport {
    private struct State {
        var current = 0
        /// When the first endpoint is tried again although another one answers.
        var returns: ContinuousClock.Instant?
    }

    /// How long another endpoint is stayed with before the first one is tried again.
    private static let stay = Duration.seconds(600)

    private let base: any Transport
    private let endpoints: [ServerEndpoint]
    private let state = Mutex(State())

    /// - Parameters:
    ///   - base: carries the requests; is told whom to trust if it can be.
    ///   - endpoints: the first is the one that requests name; all are the same parent.
    package init(_ base: any Transport, endpoints: [ServerEndpoint]) {
        self.base = base
        self.endpoints = endpoints
    }

    package func setTrust(_ trust: TrustPolicy) { (self.base as? any TrustingTransport)?.setTrust(trust) }

    /// Where the next request goes first.
    package var current: ServerEndpoint { self.endpoints[self.start()] }

    private func start() -> Int {
        let now = Elapsing.now
        return self.state.withLock { state in
            if let returns = state.returns, returns <= now { state = State() }
            return state.current
        }
    }

    private func settle(on index: Int) {
        let returns = index == 0 ? nil : Elapsing.now + Self.stay
        self.state.withLock { state in
            guard state.current != index else { return }
            state = State(current: index, returns: returns)
        }
    }

    package func send(_ request: ClientRequest) async throws -> ClientResponse {
        guard self.endpoints.count > 1, request.endpoint == self.endpoints[0] else { return try await self.base.send(request) }
        let start = self.start()
        var first: TransportError?
        for offset in self.endpoints.indices {
            let index = (start + offset) % self.endpoints.count
            var attempt = request
            attempt.endpoint = self.endpoints[index]
            do {
                let response = try await self.base.send(attempt)
                self.settle(on: index)
                return response
            } catch let error as TransportError {
                switch error.code {
                case .unreachable, .untrusted:
                    // Nothing was said there: the same may be said to another.
                    first = first ?? error
                case .timeout, .interrupted:
                    // It may have been carried out: whoever asked tries again, and somewhere else.
                    self.settle(on: (index + 1) % self.endpoints.count)
                    throw error
                case .tooLarge: throw error
                }
            }
        }
        throw first ?? TransportError(.unreachable, "there is no endpoint to try")
    }
}
