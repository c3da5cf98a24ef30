// The one error of this target.

internal import GatewayProtocol
internal import OCI
internal import Persistence
internal import RegistryClient

/// Why synchronising stopped for now or for good.
package struct SyncError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Code: String, Sendable {
        /// The parent does not answer.
        case parentUnreachable = "ParentUnreachable"
        case parentUntrusted = "ParentUntrusted"
        /// Another instance is active; code of the protocol.
        case alreadyActivated = "ALREADY_ACTIVATED"
        case deactivated = "DEACTIVATED"
        case notFound = "CONNECTED_REGISTRY_NOT_FOUND"
        case unauthorized = "Unauthorized"
        /// The cursor cannot be followed.
        case compareState = "COMPARE_STATE"
        /// The disk is full or cannot be written.
        case disk = "DiskError"
        case wrongFolder = "DataFolderMismatch"
        case parentRefused = "ParentRefused"
        case content = "ContentError"
        /// The parent does not give what is locked against reading.
        case locked = "ContentLocked"
        /// No error: the window ended while something was under way.
        case windowClosed = "WindowClosed"
        /// No error either: the bytes that may come in this hour, day or month have come.
        case budget = "BudgetExhausted"
    }

    package let code: Code
    package let message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { self.message }

    /// Sorts an error of any layer below into what it means for the loop.
    package init(_ error: any Error) {
        switch error {
        case let error as SyncError: self = error
        case let error as TransportError: self.init(error.code == .untrusted ? .parentUntrusted : .parentUnreachable, error.message)
        case let error as ServerRefusal:
            switch (error.code, error.status) {
            case (GatewayErrorCode.alreadyActivated.rawValue, _): self.init(.alreadyActivated, error.message)
            case (GatewayErrorCode.deactivated.rawValue, _): self.init(.deactivated, error.message)
            case (GatewayErrorCode.notFound.rawValue, _): self.init(.notFound, error.message)
            case (GatewayErrorCode.cursorGone.rawValue, _): self.init(.compareState, error.message)
            case (ErrorCode.unsupported.rawValue, 405): self.init(.locked, error.message)
            case (_, 401), (_, 403): self.init(.unauthorized, error.message)
            case (_, 500...): self.init(.parentUnreachable, "the parent answered with \(error)")
            default: self.init(.parentRefused, "the parent refused: \(error)")
            }
        case let error as PersistenceError:
            self.init(error.code == .digestMismatch || error.code == .sizeMismatch ? .content : .disk, error.description)
        default: self.init(.content, "\(error)")
        }
    }
}
