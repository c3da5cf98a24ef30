// `Accept` headers (RFC 9110, section 12.5.1) as far as a registry needs them: manifests are never converted, so the
// question is only whether a client takes the one that is here.

internal import OCI

/// What a client says it takes.
enum Accept {
    /// Types that are one form under two names: whoever takes one can be given the other, and can tell by its own type.
    private static let siblings: [String: String] = [
        MediaType.ociManifest.description: MediaType.dockerManifest.description,
        MediaType.dockerManifest.description: MediaType.ociManifest.description,
        MediaType.ociIndex.description: MediaType.dockerList.description,
        MediaType.dockerList.description: MediaType.ociIndex.description,
    ]

    /// Whether a media type, or the other name of the same form, is among those of the header. Without a header everything is; an exclusion (`q=0`) counts.
    static func allows(_ header: String?, _ type: String) -> Bool {
        guard let header else { return true }
        // What clients send names the type as it is written; this is asked with every manifest, so nothing is allocated for it.
        return self.plainlyNames(header, type) || self.lists(header, type) || self.siblings[type].map { self.lists(header, $0) } ?? false
    }

    /// Whether a header without parameters has the type itself, or everything, among its items.
    private static func plainlyNames(_ header: String, _ type: String) -> Bool {
        if header == type { return true }
        let isNamed = header.utf8.withContiguousStorageIfAvailable { text in
            type.utf8.withContiguousStorageIfAvailable { type in self.plainlyNames(text, type) } ?? false
        }
        // What lies in memory otherwise is read item by item.
        return isNamed ?? false
    }

    private static func plainlyNames(_ text: UnsafeBufferPointer<UInt8>, _ type: UnsafeBufferPointer<UInt8>) -> Bool {
        guard !text.contains(UInt8(ascii: ";")) else { return false }
        var start = text.startIndex
        while start < text.endIndex {
            let end = text[start...].firstIndex(of: UInt8(ascii: ",")) ?? text.endIndex
            let item = text[start..<end].drop { $0 == UInt8(ascii: " ") }
            if item.elementsEqual(type) || item.elementsEqual("*/*".utf8) { return true }
            start = min(end + 1, text.endIndex)
        }
        return false
    }

    private static func lists(_ header: String?, _ type: String) -> Bool {
        guard let header, header.utf8.contains(where: { $0 != UInt8(ascii: " ") }) else { return true }
        var best: (specificity: Int, isAllowed: Bool) = (-1, false)
        for item in header.split(separator: ",").prefix(100) {
            let parts = item.split(separator: ";", omittingEmptySubsequences: false)
            guard let specificity = self.specificity(parts[0].trimmingBlanks().lowercased(), type) else { continue }
            let isExcluded = parts.dropFirst().contains { parameter in
                let parameter = parameter.trimmingBlanks().lowercased()
                return parameter.hasPrefix("q=") && parameter.dropFirst(2).allSatisfy { $0 == "0" || $0 == "." }
            }
            if specificity > best.specificity || specificity == best.specificity && !isExcluded { best = (specificity, !isExcluded) }
        }
        return best.isAllowed
    }

    /// How closely a media range covers a type: 2 exactly, 1 by its main type, 0 as everything; `nil` not at all.
    private static func specificity(_ range: String, _ type: String) -> Int? {
        if range == "*/*" || range == "*" { return 0 }
        if range.hasSuffix("/*") { return type.lowercased().hasPrefix(range.dropLast()) ? 1 : nil }
        return range == type.lowercased() ? 2 : nil
    }
}
