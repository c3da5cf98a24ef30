// Options of commands that speak to a cluster, and how they find it.

import ArgumentParser
import Foundation
import Kubernetes

/// `--kube-config` and `--kube-context`, as `az connectedk8s` has them.
struct ClusterOptions: ParsableArguments {
    @Option(help: "Path to the kubeconfig file. $KUBECONFIG or ~/.kube/config by default.")
    var kubeConfig: String?

    @Option(help: "Context of the kubeconfig. The current one by default.")
    var kubeContext: String?

    private func connection() throws(KubernetesError) -> ClusterConnection {
        let environment = ProcessInfo.processInfo.environment
        let path = self.kubeConfig ?? environment["KUBECONFIG"]?.split(separator: ":").first.map(String.init)
        if path == nil, environment["KUBERNETES_SERVICE_HOST"] != nil { return try .inCluster(environment: environment) }
        return try .kubeconfig(path ?? "\(environment["HOME"] ?? "")/.kube/config", context: self.kubeContext)
    }

    /// Does something with the cluster, and says in the words of commands why it could not.
    func withClient<Result>(
        _ work: (KubernetesClient) async throws(KubernetesError) -> Result
    ) async throws(ManagementError) -> Result {
        try await Self.withClient(of: self.connection) { client, _ throws(KubernetesError) in try await work(client) }
    }

    /// The same with a connection from elsewhere.
    static func withClient<Result>(
        of connection: () throws(KubernetesError) -> ClusterConnection,
        _ work: (KubernetesClient, ClusterConnection) async throws(KubernetesError) -> Result
    ) async throws(ManagementError) -> Result {
        do throws(KubernetesError) {
            let connection = try connection()
            let client = try KubernetesClient(connection)
            do throws(KubernetesError) {
                let result = try await work(client, connection)
                await client.shutdown()
                return result
            } catch {
                await client.shutdown()
                throw error
            }
        } catch {
            let advice =
                switch error.code {
                case .forbidden, .unauthorized: "Use a kubeconfig of somebody who administrates the cluster (--kube-config)."
                case .configuration: "Check --kube-config and --kube-context."
                default: "Check that the cluster can be reached from here."
                }
            throw ManagementError("The cluster was not changed as asked: \(error)", advice: advice)
        }
    }
}
