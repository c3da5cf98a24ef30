// Proves what is read from kubeconfigs, and what is refused in them.

import JSON
import Kubernetes
import Testing

@Suite struct ClusterConnectionTests {
    private func parse(_ text: String, context: String? = nil) throws(KubernetesError) -> ClusterConnection {
        try ClusterConnection.parse(text, folder: "/nowhere", context: context, name: "test")
    }

    private let text = """
        apiVersion: v1
        kind: Config
        current-context: b
        clusters:
        - name: one
          cluster: {server: "https://10.0.0.1:6443/", certificate-authority-data: LS0tQ0E=}
        - {name: bad, cluster: {server: "http://10.0.0.1"}}
        - {name: open, cluster: {server: "https://10.0.0.1", insecure-skip-tls-verify: true}}
        users:
        - {name: t, user: {token: secret}}
        - {name: c, user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}}
        - {name: x, user: {exec: {command: cloud-login}}}
        contexts:
        - {name: a, context: {cluster: one, user: t}}
        - {name: b, context: {cluster: one, user: c}}
        - {name: plain, context: {cluster: bad, user: t}}
        - {name: blind, context: {cluster: open, user: t}}
        - {name: exec, context: {cluster: one, user: x}}
        - {name: lost, context: {cluster: gone, user: t}}
        """

    @Test("K1 a kubeconfig's current context, or another one") func contexts() throws {
        let current = try self.parse(self.text)
        #expect(current.server == "https://10.0.0.1:6443")
        #expect(current.authority == "---CA")
        guard case .certificate("CERT", "KEY") = current.credentials else { return #expect(Bool(false), "no certificate") }
        guard case .token("secret") = try self.parse(self.text, context: "a").credentials else { return #expect(Bool(false), "no token") }
    }

    @Test("K1 what cannot be trusted or used is refused", arguments: ["plain", "blind", "exec", "lost", "none"])
    func refusals(context: String) {
        #expect(throws: KubernetesError.self) { try self.parse(self.text, context: context) }
    }

    @Test(
        "K1 an address that is none is refused where it is read, by the name of its member",
        arguments: [
            "https://127.0.0.1:99999999", "https://127.0.0.1:65536", "https://127.0.0.1:0", "https://127.0.0.1:-1",
            "https://127.0.0.1:99999999999999999999999", "https://", "https://:6443", "https://me:hush@127.0.0.1:6443",
            "https://127.0.0.1:6443?a=b", "https://127.0.0.1:6443#a",
        ])
    func addresses(server: String) {
        do throws(KubernetesError) {
            _ = try self.parse(self.text.replacing("https://10.0.0.1:6443/", with: server))
            Issue.record("'\(server)' was taken")
        } catch {
            #expect(error.code == .configuration)
            #expect(error.description.contains("clusters[name=one].cluster.server"), "\(error)")
            #expect(!error.description.contains("hush"))
        }
    }

    @Test("K1 addresses with a name, a path or an address of IPv6 are taken") func goodAddresses() throws {
        for server in [
            "https://plant.example", "https://rancher.example/k8s/clusters/c-1", "https://[::1]:6443", "https://a.example:65535",
        ] {
            #expect(try self.parse(self.text.replacing("https://10.0.0.1:6443/", with: server)).server == server)
        }
    }

    @Test("K1 an environment whose host and port are none is refused by name", arguments: ["99999999", "0", "-1", "", "x", "443/a"])
    func environment(port: String) {
        for host in ["10.96.0.1", "fd00::1"] {
            do throws(KubernetesError) {
                _ = try ClusterConnection.inCluster(environment: ["KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port])
                Issue.record("'\(port)' was taken")
            } catch {
                #expect(error.code == .configuration)
                #expect(error.description.contains("KUBERNETES_SERVICE_PORT"), "\(error)")
            }
        }
    }

    @Test("K1 YAML that is none, or grows without end, is refused") func bombs() {
        #expect(throws: (any Error).self) { try YAMLValue.parse("a: [") }
        var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        for level in 1...9 {
            text += "a\(level): &a\(level) [\((0..<10).map { _ in "*a\(level - 1)" }.joined(separator: ", "))]\n"
        }
        #expect(throws: (any Error).self) { try YAMLValue.parse(text) }
    }
}
