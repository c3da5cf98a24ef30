// `POST outbox`: what a ReadWrite child's clients have changed, tried against what stands here.

internal import GatewayProtocol
internal import HTTPServing
internal import Identity
internal import OCI
internal import Persistence
internal import RegistryCore

extension GatewayHandler {
    /// Takes one change over, or says what stands instead.
    @inline(never)
    func outbox(_ request: ServerRequest, _ call: Call) async throws -> ServerResponse {
        guard call.connectedRegistry.configuration.mode == .readWrite else {
            throw Refusal(
                .denied, 403, "connected registry '\(call.connectedRegistry.name)' is ReadOnly and cannot change anything at its parent")
        }
        let body: OutboxRequest = try await self.decode(request)
        guard (8...64).contains(body.opId.utf8.count), body.opId.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw Refusal(.invalid, 400, "opId must have 8 to 64 printable characters")
        }
        if let refusal = call.registry.writeRefusal { throw Refusal(.readOnly, 405, refusal) }
        let (change, permission) = try Self.change(body.operation)
        let name = body.operation.repository
        guard call.map.permits(permission, on: name) else {
            throw Refusal(
                .denied, 403,
                "scope map '\(call.map.name)' of the sync token lacks repositories/\(name)/\(permission.rawValue); add it at the parent")
        }
        let answer: ProposalAnswer
        do {
            answer = try await self.registries.propose(
                Proposal(operation: body.opId, repository: name, change: change), by: call.connectedRegistry.name, in: call.registry.id)
        } catch let error as RegistryError {
            return try .json(.init(code: error.status), GatewayErrorBody(code: error.code.rawValue, message: error.message))
        }
        let cursor = GatewayCursor(log: answer.log, sequence: answer.sequence)
        guard answer.outcome == .conflict else { return try .json(.ok, OutboxResponse(cursor: cursor)) }
        let message = Self.sentence(body.operation, answer)
        request.logger.notice(
            "conflict with a connected registry",
            metadata: ["name": .string(call.connectedRegistry.name), "repository": .string(name.description), "reason": .string(message)])
        return try .json(
            .conflict,
            OutboxConflictBody(
                message: message, current: answer.current, locks: answer.locks, saved: answer.saved, cursor: cursor))
    }

    /// - Returns: the change, and what the sync token needs for it.
    private static func change(_ operation: OutboxOperation) throws -> (Proposal.Change, RepositoryPermission) {
        switch (operation.kind, operation.tag, operation.digest) {
        case (.tagSet, let tag?, let digest?): return (.tag(tag, expected: operation.expected, target: digest), .contentWrite)
        case (.tagDelete, let tag?, nil): return (.tag(tag, expected: operation.expected, target: nil), .contentDelete)
        case (.manifestPut, nil, let digest?): return (.manifestPushed(digest), .contentWrite)
        case (.manifestDelete, nil, let digest?): return (.manifestDeleted(digest), .contentDelete)
        case (.lock, let tag, let digest) where tag == nil || digest == nil:
            guard let locks = operation.locks, let expected = operation.expectedLocks, (0...15).contains(locks) else {
                throw Refusal(.invalid, 400, "an operation of kind lock has locks, 0 to 15, and expectedLocks")
            }
            let target: LockTarget =
                if let tag {
                    .tag(operation.repository, tag)
                } else if let digest {
                    .manifest(operation.repository, digest)
                } else {
                    .repository(operation.repository)
                }
            return (.locks(target, expected: ImageLocks(rawValue: expected), target: ImageLocks(rawValue: locks)), .metadataWrite)
        default:
            throw Refusal(.invalid, 400, "an operation of kind \(operation.kind.rawValue) does not have these members")
        }
    }

    private static func sentence(_ operation: OutboxOperation, _ answer: ProposalAnswer) -> String {
        switch operation.kind {
        case .tagSet, .tagDelete:
            let tag = operation.tag?.description ?? ""
            let stands = answer.current.map { "names \($0)" } ?? "has been deleted"
            let kept = answer.saved.map { "; what was pushed at the connected registry is kept as \($0)" } ?? ""
            return "tag \(tag) of repository \(operation.repository) \(stands) at the parent, which stands\(kept)"
        case .manifestDelete:
            return
                "manifest \(answer.current?.description ?? "") of repository \(operation.repository) is named by a tag at the parent and stays"
        case .manifestPut, .lock: return "the locks at the parent have been changed meanwhile and stand"
        }
    }
}
