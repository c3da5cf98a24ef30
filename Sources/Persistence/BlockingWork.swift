// Where calls that block are made: on threads of their own, or at once where a simulation needs them to take their turn.

internal import NIOPosix

/// Runs blocking calls.
enum BlockingWork: Sendable {
    case threads(NIOThreadPool)
    /// On the caller's thread; simulations only.
    case inline

    func runIfActive<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        switch self {
        case .threads(let pool): try await pool.runIfActive(body)
        case .inline: try body()
        }
    }

    /// Runs `body` also for a caller that is cancelled: what has arrived over a link that is being given up is still kept.
    func runToEnd<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        guard case .threads(let pool) = self else { return try body() }
        return try await withCheckedThrowingContinuation { continuation in
            pool.submit { state in
                switch state {
                case .active: continuation.resume(with: Result { try body() })
                case .cancelled: continuation.resume(throwing: CancellationError())
                }
            }
        }
    }
}
