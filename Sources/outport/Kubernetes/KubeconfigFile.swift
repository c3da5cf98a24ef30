// A user's kubeconfig, into which that of a cluster is merged as `az aks get-credentials` does it.

import JSON
import Kubernetes

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// A kubeconfig on this machine.
struct KubeconfigFile: Sendable {
    let path: String

    /// Merges another one into it, whose context becomes the current one. The file is written whole, and by its owner alone readable.
    ///
    /// - Parameters:
    ///   - context: another name for the context and cluster.
    ///   - overwrites: whether entries of the same names are replaced.
    /// - Returns: the name of the context.
    func merge(_ text: String, context: String?, overwrites: Bool) throws(ManagementError) -> String {
        let added = try Self.named(try self.parse(text, "the server's kubeconfig"), context)
        guard let name = added["current-context"]?.stringValue else {
            throw ManagementError(
                "The server's kubeconfig has no current context.", advice: "Record it again: outport aks record-credentials.")
        }
        if (try? FileManager.default.destinationOfSymbolicLink(atPath: self.path)) != nil {
            throw ManagementError(
                "'\(self.path)' is a symbolic link, through which nothing is written.", advice: "Name its target with -f.")
        }
        var merged = added
        if let present = TextFile.read(self.path), !present.allSatisfy(\.isWhitespace) {
            merged = try self.merged(try self.parse(present, "'\(self.path)'"), added, overwrites)
        }
        try self.write(YAMLText.render(merged))
        return name
    }

    private func parse(_ text: String, _ what: String) throws(ManagementError) -> JSONValue {
        guard text.utf8.count <= 4 << 20 else { throw ManagementError("\(what) is larger than 4 MiB.") }
        let value: JSONValue
        do {
            value = try YAMLValue.parse(text)
        } catch {
            throw ManagementError("\(what) cannot be read as YAML: \(error)", advice: "Name another file with -f.")
        }
        guard value.objectValue != nil else { throw ManagementError("\(what) is no kubeconfig.", advice: "Name another file with -f.") }
        return value
    }

    private static func named(_ value: JSONValue, _ context: String?) throws(ManagementError) -> JSONValue {
        guard let context else { return value }
        var value = value
        guard var pair = value["contexts"]?[0], var cluster = value["clusters"]?[0] else {
            throw ManagementError("The server's kubeconfig has no context that could be renamed.")
        }
        pair["name"] = .string(context)
        pair[path: "context", "cluster"] = .string(context)
        cluster["name"] = .string(context)
        (value["contexts"], value["clusters"], value["current-context"]) = ([pair], [cluster], .string(context))
        return value
    }

    private func merged(_ present: JSONValue, _ added: JSONValue, _ overwrites: Bool) throws(ManagementError) -> JSONValue {
        var result = present
        for list in ["clusters", "users", "contexts"] {
            var entries = present[list]?.arrayValue ?? []
            for entry in added[list]?.arrayValue ?? [] {
                if let index = entries.firstIndex(where: { $0["name"] == entry["name"] }) {
                    guard overwrites || entries[index] == entry else {
                        throw ManagementError(
                            "A different object named \(entry["name"]?.stringValue ?? "") already exists in \(list) of '\(self.path)'.",
                            advice: "Add --overwrite-existing, or another name with --context.")
                    }
                    entries[index] = entry
                } else {
                    entries.append(entry)
                }
            }
            result[list] = .array(entries)
        }
        result["current-context"] = added["current-context"]
        return result
    }

    /// Beside it first, so that it is never half; for the owner alone before anything is in it.
    private func write(_ text: String) throws(ManagementError) {
        let manager = FileManager.default
        let folder = self.path.lastIndex(of: "/").map { String(self.path[..<$0]) } ?? "."
        let fresh = "\(self.path).outport-\(UUID().uuidString.prefix(8))"
        do {
            if !folder.isEmpty {
                try manager.createDirectory(atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            }
            guard manager.createFile(atPath: fresh, contents: Data(text.utf8), attributes: [.posixPermissions: 0o600]) else {
                throw ManagementError("'\(self.path)' cannot be written.", advice: "Name another file with -f.")
            }
            guard rename(fresh, self.path) == 0 else {
                try? manager.removeItem(atPath: fresh)
                throw ManagementError("'\(self.path)' cannot be replaced.", advice: "Name another file with -f.")
            }
        } catch let error as ManagementError {
            throw error
        } catch {
            throw ManagementError("'\(self.path)' cannot be written: \(error)", advice: "Name another file with -f.")
        }
    }
}

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif
