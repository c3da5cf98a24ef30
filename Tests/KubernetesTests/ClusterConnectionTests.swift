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

    @Test("K1 YAML that is none, or grows without end, is refused") func bombs() {
        #expect(throws: (any Error).self) { try YAMLValue.parse("a: [") }
        var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        for level in 1...9 {
            text += "a\(level): &a\(level) [\((0..<10).map { _ in "*a\(level - 1)" }.joined(separator: ", "))]\n"
        }
        #expect(throws: (any Error).self) { try YAMLValue.parse(text) }
    }
}
