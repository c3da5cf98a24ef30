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

    /// A client of the cluster.
    func client() throws(KubernetesError) -> KubernetesClient {
        let environment = ProcessInfo.processInfo.environment
        let path = self.kubeConfig ?? environment["KUBECONFIG"]?.split(separator: ":").first.map(String.init)
        if path == nil, environment["KUBERNETES_SERVICE_HOST"] != nil {
            return try KubernetesClient(.inCluster(environment: environment))
        }
        return try KubernetesClient(
            .kubeconfig(path ?? "\(environment["HOME"] ?? "")/.kube/config", context: self.kubeContext))
    }

    /// Does something with the cluster, and says in the words of commands why it could not.
    func withClient<Result>(
        _ work: (KubernetesClient) async throws(KubernetesError) -> Result
    ) async throws(ManagementError) -> Result {
        do throws(KubernetesError) {
            let client = try self.client()
            do throws(KubernetesError) {
                let result = try await work(client)
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
