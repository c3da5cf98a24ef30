// Header fields of clients and of sources: what is read of them is compared with slow readings that are simple enough to be right.

internal import OCI

// Neither is for other targets; the harness is never built for release.
@testable internal import DistributionAPI
@testable internal import Import

extension FuzzTarget {
    // MARK: Accept

    /// `Accept`: the same answer as by the letter of RFC 9110, section 12.5.1, wherever that has one.
    static let accept = FuzzTarget("accept") { bytes in
        let header = String(decoding: bytes, as: UTF8.self)
        let types = MediaType.manifests.map(\.description)
        for type in types + ["application/octet-stream"] {
            let answer = Accept.allows(header, type)
            guard let expected = AcceptReference.allows(bytes, type), expected != answer else { continue }
            return "\(type) is \(answer ? "taken" : "refused")"
        }
        return nil
    }

    private enum AcceptReference {
        /// Whether the type, or the other name of its form, is taken; `nil` where the header is not of the form.
        static func allows(_ header: [UInt8], _ type: String) -> Bool? {
            guard header.allSatisfy({ (0x20..<0x7f).contains($0) && $0 != UInt8(ascii: "\"") }) else { return nil }
            let text = String(decoding: header, as: UTF8.self).lowercased()
            if text.allSatisfy({ $0 == " " }) { return true }
            let items = text.split(separator: ",").map { $0.split(separator: ";", omittingEmptySubsequences: false).map(trimmed) }
            guard items.count <= 100 else { return nil }
            var entries: [(range: String, isExcluded: Bool)] = []
            for item in items {
                let weights = item.dropFirst().filter { $0.hasPrefix("q=") }.map { $0.dropFirst(2) }
                guard weights.count <= 1, weights.allSatisfy({ $0.wholeMatch(of: /0(\.[0-9]{0,3})?|1(\.0{0,3})?/) != nil }) else {
                    return nil
                }
                entries.append((item[0], weights.first.flatMap { Double($0 + "0") }.map { $0 == 0 } ?? false))
            }
            return self.names(type).contains { name in
                let main = name.prefix { $0 != "/" } + "/*"
                for ranges in [[name], [String(main)], ["*/*", "*"]] {
                    let covering = entries.filter { ranges.contains($0.range) }
                    if !covering.isEmpty { return covering.contains { !$0.isExcluded } }
                }
                return false
            }
        }

        private static func names(_ type: String) -> [String] {
            let pairs = [[MediaType.ociManifest, .dockerManifest], [.ociIndex, .dockerList]].map { $0.map(\.description) }
            return pairs.first { $0.contains(type) } ?? [type]
        }

        private static func trimmed(_ text: Substring) -> String {
            String(String(text.drop { $0 == " " }).reversed().drop { $0 == " " }.reversed())
        }
    }

    // MARK: Range

    /// `Range`: what is sent is what was asked for, byte by byte, in the order asked for, and nothing twice.
    static let ranges = FuzzTarget("ranges") { bytes in
        let header = String(decoding: bytes, as: UTF8.self)
        for size in [0, 1, 10, 40] as [Int64] {
            let outcome = ByteRange.parse(header, size: size)
            guard let expected = RangeReference.outcome(bytes, Int(size)) else {
                if outcome != .whole { return "of \(size) bytes: \(outcome), of what is no range" }
                continue
            }
            if outcome != expected { return "of \(size) bytes: \(outcome), where \(expected) is right" }
        }
        for size in [1 << 40, .max] as [Int64] {
            switch ByteRange.parse(header, size: size) {
            case .whole, .unsatisfiable: continue
            case .part(let range):
                guard 0 <= range.lowerBound, range.upperBound <= size, !range.isEmpty else { return "\(range) of \(size) bytes" }
            case .parts(let ranges):
                let sorted = ranges.sorted { $0.lowerBound < $1.lowerBound }
                guard (2...ByteRange.maximumRanges).contains(ranges.count), sorted.allSatisfy({ !$0.isEmpty }),
                    zip(sorted, sorted.dropFirst()).allSatisfy({ $0.upperBound < $1.lowerBound }), sorted[0].lowerBound >= 0,
                    sorted[sorted.count - 1].upperBound <= size
                else { return "\(ranges) of \(size) bytes" }
            }
        }
        return nil
    }

    private enum RangeReference {
        /// What is right for content of a few bytes; `nil` where the header is none that is looked at.
        static func outcome(_ header: [UInt8], _ size: Int) -> ByteRange.Outcome? {
            guard header.count <= 1024, header.starts(with: "bytes=".utf8) else { return nil }
            let items = header.dropFirst(6).split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
            guard items.count <= ByteRange.maximumRanges else { return nil }
            // The bytes of each item that there are.
            var asked: [Set<Int>] = []
            for item in items {
                guard let match = String(decoding: item, as: UTF8.self).wholeMatch(of: /[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*/) else {
                    return nil
                }
                let all = Set(0..<size)
                switch (Int(match.1), Int(match.2)) {
                case (nil, nil): return nil
                case (nil, let suffix?): asked.append(all.filter { $0 >= size - suffix })
                case (let start?, nil): asked.append(all.filter { $0 >= start })
                case (let start?, let end?):
                    if end < start { return .unsatisfiable }
                    asked.append(all.filter { (start...end).contains($0) })
                }
            }
            let wanted = asked.reduce(into: Set<Int>()) { $0.formUnion($1) }
            // Runs of wanted bytes, by the first item that asks for any of a run.
            var runs: [(first: Int, range: Range<Int64>)] = []
            var start: Int?
            for place in 0...size where wanted.contains(place) != (start != nil) {
                if let begin = start {
                    let first = asked.firstIndex { !$0.isDisjoint(with: begin..<place) } ?? 0
                    runs.append((first, Int64(begin)..<Int64(place)))
                    start = nil
                } else {
                    start = place
                }
            }
            if runs.isEmpty { return .unsatisfiable }
            if runs.count == 1 { return .part(runs[0].range) }
            return .parts(runs.sorted { $0.first < $1.first }.map(\.range))
        }
    }

    // MARK: WWW-Authenticate

    /// Challenges of sources: read back as they are written, and whatever a value holds, it does not leave its place.
    static let challenges = FuzzTarget("challenges") { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        let challenge = Challenge(text)
        // Header fields are ASCII; anything else has only to be survived.
        guard text.utf8.allSatisfy({ $0 < 0x80 }) else { return nil }
        guard !challenge.scheme.contains(" "), challenge.items.count <= text.count(where: { $0 == "=" }),
            challenge.items.keys.allSatisfy({ !$0.contains("=") && $0 == $0.lowercased() })
        else { return "items that are none: \(challenge.items)" }
        let again = challenge.scheme + " " + challenge.items.sorted { $0.key < $1.key }.map(written).joined(separator: ", ")
        if again.utf8.count <= 4096, text.utf8.count <= 4096 {
            let read = Challenge(again)
            guard read.scheme == challenge.scheme, read.items == challenge.items else {
                return "'\(again.prefix(200))' reads as \(read.items), not as \(challenge.items)"
            }
        }
        let value = String(text.prefix(900))
        let bearer = Challenge("Bearer \(written(("realm", value))),\(written(("service", value))), scope=pull")
        return bearer.scheme == "bearer" && bearer.items == ["realm": value, "service": value, "scope": "pull"]
            ? nil : "a realm leaves its place: \(bearer.items)"
    }

    private static func written(_ item: (key: String, value: String)) -> String {
        let pairs = item.value.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : "\($0)" }
        return "\(item.key)=\"\(pairs.joined())\""
    }
}
