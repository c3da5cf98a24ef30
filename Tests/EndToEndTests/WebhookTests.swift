// Webhooks with the unmodified `az`, a real push, and a receiver that is a process of its own.

import Foundation
import JSON
import Testing

@Suite(.serialized) struct WebhookTests {
    private static let receiver = """
        import http.server, sys
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with open(sys.argv[2], "ab") as log: log.write(body + b" " + self.headers.get("X-Key", "-").encode() + b"\\n")
                self.send_response(200); self.end_headers(); self.wfile.write(b"thanks")
            def log_message(self, *args): pass
        http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
        """

    @Test("R9 A4: az acr webhook: a receiver is told of pushes and deletions, also of those it was away for and across a kill -9")
    func webhooks() async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box, arguments: ["--fetch-allow", "127.0.0.1"])
            let azure = try await AzureCLI.operate(parent)
            let name = parent.registryName
            let port = try Ports.free()
            let log = box.path("received")
            let script = try box.file("receiver.py", Self.receiver)
            func receive() async throws -> BackgroundProcess {
                let process = try await BackgroundProcess.start("python3", [script, "\(port)", log], log: box.path("receiver.log"))
                box.atEnd {
                    process.signal(SIGKILL)
                    _ = try? await process.wait()
                }
                return process
            }
            @Sendable func received() -> [(action: String, image: String)] {
                let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
                return text.split(separator: "\n").compactMap { line in
                    guard line.hasSuffix(" open-sesame"), let value = try? JSONValue(parsing: line.dropLast(12).utf8) else { return nil }
                    let target = value["target"] ?? .null
                    return (
                        value["action"]?.stringValue ?? "", "\(target["repository"]?.stringValue ?? ""):\(target["tag"]?.stringValue ?? "")"
                    )
                }
            }
            let at = ["-n", "hook1", "-r", name]
            let made = try await azure.json(
                "acr", "webhook", "create", "-n", "hook1", "-r", name, "--uri", "http://127.0.0.1:\(port)/in", "--actions", "push",
                "delete",
                "--headers", "X-Key=open-sesame", "--scope", "team/*")
            #expect(made["status"] == "enabled")
            // Nobody there yet: the event waits.
            let image = try await ImageLayout.busybox(box)
            let clients = try Clients(box)
            let admin = try parent.registry(by: try await parent.token("pusher"))
            try await clients.push(image.reference, to: admin, "team/app:v1").succeeded()
            try await clients.push(image.reference, to: admin, "other:v1").succeeded()
            try await parent.server.kill()
            _ = try await receive()
            try await parent.server.start()
            try await azure("acr", "webhook", "ping", "-n", "hook1", "-r", name)
            try await azure("acr", "repository", "untag", "-n", name, "--image", "team/app:v1")
            try await eventually("push, ping and deletion arrive") { Set(received().map(\.action)) == ["push", "ping", "delete"] }
            let images = received().filter { $0.action != "ping" }
            #expect(images.first?.action == "push" && images.first?.image == "team/app:v1")
            #expect(images.last?.action == "delete" && images.last?.image == "team/app:v1")
            #expect(!images.contains { $0.image.hasPrefix("other") })

            for command in [["list", "-r", name], ["show"] + at, ["get-config"] + at, ["list-events"] + at] {
                for format in ["json", "table"] {
                    let theirs = try await azure.attempt(["acr", "webhook"] + command + ["-o", format]).succeeded().trimmed
                    let ours = try await parent.attempt(["acr", "webhook"] + command + ["-o", format]).succeeded().trimmed
                    if format == "json", command[0] != "list-events" {
                        #expect(try JSONValue(parsing: ours) == JSONValue(parsing: theirs), "\(command)")
                    } else if format == "table", command[0] != "get-config" {
                        #expect(ours == theirs, "\(command)")
                    }
                }
            }
            let updated = try await azure.json("acr", "webhook", "update", "-n", "hook1", "-r", name, "--status", "disabled")
            #expect(updated["status"] == "disabled" && updated["scope"] == "team/*")
            try await azure("acr", "webhook", "delete", "-n", "hook1", "-r", name)
            #expect(try await azure.json("acr", "webhook", "list", "-r", name) == [])
        }
    }
}
