// Clients that pull at connected registries, of what is there and, where that is allowed, of what is not there yet.

internal import HTTPServing
internal import HTTPTypes
internal import OCI
internal import Persistence
internal import TestSupport

extension World {
    /// Pulls now and then as long as the process lives. What is given whole must be what its name says.
    func pull(at machine: Machine, _ process: Incarnation) {
        guard machine.member?.isOnDemand == true else { return }
        Task(executorPreference: process.lane) {
            while self.goesWrong {
                try await self.scheduler.sleep(milliseconds: self.scheduler.random(below: 1200) + 1)
                guard self.goesWrong else { return }
                do {
                    try await self.pullOnce(at: machine, process)
                } catch {
                    self.scheduler.note("a pull at \(machine.name) breaks")
                }
            }
        }
    }

    private func pullOnce(at machine: Machine, _ process: Incarnation) async throws {
        let name = Self.repositories[self.scheduler.random(below: Self.repositories.count)]
        let tag = Self.tags[self.scheduler.random(below: Self.tags.count)]
        let isHere = try await process.site.store.resolve(tag, in: name, of: process.site.registry) != nil
        let (status, bytes) = try await self.get("/v2/\(name)/manifests/\(tag)", process)
        self.scheduler.note("pull of \(name):\(tag) at \(machine.name): \(status)\(isHere ? "" : ", not here before")")
        guard status == 200 else { return }
        let manifest = try Manifest(parsing: bytes, declared: nil)
        for blob in manifest.requiredBlobs {
            let (status, bytes) = try await self.get("/v2/\(name)/blobs/\(blob.digest)", process)
            guard status == 200 else { continue }
            if Digest.of(bytes, algorithm: blob.digest.algorithm) != blob.digest {
                self.scheduler.fail("a client of \(machine.name) was given all of \(blob.digest), and it is something else")
            }
        }
    }

    private func get(_ path: String, _ process: Incarnation) async throws -> (status: Int, bytes: [UInt8]) {
        let response = try await process.plane.respond(
            .get, path, headers: self.operators.credentials, host: "harbour.test", isSecure: false)
        guard let response else { return (404, []) }
        var bytes: [UInt8] = []
        switch response.body {
        case .bytes(let buffer): bytes = Array(buffer.readableBytesView)
        case .blob(let reader, let range):
            while Int64(bytes.count) < range.upperBound - range.lowerBound {
                let part = try await reader.readSome(at: range.lowerBound + Int64(bytes.count), count: 32_768)
                guard part.readableBytes > 0 else { return (404, []) }
                bytes += part.readableBytesView
            }
        case .none, .announced, .pieces: break
        }
        return (response.status.code, bytes)
    }
}
