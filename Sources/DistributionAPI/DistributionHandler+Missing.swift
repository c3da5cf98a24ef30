// What is not here, at a connected registry: it may be fetched from the parent while the client waits.

internal import HTTPServing
internal import HTTPTypes
internal import NIOCore
internal import OCI
internal import Persistence
internal import RegistryCore

extension HTTPField.Name {
    // A literal that is a valid field name.
    /// With which a connected registry says that somebody waits for what it asks its parent for.
    static let outportOnDemand = HTTPField.Name("Outport-On-Demand")!
}

extension DistributionHandler {
    /// Who may have something fetched for them: clients that have signed in, and connected registries below that say that a client of theirs waits.
    private func asker(_ call: Call) -> (any MissingContent)? {
        guard let missing, call.caller.subject != .anonymous else { return nil }
        guard call.caller.lease == nil || call.request.headers[.outportOnDemand] != nil else { return nil }
        return missing
    }

    /// Whether a question for existence may be answered with what the parent has. Who may push asks in order not to send what is here already:
    /// what is only there would then be missing.
    private func mayProbe(_ name: RepositoryName, _ call: Call) -> Bool {
        call.caller.lease != nil || call.registry.writeRefusal != nil || !call.caller.may(.contentWrite, on: name)
    }

    /// - Throws: `error`, with the reason, where the manifest cannot be had.
    func missingManifest(
        _ reference: Reference, _ name: RepositoryName, _ call: Call, instead error: RegistryError
    ) async throws -> ServerResponse {
        guard let missing = self.asker(call) else { throw error }
        if call.request.method == .head {
            guard self.mayProbe(name, call) else { throw error }
            let answer = try await missing.probe(reference, in: name)
            guard case .found(let found) = answer else { throw answer.refusal(instead: error) }
            try Self.requireAccepted(found.mediaType, reference, name, call)
            return Self.answer(found.digest, found.mediaType, .announced(found.size), call)
        }
        let answer = try await missing.manifest(reference, in: name)
        guard case .found(let found) = answer else { throw answer.refusal(instead: error) }
        try Self.requireAccepted(found.mediaType, reference, name, call)
        return Self.answer(found.digest, found.mediaType, .bytes(ByteBuffer(bytes: found.bytes)), call)
    }

    /// - Returns: how long the blob is, and what reads it, unless only its existence was asked for.
    /// - Throws: `error`, with the reason, where the blob cannot be had.
    func missingBlob(
        _ digest: Digest, _ name: RepositoryName, _ call: Call, instead error: RegistryError
    ) async throws -> (size: Int64, reader: (any BlobReader)?) {
        guard let missing = self.asker(call) else { throw error }
        if call.request.method == .head {
            guard self.mayProbe(name, call) else { throw error }
            let answer = try await missing.size(ofBlob: digest, in: name)
            guard case .found(let size) = answer else { throw answer.refusal(instead: error) }
            return (size, nil)
        }
        let answer = try await missing.blob(digest, in: name)
        guard case .found(let reader) = answer else { throw answer.refusal(instead: error) }
        return (reader.size, reader)
    }
}
