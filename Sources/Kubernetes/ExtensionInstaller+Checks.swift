// What must be true before anything is made: address, storage, certificate, connection string.

internal import ClusterProtocol
internal import JSON

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

extension ExtensionInstaller {
    /// Whether the service can have its address.
    ///
    /// Nobody but the API server knows the range of a cluster and what is taken in it, so a service with that address is made
    /// where the agent lives and deleted at once: what is refused there would be refused in earnest.
    func checkAddress(_ settings: ExtensionSettings) async throws(ExtensionError) {
        let address = settings.clusterIP
        if try await self.find(.service, ExtensionManifests.name)?[path: "spec", "clusterIP"]?.stringValue == address { return }
        let trial = "outport-address-trial"
        do {
            let services = try await self.api.list(.service)
            let wanted = IPAddress(address)
            if let holder = services.first(where: { service in
                let held = (service[path: "spec", "clusterIPs"]?.arrayValue ?? []) + [service[path: "spec", "clusterIP"] ?? .null]
                return held.contains { $0.stringValue.flatMap(IPAddress.init) == wanted }
                    && service[path: "metadata", "name"]?.stringValue != trial
            }) {
                throw ExtensionError(
                    .addressTaken,
                    "The address \(address) belongs to service '\(holder[path: "metadata", "namespace"]?.stringValue ?? "")/"
                        + "\(holder[path: "metadata", "name"]?.stringValue ?? "")'. Set service.clusterIP to a free address; nothing was created."
                )
            }
            try await self.api.delete(.service, trial, in: self.place.namespace)
            try await self.tryAddress(address, trial)
            try await self.api.delete(.service, trial, in: self.place.namespace)
        } catch let error as ExtensionError {
            throw error
        } catch let error as KubernetesError {
            throw Self.addressError(error, address) ?? Self.translate(error)
        } catch {
            throw ExtensionError(.refused, "\(error)")
        }
    }

    /// Asks for the address with a service that is taken away again; waits for the trial before this one, or that of another pod of the
    /// agent, which may still be on its way out.
    private func tryAddress(_ address: String, _ trial: String) async throws {
        let service: JSONValue = [
            "apiVersion": "v1", "kind": "Service",
            "metadata": ["name": .string(trial), "namespace": .string(self.place.namespace)],
            "spec": ["type": "ClusterIP", "clusterIP": .string(address), "ports": [["name": "trial", "port": 443]]],
        ]
        var attempts = 40
        while true {
            do throws(KubernetesError) {
                _ = try await self.api.create(service, .service, in: self.place.namespace)
                return
            } catch {
                guard error.code == .conflict, attempts > 0 else { throw error }
            }
            attempts -= 1
            try await Task.sleep(for: .milliseconds(250))
        }
    }

    /// What the API server means when it refuses a service.
    static func addressError(_ error: KubernetesError, _ address: String) -> ExtensionError? {
        guard error.code == .invalid || error.code == .conflict || error.code == .unreachable else { return nil }
        let message = error.message
        if message.contains("already allocated") {
            return ExtensionError(
                .addressTaken,
                "The address \(address) is taken in the cluster. Set service.clusterIP to a free one ('kubectl get services -A' shows those in "
                    + "use); nothing was created.")
        }
        guard message.contains("valid range") || message.contains("range of valid IPs") || message.contains("not in range") else {
            return nil
        }
        let range = message.firstRange(of: "range of valid IPs is ").map { String(message[$0.upperBound...].prefix { !$0.isWhitespace }) }
        return ExtensionError(
            .addressOutOfRange,
            "The address \(address) is outside of the cluster's service range\(range.map { " \($0)" } ?? ""). Set service.clusterIP to a free "
                + "address in it; nothing was created.")
    }

    /// The class of the volume: the one that was asked for, or the default one.
    func storageClass(_ settings: ExtensionSettings) async throws(ExtensionError) -> String {
        let existing = try await self.find(.volumeClaim, ExtensionManifests.claim)?[path: "spec", "storageClassName"]?.stringValue
        let classes: [JSONValue]
        do {
            classes = try await self.api.list(.storageClass)
        } catch {
            throw Self.translate(error)
        }
        let names = classes.compactMap { $0[path: "metadata", "name"]?.stringValue }.sorted()
        let offered = names.isEmpty ? "The cluster has none." : "There are \(names.joined(separator: ", "))."
        if let existing {
            guard settings.storageClass == nil || settings.storageClass == existing else {
                throw ExtensionError(
                    .storageRefused,
                    "The volume is of class '\(existing)' and cannot be moved to '\(settings.storageClass ?? "")'. Take pvc.storageClassName back, or "
                        + "delete the extension and create it anew: content comes again from the parent.")
            }
            return existing
        }
        if let wanted = settings.storageClass {
            guard names.contains(wanted) else {
                throw ExtensionError(
                    .storageClassNotFound,
                    "There is no StorageClass '\(wanted)'. \(offered) Set pvc.storageClassName to one of them; nothing was created.")
            }
            return wanted
        }
        func isDefault(_ storageClass: JSONValue) -> Bool {
            ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"].contains {
                storageClass[path: "metadata", "annotations", $0] == "true"
            }
        }
        guard let found = classes.first(where: isDefault)?[path: "metadata", "name"]?.stringValue else {
            throw ExtensionError(
                .noDefaultStorageClass,
                "The cluster has no default StorageClass. \(offered) Set pvc.storageClassName, or make one the default (annotation "
                    + "storageclass.kubernetes.io/is-default-class=true); nothing was created.")
        }
        return found
    }

    func checkCertificate(_ settings: ExtensionSettings) async throws(ExtensionError) {
        func refuse(_ flaw: String) -> ExtensionError {
            ExtensionError(.certificateUnusable, flaw.prefix(1).uppercased() + flaw.dropFirst())
        }
        switch settings.certificate {
        case .own, .none: return
        case .given(let certificate, let key, let authority):
            if let flaw = await CertificateCheck.flaw(
                certificate: certificate, key: key, authority: authority, address: settings.clusterIP, now: self.now())
            {
                throw refuse(flaw)
            }
        case .secret(let name, let authority):
            guard let secret = try await self.find(.secret, name) else {
                throw ExtensionError(
                    .secretMissing,
                    "There is no Secret '\(name)' in namespace \(Self.namespace), which tls.secret names. Make it: kubectl -n \(Self.namespace) create "
                        + "secret tls \(name) --cert FILE --key FILE.")
            }
            func text(_ key: String) -> String? { secret[path: "data", key]?.stringValue.flatMap { Base64Text.decode($0) } }
            guard let certificate = text("tls.crt"), let key = text("tls.key") else {
                throw ExtensionError(
                    .secretMissing, "The Secret '\(name)' has no tls.crt and tls.key. Make it anew with 'kubectl create secret tls'.")
            }
            if let flaw = await CertificateCheck.flaw(
                certificate: certificate, key: key, authority: authority, address: settings.clusterIP, now: self.now())
            {
                throw refuse(flaw.replacing("tls.crt", with: "Secret '\(name)'"))
            }
        case .certManager(let installs):
            do {
                _ = try await self.api.list(.issuer, in: Self.namespace)
            } catch {
                guard error.code == .notFound else { throw Self.translate(error) }
                let why =
                    installs
                    ? "cert-manager.install=true wants the bundle that 'outport connectedk8s connect --cert-manager-bundle FILE' installs; none was given."
                    : "cert-manager.enabled=true needs cert-manager in the cluster."
                throw ExtensionError(
                    .certManagerMissing,
                    "\(why) Install cert-manager (its API cert-manager.io/v1 is not there), or leave cert-manager.enabled out: the registry then has "
                        + "an authority of its own.")
            }
        }
    }

    /// Signs in at the parent with the string, unless it is the one that is installed.
    func checkConnection(_ settings: ExtensionSettings) async throws(ExtensionError) {
        let installed = try await self.find(.secret, ExtensionManifests.connectionSecret)?[path: "data", "connectionString"]?.stringValue
        if installed.flatMap({ Base64Text.decode($0) }) == settings.connectionString { return }
        if let refusal = await self.tryConnection(settings.connectionString) {
            throw ExtensionError(
                .parentRefused,
                "The parent does not take the connection string: \(refusal). Get a new one ('outport acr connected-registry get-settings "
                    + "--generate-password 1') and set it as connectionString; nothing was created.")
        }
    }
}
