// Proves what `--set`, `--add` and `--remove` make of a body, and what becomes of a kubeconfig that another is merged into.

import Foundation
import JSON
import Testing

@testable import outport

@Suite struct GenericUpdateTests {
    private static let current: JSONValue = [
        "tags": ["site": "north", "old": "x"],
        "properties": ["adminUserEnabled": false, "actions": ["push"], "rules": [["value": "1.2.3.4"]]],
    ]

    private func body(_ arguments: String..., isFlat: Bool = false) throws -> JSONValue {
        var body: JSONValue = [:]
        try GenericUpdate.parse(arguments).apply(to: &body, of: Self.current, isFlat: isFlat)
        return body
    }

    @Test("A4 --set, --add and --remove change members by the names under which they are printed")
    func changes() throws {
        #expect(try self.body("--set", "tags.site=south") == ["tags": ["site": "south", "old": "x"]])
        #expect(
            try self.body("--set", "admin_user_enabled=true", "tags.a=b=c") == [
                "properties": ["adminUserEnabled": true], "tags": ["site": "north", "old": "x", "a": "b=c"],
            ])
        #expect(try self.body("--set", "properties.policies.x.days=5") == ["properties": ["policies": ["x": ["days": 5]]]])
        #expect(try self.body("--set", "x=5", "--force-string") == ["properties": ["x": "5"]])
        #expect(try self.body("--set", #"x={"a":[1]}"#) == ["properties": ["x": ["a": [1]]]])
        #expect(try self.body("--add", "actions", "delete") == ["properties": ["actions": ["push", "delete"]]])
        #expect(
            try self.body("--add", "rules", "value=5.6.7.8", "action=Allow")
                == ["properties": ["rules": [["value": "1.2.3.4"], ["value": "5.6.7.8", "action": "Allow"]]]])
        #expect(try self.body("--remove", "actions", "0") == ["properties": ["actions": []]])
        // Names and texts of tags are taken as they are written.
        #expect(
            try self.body("--set", "tags.cost_center=0042", "tags.a.b=true")
                == ["tags": ["site": "north", "old": "x", "cost_center": "0042", "a.b": "true"]])
        #expect(throws: ManagementError.self) { try self.body("--set", "tags.=x") }
        // Whoever is sent tags replaces them all.
        #expect(try self.body("--remove", "tags.old") == ["tags": ["site": "north"]])
        #expect(try self.body("--remove", "tags") == ["tags": [:]])
        #expect(try self.body("--set", #"tags={"a":"b"}"#) == ["tags": ["a": "b"]])
        #expect(try self.body("--set", "tags.site=south", "--remove", "tags.old") == ["tags": ["site": "south"]])
        var body: JSONValue = ["tags": ["given": "1"]]
        try GenericUpdate.parse(["--set", "tags.site=south"]).apply(to: &body, of: Self.current)
        #expect(body == ["tags": ["given": "1", "site": "south"]])
        #expect(try self.body("--set", "accountEnabled=false", isFlat: true) == ["accountEnabled": false])
    }

    @Test(
        "A4 a change that cannot be understood is a mistake of the command line",
        arguments: [
            ["--set", "tags"], ["--set", "=x"], ["--add", "actions"], ["--remove", "actions", "7"], ["--remove", "nothing"],
        ])
    func mistakes(arguments: [String]) throws {
        var body: JSONValue = [:]
        let options = try GenericUpdate.parse(arguments)
        let error = #expect(throws: ManagementError.self) { try options.apply(to: &body, of: Self.current) }
        #expect(error?.exitCode == 2)
    }

    private func kubeconfig(_ name: String, _ server: String, user: String = "clusterUser") -> String {
        """
        apiVersion: v1
        kind: Config
        current-context: \(name)
        clusters: [{name: \(name), cluster: {server: "\(server)"}}]
        users: [{name: \(user)_\(name), user: {token: t}}]
        contexts: [{name: \(name), context: {cluster: \(name), user: \(user)_\(name)}}]
        """
    }

    @Test("K7 A4 a kubeconfig is merged into the user's own, which nobody else reads; what is there is kept unless it is to be replaced")
    func merge() throws {
        let folder = FileManager.default.temporaryDirectory.path + "/outport-kube-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let file = KubeconfigFile(path: folder + "/.kube/config")
        #expect(try file.merge(self.kubeconfig("plant", "https://a"), context: nil, overwrites: false) == "plant")
        #expect(try FileManager.default.attributesOfItem(atPath: file.path)[.posixPermissions] as? Int == 0o600)
        #expect(try file.merge(self.kubeconfig("shop", "https://b"), context: nil, overwrites: false) == "shop")
        let text = try #require(TextFile.read(file.path))
        #expect(text.contains("https://a") && text.contains("https://b") && text.contains("current-context: shop"))
        // The same again is no conflict, another one of the name is.
        #expect(try file.merge(self.kubeconfig("shop", "https://b"), context: nil, overwrites: false) == "shop")
        let refused = #expect(throws: ManagementError.self) {
            try file.merge(self.kubeconfig("shop", "https://c"), context: nil, overwrites: false)
        }
        #expect(refused?.description.contains("--overwrite-existing") == true)
        #expect(TextFile.read(file.path) == text)
        #expect(try file.merge(self.kubeconfig("shop", "https://c"), context: nil, overwrites: true) == "shop")
        #expect(try file.merge(self.kubeconfig("shop", "https://d"), context: "other", overwrites: true) == "other")
        let merged = try #require(TextFile.read(file.path))
        #expect(merged.contains("https://c") && merged.contains("https://d") && !merged.contains("https://b"))
        try Data("clusters: [".utf8).write(to: URL(filePath: file.path))
        #expect(throws: ManagementError.self) { try file.merge(self.kubeconfig("x", "https://x"), context: nil, overwrites: true) }
        #expect(TextFile.read(file.path) == "clusters: [")
    }

    @Test("A1 A4 a self-made certificate signs in as any other: key and certificate in one file of its owner's")
    func certificate() async throws {
        let end = "2030-01-01T00:00:00Z"
        #expect(UTCTime.seconds(end) == 1_893_456_000)
        #expect(UTCTime.seconds("1970-01-01T00:00:01Z") == 1 && UTCTime.seconds("2024-02-30T00:00:00Z") == nil)
        let path = try CertificateOptions.make("http://a name", end: end)
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o600)
        let file = try CertificateFile(path: path)
        #expect(file.certificate?.isEmpty == false)
        let assertion = try await file.assertion(clientID: "id", audience: "https://x", now: 1_800_000_000)
        #expect(assertion.split(separator: ".").count == 3)
    }
}
