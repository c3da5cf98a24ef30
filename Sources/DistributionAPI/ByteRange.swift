// `Range` headers (RFC 9110, section 14.2): one range, several, or none that can be met.

internal import OCI

/// What a `Range` header asks of content.
enum ByteRange {
    enum Outcome: Equatable {
        case whole
        case part(Range<Int64>)
        /// Several, in the order asked for; none overlaps another.
        case parts([Range<Int64>])
        case unsatisfiable
    }

    /// Ranges of one request; more of them mean the whole, so that nobody makes a small request into much work.
    static let maximumRanges = 32

    /// Other units than bytes and what is no range at all mean the whole, as the RFC allows.
    ///
    /// A range that ends before it begins is refused as a whole: a client that gets its sums wrong should hear of it.
    static func parse(_ header: String?, size: Int64) -> Outcome {
        guard let header, header.utf8.count <= 1024, header.hasPrefix("bytes=") else { return .whole }
        let items = header.dropFirst(6).split(separator: ",", omittingEmptySubsequences: false)
        guard items.count <= self.maximumRanges else { return .whole }
        var ranges: [Range<Int64>] = []
        for item in items {
            switch self.parse(item, size: size) {
            case .malformed: return .whole
            case .reversed: return .unsatisfiable
            case .beyond: break
            case .range(let range): ranges.append(range)
            }
        }
        switch self.coalesced(ranges) {
        case let ranges where ranges.isEmpty: return .unsatisfiable
        case let ranges where ranges.count == 1: return .part(ranges[0])
        // More bytes with their part headers than the whole has: the whole is the better answer.
        case let ranges where ranges.reduce(0, { $0 + Int64($1.count) }) >= size: return .whole
        case let ranges: return .parts(ranges)
        }
    }

    private enum Item {
        case malformed, reversed, beyond
        case range(Range<Int64>)
    }

    private static func parse(_ item: Substring, size: Int64) -> Item {
        let parts = item.trimmingBlanks().split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ $0.utf8.count <= 18 && $0.utf8.allSatisfy(ASCII.isDigit) }) else { return .malformed }
        switch (Int64(parts[0]), Int64(parts[1])) {
        case (nil, nil): return .malformed
        case (nil, let suffix?): return suffix == 0 || size == 0 ? .beyond : .range(max(0, size - suffix)..<size)
        case (let start?, nil): return start < size ? .range(start..<size) : .beyond
        case (let start?, let end?):
            guard start <= end else { return .reversed }
            return start < size ? .range(start..<min(end + 1, size)) : .beyond
        }
    }

    /// Ranges that overlap or touch become one (RFC 9110, section 15.3.7.2), at the place of the first of them.
    private static func coalesced(_ ranges: [Range<Int64>]) -> [Range<Int64>] {
        var kept: [Range<Int64>] = []
        for range in ranges {
            var merged = range
            var place: Int?
            for (index, other) in kept.enumerated().reversed()
            where other.lowerBound <= merged.upperBound && merged.lowerBound <= other.upperBound {
                merged = min(merged.lowerBound, other.lowerBound)..<max(merged.upperBound, other.upperBound)
                kept.remove(at: index)
                place = index
            }
            kept.insert(merged, at: place ?? kept.count)
        }
        return kept
    }
}
