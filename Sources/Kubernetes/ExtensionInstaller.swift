// Puts the extension into a cluster: everything is checked before anything is made.

package import ClusterProtocol
internal import JSON

#if canImport(FoundationEssentials)
package import FoundationEssentials
#else
package import Foundation
#endif

/// What an installer is told about its own place.
package struct InstallerPlace: Sendable {
    /// Of this program: `registry/repository:tag`.
    package var image: String
    /// Where the agent itself lives: addresses are tried there, and its pull secret is there.
    package var namespace: String
    package var pullSecret: String?
    package var nodeRoot: String

    package init(image: String, namespace: String, pullSecret: String? = nil, nodeRoot: String = "") {
        self.image = image
        self.namespace = namespace
        self.pullSecret = pullSecret
        self.nodeRoot = nodeRoot
    }

    /// The image in another version.
    func image(version: String?) -> (image: String, version: String) {
        let slash = self.image.lastIndex(of: "/") ?? self.image.startIndex
        if let at = self.image.firstIndex(of: "@"), version == nil {
            return (self.image, String(self.image[self.image.index(after: at)...]))
        }
        let plain = self.image.prefix { $0 != "@" }
        guard let colon = plain[slash...].lastIndex(of: ":") else { return ("\(plain):\(version ?? "latest")", version ?? "latest") }
        let own = String(plain[plain.index(after: colon)...])
        return ("\(plain[..<colon]):\(version ?? own)", version ?? own)
    }
}

/// Brings the cluster to what is wanted.
package struct ExtensionInstaller: Sendable {
    let api: any ClusterAPI
    let place: InstallerPlace
    /// Tries a connection string: a sentence when the parent does not take it.
    let tryConnection: @Sendable (String) async -> String?
    /// Makes an authority: certificate and key in PEM.
    let makeAuthority: @Sendable () throws -> (certificate: String, key: String)
    let now: @Sendable () -> Date

    package init(
        api: any ClusterAPI, place: InstallerPlace, tryConnection: @escaping @Sendable (String) async -> String?,
        makeAuthority: @escaping @Sendable () throws -> (certificate: String, key: String), now: @escaping @Sendable () -> Date = { Date() }
    ) {
        self.api = api
        self.place = place
        self.tryConnection = tryConnection
        self.makeAuthority = makeAuthority
        self.now = now
    }

    static let namespace = ExtensionSettings.namespace

    // MARK: Installing

    /// Checks, then puts everything in place.
    package func install(_ wanted: DesiredExtension) async throws(ExtensionError) -> Installed {
        guard wanted.type == ExtensionSettings.type else {
            throw ExtensionError(
                .unsupportedType,
                "This agent installs \(ExtensionSettings.type), not '\(wanted.type)'. Delete the extension, or renew the agent.")
        }
        let settings: ExtensionSettings
        do {
            settings = try ExtensionSettings(settings: wanted.settings, protected: wanted.protectedSettings)
        } catch {
            throw ExtensionError(.invalidSettings, "\(error). Set it with 'outport k8s-extension update'.")
        }
        let memory = try await self.memory()
        if let undone = memory.rolledBack, undone.generation == wanted.generation {
            // Once more: going back may have been cut off, and somebody may have changed something since.
            try await self.restore(memory)
            return Installed(version: memory.version ?? "", canRollBack: false, rolledBack: undone.error, settings: memory.found)
        }
        let (image, version) = self.place.image(version: wanted.version)
        try await self.checkAddress(settings)
        let storageClass = try await self.storageClass(settings)
        try await self.checkCertificate(settings)
        try await self.checkConnection(settings)
        let pull = try await self.pullSecret()
        let plan = InstallationPlan(
            name: wanted.name, settings: settings, image: image, version: version,
            pullSecret: pull.map { _ in ExtensionManifests.pullSecret }, storageClass: storageClass, authority: nil,
            nodeRoot: self.place.nodeRoot)
        try await self.refuseForeign()

        let workload = try await self.put(plan, pull: pull)
        let found = ["pvc.storageClassName": storageClass, "pvc.storageRequest": settings.storageRequest]
        return Installed(
            version: version, canRollBack: memory.workload.map { $0 != workload } ?? false, isUpdate: memory.workload != nil,
            settings: found)
    }

    /// Makes everything of a plan; each step may be repeated.
    ///
    /// - Parameter earlier: the workload to go back to, whose volume is there and stays as it is.
    /// - Returns: the workload.
    private func put(_ plan: InstallationPlan, pull: JSONValue?, earlier: JSONValue? = nil) async throws(ExtensionError) -> JSONValue {
        var plan = plan
        if let pull { try await self.apply(ExtensionManifests(plan).pullSecret(pull)) }
        for object in ExtensionManifests(plan).foundations where earlier == nil || object["kind"] != "PersistentVolumeClaim" {
            try await self.apply(object)
        }
        plan.authority = try await self.authority(plan)
        let manifests = ExtensionManifests(plan)
        try await self.placeService(manifests, plan.settings)
        let workload = earlier ?? manifests.workload
        try await self.apply(Self.rendered(workload))
        try await self.placeTrust(manifests, plan.settings)
        return workload
    }

    /// Puts everything back as it was when it was healthy last: not the workload alone, but its address, its secrets and what nodes trust.
    func restore(_ memory: InstallerMemory) async throws(ExtensionError) {
        guard let workload = memory.workload else { throw ExtensionError(.notHealthy, "There is nothing to go back to.") }
        guard let accepted = memory.accepted,
            let settings = try? ExtensionSettings(settings: accepted.settings, protected: accepted.protectedSettings)
        else {
            // Remembered by an older agent, which kept no more.
            return try await self.apply(Self.rendered(workload))
        }
        let image = workload[path: "spec", "template", "spec", "containers"]?[0]?["image"]?.stringValue ?? self.place.image
        let pull = try await self.pullSecret()
        let plan = InstallationPlan(
            name: accepted.name, settings: settings, image: image, version: memory.version ?? "",
            pullSecret: pull.map { _ in ExtensionManifests.pullSecret }, storageClass: memory.found["pvc.storageClassName"] ?? "",
            authority: nil, nodeRoot: self.place.nodeRoot)
        _ = try await self.put(plan, pull: pull, earlier: workload)
    }

    func apply(_ object: JSONValue) async throws(ExtensionError) {
        do {
            try await self.api.apply(object)
        } catch {
            if object["kind"] == "PersistentVolumeClaim", error.code == .invalid {
                throw ExtensionError(
                    .storageRefused,
                    "The volume cannot be changed so: \(error.message). A volume can only grow, and only where its storage class allows it; "
                        + "set pvc.storageRequest back, or delete the extension and create it anew.")
            }
            throw Self.translate(error)
        }
    }

    /// Something of somebody else under one of our names is never overwritten.
    private func refuseForeign() async throws(ExtensionError) {
        let names: [(ObjectKind, String)] = [
            (.service, ExtensionManifests.name), (.deployment, ExtensionManifests.name), (.volumeClaim, ExtensionManifests.claim),
            (.secret, ExtensionManifests.connectionSecret), (.secret, ExtensionManifests.authoritySecret),
            (.secret, ExtensionManifests.pullSecret), (.secret, ExtensionManifests.stateSecret), (.daemonSet, ExtensionManifests.trustName),
        ]
        for (kind, name) in names {
            guard let found = try await self.find(kind, name) else { continue }
            guard found[path: "metadata", "labels", ExtensionManifests.managedBy] == "outport" else {
                throw ExtensionError(
                    .foreign,
                    "There is a \(kind.kind) '\(name)' in namespace \(Self.namespace) that is not of this extension's making. Rename or delete it."
                )
            }
        }
    }

    func find(_ kind: ObjectKind, _ name: String) async throws(ExtensionError) -> JSONValue? {
        do {
            return try await self.api.get(kind, name, in: Self.namespace)
        } catch {
            throw Self.translate(error)
        }
    }

    /// The Secret with which images are pulled, as the agent has it.
    private func pullSecret() async throws(ExtensionError) -> JSONValue? {
        guard let name = self.place.pullSecret else { return nil }
        do {
            guard let data = try await self.api.get(.secret, name, in: self.place.namespace)?["data"] else {
                throw ExtensionError(
                    .secretMissing,
                    "The Secret '\(name)' in namespace \(self.place.namespace), with which the image is pulled, is not there. Make it with 'outport "
                        + "kubernetes pull-secret --namespace \(self.place.namespace)'.")
            }
            return data
        } catch let error as KubernetesError {
            throw Self.translate(error)
        } catch let error as ExtensionError {
            throw error
        } catch {
            throw ExtensionError(.refused, "\(error)")
        }
    }

    /// The authority that clients are to trust, which is made where there is none.
    private func authority(_ plan: InstallationPlan) async throws(ExtensionError) -> String? {
        switch plan.settings.certificate {
        case .none: return nil
        case .given(_, _, let authority), .secret(_, let authority):
            guard authority != nil || plan.settings.trust == nil else {
                throw ExtensionError(
                    .certificateUnusable,
                    "Nodes cannot be made to trust the certificate without its authority. Set tls.cacrt, or switch trustDistribution off.")
            }
            return authority
        case .certManager:
            let secret = try await self.find(.secret, ExtensionManifests.certificateSecret)
            return secret?[path: "data", "ca.crt"]?.stringValue.flatMap { Base64Text.decode($0) }
        case .own:
            if let secret = try await self.find(.secret, ExtensionManifests.authoritySecret),
                let text = secret[path: "data", "ca.pem"]?.stringValue.flatMap({ Base64Text.decode($0) })
            {
                return text
            }
            do {
                let made = try self.makeAuthority()
                try await self.apply(ExtensionManifests(plan).authoritySecret(certificate: made.certificate, key: made.key))
                return made.certificate
            } catch let error as ExtensionError {
                throw error
            } catch {
                throw ExtensionError(.certificateUnusable, "An authority could not be made: \(error). Look at the agent's log.")
            }
        }
    }

    /// An address cannot be changed in place: a service at another one is made anew.
    private func placeService(_ manifests: ExtensionManifests, _ settings: ExtensionSettings) async throws(ExtensionError) {
        do {
            if let existing = try await self.api.get(.service, ExtensionManifests.name, in: Self.namespace),
                existing[path: "spec", "clusterIP"]?.stringValue != settings.clusterIP
            {
                try await self.api.delete(.service, ExtensionManifests.name, in: Self.namespace)
            }
            try await self.api.apply(manifests.service)
        } catch {
            throw Self.addressError(error, settings.clusterIP) ?? Self.translate(error)
        }
    }

    /// Nodes trust, or what was put on them is taken back.
    private func placeTrust(_ manifests: ExtensionManifests, _ settings: ExtensionSettings) async throws(ExtensionError) {
        if let trust = settings.trust {
            for object in manifests.trustInputs { try await self.apply(object) }
            // The authority of cert-manager takes a moment; without it there is nothing to trust yet.
            if settings.isPlain || manifests.plan.authority != nil {
                try await self.apply(manifests.nodes(.apply, selects: trust.usesNodeSelector))
            }
        } else if try await self.find(.daemonSet, ExtensionManifests.trustName) != nil {
            _ = try await self.takeBackTrust()
        }
    }

    // MARK: Errors

    static func translate(_ error: KubernetesError) -> ExtensionError {
        switch error.code {
        case .forbidden:
            ExtensionError(
                .forbidden,
                "The agent may not do this in the cluster: \(error.message). Run 'outport connectedk8s connect' again: it renews the agent's rights."
            )
        case .unauthorized:
            ExtensionError(
                .forbidden, "The cluster does not know the agent: \(error.message). Run 'outport connectedk8s connect' again.")
        case .unreachable:
            ExtensionError(.unreachable, "The cluster could not be asked: \(error). Nothing needs to be done: it is tried again.")
        default: ExtensionError(.refused, "The cluster refused: \(error). Change the settings accordingly.")
        }
    }
}
