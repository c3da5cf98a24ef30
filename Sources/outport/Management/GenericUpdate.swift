// `--set`, `--add` and `--remove`: members of a resource that have no option of their own.

import ArgumentParser
import JSON

/// The generic arguments of `az … update`.
///
/// A path names members as they are printed (`policies.exportPolicy.status`, `tags.site`), in camel or in snake case.
struct GenericUpdate: ParsableArguments {
    @Option(parsing: .upToNextOption, help: "Set a member: --set tags.site=north.")
    var set: [String] = []

    @Option(parsing: .upToNextOption, help: "Add to a list: --add properties.list VALUE or KEY=VALUE …")
    var add: [String] = []

    @Option(parsing: .upToNextOption, help: "Take out a member, or an element of a list: --remove tags.site, --remove list 0.")
    var remove: [String] = []

    @Flag(help: "With --set and --add: keep text as text, also where it could be a number or a truth value.")
    var forceString = false

    var isEmpty: Bool { self.set.isEmpty && self.add.isEmpty && self.remove.isEmpty }

    /// Members that lie beside `properties` in a resource's body.
    private static let outer: Set<String> = ["location", "tags", "sku", "identity", "properties"]

    /// Writes the changes into a body that is sent as a merge patch.
    ///
    /// - Parameters:
    ///   - current: what there is, of which lists are taken whole.
    ///   - isFlat: whether the resource has no `properties`, as those of the directory.
    func apply(to body: inout JSONValue, of current: JSONValue, isFlat: Bool = false) throws(ManagementError) {
        // Tags are replaced whole by who is sent some: one of them is changed among all.
        if (self.set + self.add.prefix(1) + self.remove.prefix(1)).contains(where: { $0.hasPrefix("tags.") }), body["tags"] == nil {
            body["tags"] = .object(current["tags"]?.objectValue ?? [:])
        }
        for text in self.set {
            guard let equals = text.firstIndex(of: "="), equals != text.startIndex, text[..<equals] != "tags." else {
                throw .usage("'\(text)' is no change: write --set MEMBER.MEMBER=VALUE.")
            }
            let path = Self.path(String(text[..<equals]), isFlat)
            let value = String(text[text.index(after: equals)...])
            // What a tag says is always text.
            Self.put(path.count == 2 && path[0] == "tags" ? .string(value) : self.value(value), at: path[...], in: &body)
        }
        if let first = self.add.first {
            guard self.add.count > 1 else { throw .usage("Nothing is added: write --add LIST VALUE, or --add LIST KEY=VALUE …") }
            let path = Self.path(first, isFlat)
            let values = self.add.dropFirst()
            var list = Self.find(path, in: body)?.arrayValue ?? Self.find(path, in: current)?.arrayValue ?? []
            if values.allSatisfy({ $0.contains("=") }) {
                var object: [String: JSONValue] = [:]
                for pair in values {
                    let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                    object[String(parts[0])] = self.value(String(parts[1]))
                }
                list.append(.object(object))
            } else {
                list += values.map(self.value)
            }
            Self.put(.array(list), at: path[...], in: &body)
        }
        if let first = self.remove.first {
            let path = Self.path(first, isFlat)
            if self.remove.count > 1 {
                var list = Self.find(path, in: body)?.arrayValue ?? Self.find(path, in: current)?.arrayValue ?? []
                guard let index = Int(self.remove[1]), list.indices.contains(index) else {
                    throw .usage("'\(first)' has no element \(self.remove[1]): it has \(list.count).")
                }
                list.remove(at: index)
                Self.put(.array(list), at: path[...], in: &body)
            } else {
                guard Self.find(path, in: current) != nil else { throw .usage("There is no '\(first)' to take out.") }
                if path == ["tags"] {
                    body["tags"] = [:]
                } else if path.count == 2, path[0] == "tags", var tags = body["tags"]?.objectValue {
                    tags[path[1]] = nil
                    body["tags"] = .object(tags)
                } else {
                    Self.put(.null, at: path[...], in: &body)
                }
            }
        }
    }

    /// What a text means: JSON where it is such, text otherwise.
    private func value(_ text: String) -> JSONValue {
        if self.forceString { return .string(text) }
        switch text.lowercased() {
        case "true": return true
        case "false": return false
        default: return (try? JSONValue(parsing: text)) ?? .string(text)
        }
    }

    private static func path(_ text: String, _ isFlat: Bool) -> [String] {
        // The names of tags are the user's own, points included.
        if text.hasPrefix("tags.") { return ["tags", String(text.dropFirst(5))] }
        var path = text.split(separator: ".").map { Self.camel(String($0)) }
        if !isFlat, let first = path.first, !self.outer.contains(first) { path.insert("properties", at: 0) }
        return path
    }

    /// `admin_user_enabled` is `adminUserEnabled`.
    private static func camel(_ text: String) -> String {
        let words = text.split(separator: "_")
        guard words.count > 1 else { return text }
        return ([words[0].lowercased()] + words.dropFirst().map { $0.prefix(1).uppercased() + $0.dropFirst() }).joined()
    }

    private static func find(_ path: [String], in value: JSONValue) -> JSONValue? {
        path.reduce(Optional(value)) { $0?[$1] }
    }

    private static func put(_ value: JSONValue, at path: ArraySlice<String>, in body: inout JSONValue) {
        guard let first = path.first else {
            body = value
            return
        }
        var inner = body[first] ?? [:]
        self.put(value, at: path.dropFirst(), in: &inner)
        if body.objectValue == nil { body = [:] }
        body[first] = inner
    }
}

extension GenericUpdate {
    /// The same of a resource that is read for it, if there is anything to change.
    func apply(to body: inout JSONValue, in path: String, _ session: ManagementSession) async throws(ManagementError) {
        if !self.isEmpty { try self.apply(to: &body, of: try await session.client.get(path)) }
    }
}
