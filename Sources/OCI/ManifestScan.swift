// Looks through a manifest once, byte by byte, before a parser sees it: what clients would read in different ways is not taken.

/// Finds what makes a document ambiguous, or unreadable for some clients.
///
/// Parsers differ where JSON leaves room (RFC 8259, sections 4 and 8): of a member that comes twice some take the first and some the last, Go
/// takes members whatever the case of their letters, some know UTF-16 and fractions in sizes and some do not. A registry that reads one thing and a client that
/// reads another do not have the same image: content would be neither demanded nor kept (compare CVE-2021-41190).
struct ManifestScan {
    /// What is wrong with the document, for who sent it.
    private struct Problem: Error {
        let text: String

        static let malformed = Problem(text: "it is not valid JSON")
    }

    /// What a value is, as far as its members matter.
    private enum Place {
        case document, descriptor, descriptors, wholeNumber, other
    }

    /// A member's name: as it stands in the document, or what its escapes mean.
    private struct Key {
        let range: Range<Int>
        let meaning: [UInt8]?
    }

    private static let documentMembers: [(name: StaticString, place: Place)] = [
        ("schemaVersion", .wholeNumber), ("mediaType", .other), ("config", .descriptor), ("layers", .descriptors), ("annotations", .other),
        ("manifests", .descriptors), ("subject", .descriptor), ("artifactType", .other), ("blobs", .descriptors), ("fsLayers", .other),
    ]
    private static let descriptorMembers: [(name: StaticString, place: Place)] = [
        ("mediaType", .other), ("digest", .other), ("size", .wholeNumber), ("annotations", .other), ("platform", .other), ("urls", .other),
        ("artifactType", .other), ("data", .other),
    ]
    /// Members of one object up to which each is compared with each; more are put into a set.
    private static let fewKeys = 16

    private let bytes: UnsafeBufferPointer<UInt8>
    private let maximumDepth: Int
    private var at = 0
    /// Names of the members of all objects that are open.
    private var keys: [Key] = []

    private init(_ bytes: UnsafeBufferPointer<UInt8>, maximumDepth: Int) {
        self.bytes = bytes
        self.maximumDepth = maximumDepth
    }

    /// - Returns: why the document is refused; `nil` for one that is JSON and means the same to everybody.
    static func problem(in bytes: [UInt8], maximumDepth: Int) -> String? {
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { return "it begins with a byte order mark; push it without" }
        if (try? UTF8Span(validating: bytes.span)) == nil { return "its text is not UTF-8" }
        return bytes.withUnsafeBufferPointer { bytes in
            if bytes.contains(0) { return "it has zero bytes; its text has to be UTF-8" }
            var scan = ManifestScan(bytes, maximumDepth: maximumDepth)
            do throws(Problem) {
                try scan.document()
                return nil
            } catch {
                return error.text
            }
        }
    }

    private mutating func document() throws(Problem) {
        try self.value(.document, depth: 0)
        self.skipBlanks()
        guard self.at == self.bytes.count else { throw .malformed }
    }

    // MARK: Values

    private mutating func value(_ place: Place, depth: Int) throws(Problem) {
        self.skipBlanks()
        guard let byte = self.next else { throw .malformed }
        switch byte {
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            guard depth < self.maximumDepth else { throw Problem(text: "its JSON is nested deeper than \(self.maximumDepth) levels") }
            self.at += 1
            if byte == UInt8(ascii: "{") { try self.object(place, depth: depth + 1) } else { try self.array(place, depth: depth + 1) }
        case UInt8(ascii: "\""):
            self.at += 1
            _ = try self.string()
        case UInt8(ascii: "t"): try self.literal("true")
        case UInt8(ascii: "f"): try self.literal("false")
        case UInt8(ascii: "n"): try self.literal("null")
        default:
            let isWhole = try self.number()
            guard isWhole || place != .wholeNumber else { throw Problem(text: "a size or version in it is no whole number") }
        }
    }

    private mutating func array(_ place: Place, depth: Int) throws(Problem) {
        let element: Place = place == .descriptors ? .descriptor : .other
        if self.skip(UInt8(ascii: "]")) { return }
        repeat { try self.value(element, depth: depth) } while self.skip(UInt8(ascii: ","))
        guard self.skip(UInt8(ascii: "]")) else { throw .malformed }
    }

    private mutating func object(_ place: Place, depth: Int) throws(Problem) {
        let members: [(name: StaticString, place: Place)] =
            switch place {
            case .document: Self.documentMembers
            case .descriptor: Self.descriptorMembers
            case .descriptors, .wholeNumber, .other: []
            }
        let first = self.keys.count
        if self.skip(UInt8(ascii: "}")) { return }
        repeat {
            guard self.skip(UInt8(ascii: "\"")) else { throw .malformed }
            let key = try self.string()
            guard self.skip(UInt8(ascii: ":")) else { throw .malformed }
            self.keys.append(key)
            try self.value(members.isEmpty ? .other : self.place(of: key, among: members), depth: depth)
        } while self.skip(UInt8(ascii: ","))
        guard self.skip(UInt8(ascii: "}")) else { throw .malformed }
        try self.requireDifferent(from: first)
        self.keys.removeSubrange(first...)
    }

    private mutating func literal(_ text: StaticString) throws(Problem) {
        let range = self.at..<min(self.at + text.utf8CodeUnitCount, self.bytes.count)
        guard text.withUTF8Buffer({ $0.elementsEqual(self.bytes[range]) }) else { throw .malformed }
        self.at = range.upperBound
    }

    /// - Returns: whether it is written as a whole number.
    private mutating func number() throws(Problem) -> Bool {
        var isWhole = true
        if self.next == UInt8(ascii: "-") { self.at += 1 }
        if self.next == UInt8(ascii: "0") { self.at += 1 } else { try self.digits() }
        if self.next == UInt8(ascii: ".") {
            isWhole = false
            self.at += 1
            try self.digits()
        }
        if let byte = self.next, byte | 0x20 == UInt8(ascii: "e") {
            isWhole = false
            self.at += 1
            if let sign = self.next, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") { self.at += 1 }
            try self.digits()
        }
        return isWhole
    }

    private mutating func digits() throws(Problem) {
        let first = self.at
        while let byte = self.next, ASCII.isDigit(byte) { self.at += 1 }
        guard self.at > first else { throw .malformed }
    }

    /// The rest of a string whose first quotation mark has been read.
    private mutating func string() throws(Problem) -> Key {
        let first = self.at
        var hasEscapes = false
        while let byte = self.next {
            self.at += 1
            switch byte {
            case UInt8(ascii: "\""):
                let range = first..<self.at - 1
                return Key(range: range, meaning: hasEscapes ? self.meaning(of: range) : nil)
            case UInt8(ascii: "\\"):
                hasEscapes = true
                try self.escape()
            case 0..<0x20: throw Problem(text: "a string in it has a control character that is not escaped")
            default: break
            }
        }
        throw .malformed
    }

    private mutating func escape() throws(Problem) {
        guard let byte = self.next else { throw .malformed }
        self.at += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"), UInt8(ascii: "n"),
            UInt8(ascii: "r"), UInt8(ascii: "t"):
            break
        case UInt8(ascii: "u"):
            guard self.at + 4 <= self.bytes.count, self.bytes[self.at..<self.at + 4].allSatisfy({ ASCII.isLowerHex($0 | 0x20) }) else {
                throw .malformed
            }
            self.at += 4
        default: throw .malformed
        }
    }

    // MARK: Names of members

    /// The bytes that a string with escapes stands for. They have been looked at before.
    private func meaning(of range: Range<Int>) -> [UInt8] {
        var units: [UInt16] = []
        var text: [UInt8] = []
        func close() {
            if !units.isEmpty { text += String(decoding: units, as: UTF16.self).utf8 }
            units = []
        }
        var at = range.lowerBound
        while at < range.upperBound {
            guard self.bytes[at] == UInt8(ascii: "\\") else {
                close()
                text.append(self.bytes[at])
                at += 1
                continue
            }
            let byte = self.bytes[at + 1]
            at += 2
            guard byte == UInt8(ascii: "u") else {
                close()
                text.append(Self.escapes.first { $0.letter == byte }?.meaning ?? byte)
                continue
            }
            let digits = self.bytes[at..<at + 4]
            units.append(digits.reduce(0) { $0 << 4 | UInt16(ASCII.isDigit($1) ? $1 & 15 : ($1 | 0x20) - 0x57) })
            at += 4
        }
        close()
        return text
    }

    private static let escapes: [(letter: UInt8, meaning: UInt8)] = [
        (UInt8(ascii: "b"), 8), (UInt8(ascii: "f"), 12), (UInt8(ascii: "n"), 10), (UInt8(ascii: "r"), 13), (UInt8(ascii: "t"), 9),
    ]

    /// What a member of the document or of a descriptor holds.
    ///
    /// - Throws: where a client that does not mind the case of letters would take it for a member that it is not here.
    private func place(of key: Key, among members: [(name: StaticString, place: Place)]) throws(Problem) -> Place {
        for member in members where self.isWritten(key, member.name) { return member.place }
        let folded = self.folded(key)
        for member in members where folded.elementsEqual(member.name.text, by: { $0 == $1 | 0x20 }) {
            throw Problem(
                text:
                    "its member '\(String(decoding: self.content(key), as: UTF8.self))' would be taken for '\(member.name)' by some clients; "
                    + "write it so, or leave it out")
        }
        return .other
    }

    private func isWritten(_ key: Key, _ name: StaticString) -> Bool {
        if let meaning = key.meaning { return meaning.elementsEqual(name.text) }
        guard key.range.count == name.utf8CodeUnitCount else { return false }
        return self.bytes[key.range].elementsEqual(name.text)
    }

    /// Without differences between upper and lower case, as Go compares: two letters beyond ASCII count as `s` and `k`.
    private func folded(_ key: Key) -> [UInt8] {
        var folded: [UInt8] = []
        var rest = self.content(key)[...]
        while let byte = rest.popFirst() {
            if byte == 0xc5, rest.first == 0xbf {
                folded.append(UInt8(ascii: "s"))
                rest = rest.dropFirst()
            } else if byte == 0xe2, rest.starts(with: [0x84, 0xaa]) {
                folded.append(UInt8(ascii: "k"))
                rest = rest.dropFirst(2)
            } else {
                folded.append(ASCII.isUpper(byte) ? byte | 0x20 : byte)
            }
        }
        return folded
    }

    private func content(_ key: Key) -> [UInt8] { key.meaning ?? Array(self.bytes[key.range]) }

    /// - Throws: where two members of the object whose names begin at `first` are called the same.
    private func requireDifferent(from first: Int) throws(Problem) {
        let keys = self.keys[first...]
        if keys.count > Self.fewKeys {
            var seen: Set<[UInt8]> = []
            for key in keys where !seen.insert(self.content(key)).inserted { throw self.repeated(key) }
            return
        }
        for (number, key) in keys.enumerated() {
            for other in keys.prefix(number) where self.isSame(key, other) { throw self.repeated(key) }
        }
    }

    private func isSame(_ one: Key, _ other: Key) -> Bool {
        guard one.meaning == nil, other.meaning == nil else { return self.content(one) == self.content(other) }
        return one.range.count == other.range.count && self.bytes[one.range].elementsEqual(self.bytes[other.range])
    }

    private func repeated(_ key: Key) -> Problem {
        Problem(
            text:
                "its member '\(String(decoding: self.content(key).prefix(100), as: UTF8.self))' comes twice in one object: some clients take the first, "
                + "others the last")
    }

    // MARK: Bytes

    private var next: UInt8? { self.at < self.bytes.count ? self.bytes[self.at] : nil }

    private mutating func skipBlanks() {
        while let byte = self.next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { self.at += 1 }
    }

    /// Goes on behind this byte, if it is the next that is no blank.
    private mutating func skip(_ byte: UInt8) -> Bool {
        self.skipBlanks()
        guard self.next == byte else { return false }
        self.at += 1
        return true
    }
}

extension StaticString {
    fileprivate var text: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: self.utf8Start, count: self.utf8CodeUnitCount) }
}
