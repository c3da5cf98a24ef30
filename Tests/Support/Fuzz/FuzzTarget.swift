// The doors at which bytes from outside become types, and what must hold for any bytes at all.

internal import Foundation
internal import HTTPServing
internal import Identity
internal import JSON
internal import OCI
internal import RegistryCore
internal import Schedule
internal import SyncAgent

/// A parser under test.
package struct FuzzTarget: Sendable, CustomStringConvertible {
    /// Also the name of its folder below `Tests/Corpus`.
    package let name: String
    /// Takes any bytes; returns what does not hold, or `nil`.
    package let run: @Sendable ([UInt8]) async -> String?
    /// Inputs that cannot lie in a file: signed ones.
    package var seeds: [[UInt8]] = []

    package var description: String { self.name }

    /// Milliseconds one input may take.
    package static let patience: Int64 = 20_000

    /// The committed inputs of a target.
    package func corpus(_ folder: String = Self.folder) throws -> [[UInt8]] {
        let path = "\(folder)/\(self.name)"
        let files = try FileManager.default.contentsOfDirectory(atPath: path).sorted()
        return try files.map { Array(try Data(contentsOf: URL(fileURLWithPath: "\(path)/\($0)"))) } + self.seeds
    }

    /// `Tests/Corpus`.
    package static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Corpus").path

    /// Runs one input against the clock, and again where that took long: the machine may have stood still meanwhile, and an input that
    /// makes a parser slow does so each time.
    package func check(_ bytes: [UInt8]) async -> String? {
        var taken: [Duration] = []
        while taken.count < 10 {
            let begin = ContinuousClock.now
            if let problem = await self.run(bytes) { return problem }
            taken.append(ContinuousClock.now - begin)
            if taken.last ?? .zero <= .milliseconds(Self.patience) { return nil }
        }
        return "it took \(taken)"
    }

    /// Text as it would arrive in a header or a path.
    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    init(_ name: String, _ run: @escaping @Sendable ([UInt8]) async -> String?) {
        self.name = name
        self.run = run
    }

    /// All targets.
    package static func all() async throws -> [FuzzTarget] {
        [
            names, digests, manifests, uploadRanges, scopes, scopeMapActions, connectionStrings, schedules, durations, percentEncoding,
            json,
            hosts, extensionSettings, kubeconfigs, parcels, accept, ranges, challenges, try await tokens(), try await requests(),
        ]
    }

    // MARK: Names

    private static let names = FuzzTarget("names") { bytes in
        let text = text(bytes)
        if let name = try? RepositoryName(text) {
            guard name.description == text, text.utf8.count <= 255, !text.contains(".."), !text.contains("//"), !text.hasPrefix("/"),
                !text.hasSuffix("/"), text.utf8.allSatisfy({ $0 < 0x80 && !($0 >= 0x41 && $0 <= 0x5a) })
            else { return "repository name '\(text)' was accepted" }
        }
        if let tag = try? Tag(text) {
            guard tag.description == text, (1...128).contains(text.utf8.count), !text.contains("/"), !text.contains(":") else {
                return "tag '\(text)' was accepted"
            }
        }
        if let reference = try? Reference(text), (try? Reference(reference.description)) != reference {
            return "reference '\(text)' does not read back"
        }
        if let pattern = try? RepositoryPattern(text), (try? RepositoryPattern(pattern.description)) != pattern {
            return "pattern '\(text)' does not read back"
        }
        if let type = try? MediaType(text), type.description != text || text.contains("\r") || text.contains("\n") {
            return "media type '\(text)' was accepted"
        }
        if ResourceName.isValid(text), text.contains("/") { return "resource name '\(text)' was accepted" }
        return nil
    }

    private static let digests = FuzzTarget("digests") { bytes in
        guard let digest = try? Digest(text(bytes)) else { return nil }
        guard digest.description == text(bytes), digest.hex.utf8.count == digest.algorithm.hexLength,
            digest.hex.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }),
            (try? Digest(digest.description)) == digest
        else { return "digest '\(text(bytes))' was accepted" }
        return nil
    }

    private static let uploadRanges = FuzzTarget("upload-ranges") { bytes in
        guard let range = try? Uploads.Range(parsing: text(bytes)) else { return nil }
        guard range.start >= 0, range.start <= range.end, (try? Uploads.Range(parsing: "\(range.start)-\(range.end)")) == range else {
            return "range '\(text(bytes))' was read as \(range.start)-\(range.end)"
        }
        return nil
    }

    private static let hosts = FuzzTarget("hosts") { bytes in
        guard let host = HostAndPort(text(bytes)) else { return nil }
        return HostAndPort(host.description) == host ? nil : "host '\(text(bytes))' reads back as another than \(host)"
    }

    // MARK: Documents

    private static let manifests = FuzzTarget("manifests") { bytes in
        for declared in [nil] + MediaType.manifests.map(Optional.some) {
            guard let manifest = try? Manifest(parsing: bytes, declared: declared) else { continue }
            guard (try? Manifest(parsing: bytes, declared: declared)) == manifest else { return "it is read in two ways" }
            if let new = try? Manifest(parsing: bytes, declared: declared, isNew: true), new != manifest {
                return "what is new is read in another way"
            }
            let descriptors = manifest.layers + manifest.manifests + [manifest.config, manifest.subject].compactMap { $0 }
            guard descriptors.count <= Manifest.maximumDescriptors, descriptors.allSatisfy({ $0.size >= 0 }) else {
                return "descriptors beyond the limits were accepted"
            }
            guard declared == nil || manifest.mediaType == declared, MediaType.manifests.contains(manifest.mediaType) else {
                return "a manifest of type \(manifest.mediaType) was accepted as \(declared?.description ?? "any")"
            }
            guard Set(manifest.requiredBlobs.map(\.digest)).count == manifest.requiredBlobs.count else {
                return "a required blob is listed twice"
            }
            guard let new = try? NewManifest(bytes, declared: declared, expected: nil), new.digest == Digest.of(bytes) else {
                return "its digest is not that of its bytes"
            }
        }
        return nil
    }

    private static let json = FuzzTarget("json") { bytes in
        guard let value = try? JSONValue(parsing: bytes) else { return nil }
        for pretty in [false, true] {
            guard let again = try? JSONValue(parsing: value.serialized(pretty: pretty)), again == value else {
                return "it does not read back: \(value.serialized().prefix(200))"
            }
        }
        var patched = value
        patched.apply(mergePatch: value)
        _ = patched.hashValue
        return JSONDepth.measure(bytes, limit: JSONValue.defaultMaximumDepth) ? nil : "it nests deeper than the limit"
    }

    // MARK: Access

    private static let scopes = FuzzTarget("scopes") { bytes in
        guard let entries = try? AccessEntry.parse([text(bytes)]) else { return nil }
        guard entries.count <= 64, entries.allSatisfy({ $0.actions.count <= 16 }) else { return "scopes beyond the limits were accepted" }
        return entries.allSatisfy { !$0.name.contains(" ") } ? nil : "a name holds a blank"
    }

    private static let scopeMapActions = FuzzTarget("scope-map-actions") { bytes in
        guard let action = try? ScopeMapAction(text(bytes)) else { return nil }
        return (try? ScopeMapAction(action.description)) == action ? nil : "action '\(text(bytes))' does not read back"
    }

    private static let connectionStrings = FuzzTarget("connection-strings") { bytes in
        let text = text(bytes)
        do {
            let string = try ConnectionString(parsing: text)
            guard ResourceName.isValid(string.connectedRegistry), ResourceName.isValid(string.syncToken), !string.password.isEmpty else {
                return "a connection string with a name or password missing was accepted"
            }
        } catch {
            // What follows the field's name up to the next separator is a secret.
            if let range = text.range(of: "SyncTokenPassword=") {
                let secret = text[range.upperBound...].prefix { $0 != ";" }
                if secret.utf8.count >= 12, !secret.hasPrefix("<"), "\(error)".contains(secret) { return "the refusal holds the password" }
            }
        }
        return nil
    }

    // MARK: Times

    private static let schedules = FuzzTarget("schedules") { bytes in
        guard let schedule = try? CronSchedule(parsing: text(bytes)) else { return nil }
        guard (try? CronSchedule(parsing: schedule.description)) == schedule else { return "schedule '\(text(bytes))' does not read back" }
        for instant in [0, 1_790_000_000, 951_782_399] {
            guard let next = schedule.next(after: instant) else { continue }
            guard next > instant, next % 60 == 0, schedule.previous(atOrBefore: next) == next else {
                return "'\(schedule)' after \(instant) is \(next), before that \(schedule.previous(atOrBefore: next) ?? -1)"
            }
        }
        return nil
    }

    private static let durations = FuzzTarget("durations") { bytes in
        guard let duration = try? ISODuration(parsing: text(bytes)) else { return nil }
        guard duration.seconds >= 0, (try? ISODuration(parsing: duration.description)) == duration,
            ISODuration(seconds: duration.seconds) == duration
        else { return "duration '\(text(bytes))' does not read back" }
        return nil
    }

    // MARK: Encodings

    private static let percentEncoding = FuzzTarget("percent-encoding") { bytes in
        let text = text(bytes)
        if let decoded = PercentEncoding.decode(text), PercentEncoding.decode(PercentEncoding.encode(decoded)) != decoded {
            return "'\(decoded)' does not survive"
        }
        guard PercentEncoding.decode(PercentEncoding.encode(text)) == text else { return "'\(text)' does not survive" }
        let items = FormURL.decode(text)
        return items.count <= 100 ? nil : "\(items.count) items were read"
    }
}
