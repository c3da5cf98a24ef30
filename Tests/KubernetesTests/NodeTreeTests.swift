// Proves that a node's files come back byte for byte, from wherever a run ended.

import Foundation
import HTTPServing
import Kubernetes
import TestSupport
import Testing

@Suite struct NodeTreeTests {
    /// Everything below a folder: kinds, modes, owners and bytes.
    private func picture(_ root: String) throws -> [String: String] {
        var picture: [String: String] = [:]
        for name in try FileManager.default.subpathsOfDirectory(atPath: root) {
            let path = "\(root)/\(name)"
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            let isFolder = attributes[.type] as? FileAttributeType == .typeDirectory
            let mode = (attributes[.posixPermissions] as? NSNumber)?.intValue ?? 0
            let owner = "\(attributes[.ownerAccountID] ?? 0):\(attributes[.groupOwnerAccountID] ?? 0)"
            let bytes = isFolder ? "/" : try Data(contentsOf: URL(filePath: path)).base64EncodedString()
            picture[name] = "\(String(mode, radix: 8)) \(owner) \(bytes)"
        }
        return picture
    }

    private func write(_ root: String, _ path: String, _ text: String, mode: Int = 0o644) throws {
        let url = URL(filePath: root + path)
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: url)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: root + path)
    }

    /// A node with some configuration of its own.
    private func node() throws -> (scratch: ScratchFolder, root: String, tree: NodeTree) {
        let scratch = ScratchFolder()
        let root = scratch.path
        try self.write(root, "/etc/containerd/config.toml", "[plugins]\n  config_path = \"/etc/containerd/certs.d\"\n", mode: 0o600)
        try self.write(root, "/etc/containerd/certs.d/docker.io/hosts.toml", "server = \"https://mine\"\n", mode: 0o640)
        try self.write(root, "/etc/docker/daemon.json", "{}")
        try self.write(root, "/var/lib/other/file", "other")
        return (scratch, root, NodeTree(root: root))
    }

    private func trust(_ host: String = "10.0.0.5", ca: String = "-----BEGIN CERTIFICATE-----", mirror: [String] = ["docker.io"]) throws
        -> NodeTrust
    {
        NodeTrust(
            registries: [try #require(HostAndPort(host))], authority: Array(ca.utf8),
            mirrored: try mirror.map { try #require(HostAndPort($0)) },
            runtimes: [.containerd, .docker])
    }

    @Test("K4 trust is written for each runtime, and removal puts back bytes, modes and owners")
    func applyAndRemove() throws {
        let (scratch, root, tree) = try self.node()
        try withExtendedLifetime(scratch) {
            let before = try self.picture(root)
            let files = try self.trust().files
            let planned = try tree.plan(files)
            #expect(try self.picture(root) == before)
            #expect(try tree.apply(files) == planned)
            #expect(planned.filter { $0.kind == .replace }.map(\.path) == ["/etc/containerd/certs.d/docker.io/hosts.toml"])
            for file in files { #expect(try Data(contentsOf: URL(filePath: root + file.path)) == Data(file.content)) }
            let hosts = try String(contentsOfFile: root + "/etc/containerd/certs.d/10.0.0.5/hosts.toml", encoding: .utf8)
            #expect(
                hosts.contains("[host.\"https://10.0.0.5\"]") && hosts.contains("ca = \"/etc/containerd/certs.d/10.0.0.5/outport-ca.crt\""))
            // Nothing is done twice.
            #expect(try tree.apply(files) == [])
            #expect(try tree.containerdPath() == .set)
            #expect(Set(try tree.remove().map(\.kind)) == [.remove, .restore])
            #expect(try self.picture(root) == before)
            #expect(try tree.remove() == [])
            #expect(try self.picture(root) == before)
        }
    }

    @Test("K4 another address or CA replaces what was written, and what was there first still comes back")
    func change() throws {
        let (scratch, root, tree) = try self.node()
        try withExtendedLifetime(scratch) {
            let before = try self.picture(root)
            _ = try tree.apply(try self.trust().files)
            _ = try tree.apply(
                try self.trust("registry.example:8443", ca: "-----BEGIN CERTIFICATE----- other", mirror: ["docker.io"]).files)
            #expect(!FileManager.default.fileExists(atPath: root + "/etc/docker/certs.d/10.0.0.5/ca.crt"))
            #expect(FileManager.default.fileExists(atPath: root + "/etc/docker/certs.d/registry.example:8443/ca.crt"))
            _ = try tree.remove()
            #expect(try self.picture(root).filter { !$0.key.contains("10.0.0.5") } == before)
        }
    }

    @Test("K4 what somebody else has changed since is left alone")
    func foreignChanges() throws {
        let (scratch, root, tree) = try self.node()
        try withExtendedLifetime(scratch) {
            _ = try tree.apply(try self.trust().files)
            let path = "/etc/containerd/certs.d/docker.io/hosts.toml"
            try self.write(root, path, "theirs")
            #expect(try tree.remove().contains(NodeChange(kind: .leave, path: path)))
            #expect(try String(contentsOfFile: root + path, encoding: .utf8) == "theirs")
        }
    }

    @Test("K4 a run cut short anywhere is finished by the next, or put back by a removal")
    func cutShort() throws {
        // Each file is written at once; what can be missing after a cut is any tail of them, and any tail of a removal.
        for kept in 0...7 {
            let (scratch, root, tree) = try self.node()
            try withExtendedLifetime(scratch) {
                let before = try self.picture(root)
                let files = try self.trust().files
                let originals = files.map { file in try? Data(contentsOf: URL(filePath: root + file.path)) }
                _ = try tree.apply(files)
                for (index, file) in files.enumerated() where index >= kept {
                    if let original = originals[index] {
                        try original.write(to: URL(filePath: root + file.path))
                    } else {
                        try FileManager.default.removeItem(atPath: root + file.path)
                    }
                }
                try Data("half".utf8).write(to: URL(filePath: root + files[0].path + ".outport-new"))
                if kept % 2 == 0 {
                    _ = try tree.apply(files)
                    for file in files { #expect(try Data(contentsOf: URL(filePath: root + file.path)) == Data(file.content)) }
                }
                _ = try tree.remove()
                var after = try self.picture(root)
                // The file that was put back by hand above has the mode of a new file where nothing was written over it since.
                let path = "etc/containerd/certs.d/docker.io/hosts.toml"
                if after[path] != before[path] { after[path] = after[path].map { "640" + $0.drop { $0 != " " } } }
                #expect(after == before, "\(kept) files kept")
            }
        }
    }

    @Test("K4 a symbolic link is not followed out of the root, and a damaged journal stops everything")
    func refusals() throws {
        let (scratch, root, tree) = try self.node()
        try withExtendedLifetime(scratch) {
            try FileManager.default.createSymbolicLink(atPath: root + "/etc/docker/certs.d", withDestinationPath: "/tmp")
            let error = #expect(throws: NodeError.self) { try tree.apply(try self.trust().files) }
            #expect(error?.description.contains("symbolic link") == true)
            try FileManager.default.removeItem(atPath: root + "/etc/docker/certs.d")
            _ = try tree.apply(try self.trust().files)
            try self.write(root, "/var/lib/outport/node-trust/journal.json", "{")
            #expect(throws: NodeError.self) { try tree.remove() }
            #expect(throws: NodeError.self) { try tree.apply(try self.trust("other").files) }
        }
    }

    @Test("K4 containerd's config_path is looked for and reported")
    func configPath() throws {
        let (scratch, root, tree) = try self.node()
        try withExtendedLifetime(scratch) {
            try self.write(root, "/etc/containerd/config.toml", "version = 2\n")
            #expect(try tree.containerdPath() == .missing)
            try self.write(root, "/etc/containerd/config.toml", "config_path = '/opt/certs'\n")
            #expect(try tree.containerdPath() == .other("/opt/certs"))
            try FileManager.default.removeItem(atPath: root + "/etc/containerd/config.toml")
            #expect(try tree.containerdPath() == .unknown)
        }
    }

    @Test("K4 removal restores mode and owner also where the bytes are already those of before") func sameBytes() throws {
        let (scratch, root, tree) = try self.node()
        try withExtendedLifetime(scratch) {
            let path = "/etc/containerd/certs.d/docker.io/hosts.toml"
            let before = try self.picture(root)
            let original = try Data(contentsOf: URL(filePath: root + path))
            _ = try tree.apply([NodeFile(path: path, content: Array("other".utf8))])
            // Wanted now are the very bytes that were there at first: they are written with the mode of our files.
            _ = try tree.apply([NodeFile(path: path, content: Array(original))])
            #expect(try self.picture(root)[String(path.dropFirst())] != before[String(path.dropFirst())])
            #expect(try tree.planRemoval() == [NodeChange(kind: .restore, path: path)])
            #expect(try tree.remove() == [NodeChange(kind: .restore, path: path)])
            #expect(try self.picture(root) == before)
        }
    }

    @Test("K4 what is written under one name stays when what was written under another is removed") func sets() throws {
        let (scratch, root, tree) = try self.node()
        try withExtendedLifetime(scratch) {
            let before = try self.picture(root)
            _ = try tree.apply(try self.trust("10.0.0.5", mirror: []).files)
            let between = try self.picture(root)
            let other = NodeTree(root: root, set: "connected-registry")
            _ = try other.apply(try self.trust("10.0.0.6", mirror: []).files)
            _ = try other.remove()
            #expect(try self.picture(root) == between)
            _ = try tree.remove()
            #expect(try self.picture(root) == before)
        }
    }
}

@Suite struct CredentialProviderTests {
    private func provider(_ text: String) throws -> CredentialProvider {
        try CredentialProvider(configuration: Array(text.utf8)) { path in
            guard path == "/secret" else { throw CocoaError(.fileNoSuchFile) }
            return Array(" s3cret\n".utf8)
        }
    }

    private let configuration = """
        {"registries": [{"registry": "10.0.0.5", "username": "token", "passwordFile": "/secret"},
                        {"registry": "Site.example:8443", "username": "other", "password": "p"}], "cacheDuration": "10m0s"}
        """

    @Test("K6 the kubelet is answered in the version it asks in", arguments: ["v1", "v1beta1", "v1alpha1"])
    func versions(version: String) async throws {
        let provider = try self.provider(self.configuration)
        func ask(_ image: String) async throws -> String {
            let request =
                #"{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/\#(version)","image":"\#(image)"}"#
            return String(decoding: try await provider.answer(Array(request.utf8)), as: UTF8.self)
        }
        let prefix = #"{"apiVersion":"credentialprovider.kubelet.k8s.io/\#(version)","auth":"#
        let suffix = #","cacheDuration":"10m0s","cacheKeyType":"Registry","kind":"CredentialProviderResponse"}"#
        #expect(try await ask("10.0.0.5/team/app:v1") == prefix + #"{"10.0.0.5":{"password":"s3cret","username":"token"}}"# + suffix)
        #expect(
            try await ask("site.example:8443/app@sha256:00") == prefix + #"{"Site.example:8443":{"password":"p","username":"other"}}"#
                + suffix)
        #expect(try await ask("docker.io/library/busybox") == prefix + "{}" + suffix)
    }

    @Test("K6 what is no request, or in another version, is refused with a sentence")
    func refusals() async throws {
        let provider = try self.provider(self.configuration)
        for text in [
            "", "{}", "[]", #"{"kind":"Pod","apiVersion":"v1","image":"a"}"#,
            #"{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v9","image":"a"}"#,
        ] {
            await #expect(throws: CredentialProviderError.self) { try await provider.answer(Array(text.utf8)) }
        }
        for text in [
            "{}", #"{"registries":[{"registry":"a","username":"b"}]}"#,
            #"{"registries":[{"registry":"a","username":"b","password":"c","passwordFile":"d"}]}"#,
        ] {
            #expect(throws: CredentialProviderError.self) { try self.provider(text) }
        }
        let missing = try self.provider(#"{"registries":[{"registry":"a","username":"b","passwordFile":"/none"}]}"#)
        let request = #"{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"a/b"}"#
        await #expect(throws: CredentialProviderError.self) { try await missing.answer(Array(request.utf8)) }
    }
}
