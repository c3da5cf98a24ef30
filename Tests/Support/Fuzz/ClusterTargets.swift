// The doors at which clusters and their settings come in.

internal import ClusterProtocol
internal import JSON
internal import Kubernetes

extension FuzzTarget {
    /// Settings of the extension: refused or usable, and a refusal never repeats a secret.
    static let extensionSettings = FuzzTarget("extension-settings") { bytes in
        guard case .object(let members)? = try? JSONValue(parsing: bytes) else { return nil }
        let settings = members.compactMapValues(\.stringValue)
        let protected = ["connectionString": settings["connectionString"] ?? ""]
        let open = settings.filter { $0.key != "connectionString" }
        do {
            let read = try ExtensionSettings(settings: open, protected: protected)
            return IPAddress(read.clusterIP)?.isUsable == true && [80, 443].contains(read.port) ? nil : "unusable settings were accepted"
        } catch {
            let secret = protected["connectionString"] ?? ""
            return secret.utf8.count > 12 && "\(error)".contains(secret) ? "the refusal repeats the connection string" : nil
        }
    }

    /// Kubeconfigs: read or refused, whatever the YAML.
    static let kubeconfigs = FuzzTarget("kubeconfigs") { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        guard let connection = try? ClusterConnection.parse(text, folder: "/nowhere", context: nil, name: "fuzz") else { return nil }
        return connection.server.hasPrefix("https://") ? nil : "a server without TLS was accepted"
    }
}
