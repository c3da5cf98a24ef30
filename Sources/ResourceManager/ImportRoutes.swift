// `importImage`: what `az acr import` sends, and where it looks whether the import is done.

internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import Import
internal import JSON
internal import Logging
internal import OCI
internal import Persistence
internal import RegistryClient
internal import RegistryCore

extension Route {
    static let importRoutes: [Route] = [
        // Not exclusive: an import takes its time, and its rules are kept by the registry's own transaction.
        Route(.post, registryPath + ":importimage", "\(ResourceKind.registry.rawValue)/importImage/action", exclusive: false) {
            try await $0.importImage($1)
        },
        Route(
            .get, "subscriptions/{subscription}/providers/microsoft.containerregistry/locations/{location}/operationresults/{operation}",
            nil
        ) { try await $0.importResult($1) },
    ]
}

extension ResourceOperations {
    /// How long the first answer may take; whoever waits longer polls.
    private static let patience = Duration.seconds(2)

    func importImage(_ call: Call) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        guard let importer = self.services.importer, let imports = self.services.imports else {
            throw ResourceError.notAvailable("Importing images")
        }
        if registry.document.isReadOnly {
            throw ResourceError(
                .conflict, .conflict, "The registry '\(registry.id.name)' is read-only: switch writing on before importing into it.")
        }
        let id = Directory.identifier()
        let order = try await self.importOrder(call, into: registry, origin: ImportJobs.origin(id))
        var logger = call.request.logger
        logger[metadataKey: "registry"] = .string(registry.id.name)
        logger[metadataKey: "reference"] = .string(order.reference.description)
        let job = try await imports.start(id, owner: call.principal.objectID, order, Self.work(importer, logger))
        let deadline = ContinuousClock.now + Self.patience
        while ContinuousClock.now < deadline {
            if let outcome = job.outcome { return try self.answer(outcome) }
            try await Task.sleep(for: .milliseconds(20))
        }
        return self.pending(job, call)
    }

    private static func work(_ importer: ImageImporter, _ logger: Logger) -> ImportJobs.Work {
        { order, job in
            var logger = logger
            logger[metadataKey: "import"] = .string(job.id)
            logger.info("import begins")
            do {
                try await importer.run(order, progress: job.progress, logger: logger)
                logger.info("import done")
                return nil
            } catch {
                logger.warning("import failed", metadata: ["reason": .string("\(error)")])
                return ResourceError(importing: error)
            }
        }
    }

    /// Goes on with the imports that the last process left.
    func resumeImports(_ logger: Logger) async throws {
        guard let importer = self.services.importer, let imports = self.services.imports else { return }
        try await imports.resume(Self.work(importer, logger))
    }

    func importResult(_ call: Call) async throws -> ServerResponse {
        guard let job = self.services.imports?.job(call["operation"].lowercased()), job.owner == call.principal.objectID else {
            throw ResourceError(
                .notFound, .resourceNotFound,
                "The operation '\(call["operation"].prefix(60))' is not known: it ended more than an hour ago, or was never yours.")
        }
        guard let outcome = job.outcome else { return self.pending(job, call) }
        return try self.answer(outcome)
    }

    private func answer(_ outcome: ImportJob.Outcome) throws -> ServerResponse {
        if case .failed(let refusal) = outcome { throw refusal }
        return ServerResponse(.ok)
    }

    /// How far it is stands in the body, which `az` passes over.
    private func pending(_ job: ImportJob, _ call: Call) -> ServerResponse {
        let base = CloudMetadata(names: self.names).base(for: call.request)
        let path =
            "/subscriptions/\(call["subscription"].lowercased())/providers/Microsoft.ContainerRegistry/locations/\(self.names.region)"
            + "/operationResults/\(job.id)"
        // `Retry-After` is a literal name of a field.
        let (done, total) = job.progress.bytes
        var response = ServerResponse.document(
            .accepted,
            ["status": "InProgress", "properties": ["bytes": .integer(done), "totalBytes": total.map { .integer($0) } ?? .null]])
        response.headers[.location] = base + path
        response.headers[.retryAfter] = "1"
        return response
    }

    // MARK: The body

    private func importOrder(_ call: Call, into registry: RegistryInCall, origin: String) async throws -> ImportOrder {
        let body = try call.document()
        let source = try body["source"].required()
        let image = try source["sourceImage"]
        let text = try image.requiredString()
        guard let (name, reference) = Self.split(text) else {
            throw image.invalid("it is REPOSITORY:TAG or REPOSITORY@DIGEST")
        }
        let mode = try body["mode"].choice(["NoForce", "Force"]) ?? "NoForce"
        var targets: [ImportedImage.Target] = []
        for field in try body["targetTags"].elements(maximum: 100) ?? [] {
            let text = try field.requiredString()
            guard let (name, reference) = Self.split(text), case .tag(let tag) = reference, let repository = try? RepositoryName(name)
            else {
                throw field.invalid("'\(text.prefix(300))' is not REPOSITORY:TAG")
            }
            targets.append(.init(repository: repository, tag: tag))
        }
        for field in try body["untaggedTargetRepositories"].elements(maximum: 100) ?? [] {
            let text = try field.requiredString()
            guard let repository = try? RepositoryName(text) else { throw field.invalid("'\(text.prefix(300))' is no repository name") }
            targets.append(.init(repository: repository, tag: nil))
        }
        if targets.isEmpty {
            // Without a target the image keeps its name.
            guard let repository = try? RepositoryName(name) else {
                throw image.invalid("'\(name.prefix(300))' is no repository name here")
            }
            let tag: Tag? = if case .tag(let tag) = reference { tag } else { nil }
            targets.append(.init(repository: repository, tag: tag))
        }
        return ImportOrder(
            source: try await self.importSource(source, name, call), reference: reference, targets: targets, replacesTags: mode == "Force",
            registry: registry.content, quota: registry.document.quota, origin: origin)
    }

    private func importSource(_ source: BodyField, _ name: String, _ call: Call) async throws -> ImportOrder.Source {
        let resource = try source["resourceId"]
        let uri = try source["registryUri"]
        if let text = try resource.string() {
            guard let id = ResourceID(text), id.registry != nil, id.childKind == nil else {
                throw resource.invalid("it is not the id of a registry")
            }
            return try await self.localSource(id, name, call, resource)
        }
        let registry = try uri.requiredString().lowercased()
        do {
            _ = try ImageImporter.validate(registry)
        } catch {
            throw uri.invalid("'\(registry.prefix(200))' is no address of a registry: write HOST or HOST:PORT")
        }
        if let entry = self.resources.lookup.all.first(where: { $0.loginServer.lowercased() == registry }), let id = ResourceID(entry.scope)
        {
            return try await self.localSource(id, name, call, uri)
        }
        let credentials = try source["credentials"]
        let username = try credentials["username"].string()
        let password = try credentials["password"].string(maximum: 64 << 10)
        if username != nil, password == nil { throw try credentials["password"].invalid("it is required with a user name") }
        return .remote(
            registry: registry, repository: name, credentials: password.map { SourceCredentials(username: username, password: $0) })
    }

    /// Another registry of this server, which the caller must be allowed to pull from.
    private func localSource(_ id: ResourceID, _ name: String, _ call: Call, _ field: BodyField) async throws -> ImportOrder.Source {
        guard let repository = try? RepositoryName(name) else { throw field.invalid("'\(name.prefix(300))' is no repository name") }
        // A registry that is not there is told only to those who might see it.
        guard call.caller.allows(RegistryRoleAction.pull, at: id.key) else {
            throw ResourceError(
                .forbidden, .authorizationFailed,
                "The client '\(call.principal.name)' may not pull from '\(id)', so it cannot import from it. Ask for the role AcrPull there."
            )
        }
        guard let source = try await self.resources.registry(id), let content = source.registry else {
            throw ResourceError(.notFound, .resourceNotFound, "The registry '\(id)' was not found.", target: field.path)
        }
        guard source.document.allowsExport else {
            throw ResourceError(
                .forbidden, .authorizationFailed,
                "The registry '\(id.name)' does not allow exports. Its owner allows them with 'acr update --name \(id.name) --allow-exports true'."
            )
        }
        return .local(content, repository)
    }

    /// `repository:tag` or `repository@digest`; a tag that is not said is `latest`.
    private static func split(_ text: String) -> (name: String, reference: Reference)? {
        if let at = text.firstIndex(of: "@") {
            let digest = text[text.index(after: at)...]
            // `repository:tag@digest` means the digest.
            let name = text[..<at].split(separator: ":").first.map(String.init) ?? ""
            return (try? Reference(digest)).flatMap { if case .digest = $0, !name.isEmpty { (name, $0) } else { nil } }
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2, let name = parts.first, !name.isEmpty,
            let reference = try? Reference(parts.count == 2 ? parts[1] : "latest")
        else { return nil }
        return (String(name), reference)
    }
}

extension ResourceError {
    /// Why an import did not come about, in ARM's terms.
    fileprivate init(importing error: any Error) {
        switch error {
        case let error as ImportError:
            let message = error.message.prefix(1).uppercased() + error.message.dropFirst() + "."
            switch error.code {
            case .notFound: self.init(.notFound, .resourceNotFound, message, target: "source.sourceImage")
            case .denied, .failed: self.init(.badRequest, .importFailed, message, target: "source")
            }
        case let error as RegistryError:
            let message = error.message.prefix(1).uppercased() + error.message.dropFirst() + "."
            switch error.status {
            case 404: self.init(.notFound, .resourceNotFound, message, target: "source.sourceImage")
            case 405, 409: self.init(.conflict, .conflict, message)
            default: self.init(.badRequest, .importFailed, message)
            }
        case let error as TransportError:
            self.init(.badRequest, .importFailed, "The source could not be read: \(error.message).", target: "source.registryUri")
        case let error as OCIParseError: self.init(.badRequest, .importFailed, "The source's content cannot be used: \(error.description).")
        case let error as PersistenceError where error.code == .digestMismatch || error.code == .sizeMismatch:
            self.init(.badRequest, .importFailed, "The source sent content that is not what its manifest says: \(error.description).")
        default:
            self =
                ResourceError(translating: error)
                ?? ResourceError(.internalServerError, .internalError, "The import failed; the server's log has the cause.")
        }
    }
}
