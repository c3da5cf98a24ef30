// Makes new inputs of old ones: the same ones for the same seed.

package import TestSupport

/// Changes bytes the way accidents and attackers do.
package struct Mutator {
    package var generator: SeededGenerator
    private let corpus: [[UInt8]]

    /// What grammars stumble over.
    private static let tokens: [[UInt8]] =
        [
            "/", "//", "..", "%", "%2", "%00", "%2F", "%ff", ":", "::", ",", ";", "=", "==", "*", "-", "--", "_", "__", "\"", "\\", "\u{0}",
            "\u{7f}", "\r\n", "\n", "\t", " ", "0", "-1", "-0", "1e999", "9223372036854775807", "9223372036854775808",
            "18446744073709551616",
            "999999999999999999", "sha256:", "sha512:", "bytes=", "null", "true", "{}", "[]", "{\"\":", "[[[[[[[[", "\\u0000", "\\ud800",
            "\u{e9}", "e\u{301}", "\u{1f600}", "\u{202e}", "Bearer ", "Basic ", ".", "eyJ", "P", "T", "W", "repository:", "application/",
        ].map { Array($0.utf8) } + [[0xc3], [0xff, 0xfe], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]]

    package init(seed: UInt64, corpus: [[UInt8]]) {
        self.generator = SeededGenerator(seed: seed)
        self.corpus = corpus
    }

    /// An input of the corpus with one to six changes.
    package mutating func next() -> [UInt8] {
        var bytes = self.corpus.randomElement(using: &self.generator) ?? []
        for _ in 0..<Int.random(in: 1...6, using: &self.generator) { self.change(&bytes) }
        // Beyond any limit, but not beyond patience.
        if bytes.count > 1 << 20 { bytes.removeLast(bytes.count - 1 << 20) }
        return bytes
    }

    private mutating func change(_ bytes: inout [UInt8]) {
        let place = Int.random(in: 0...bytes.count, using: &self.generator)
        switch Int.random(in: 0..<10, using: &self.generator) {
        case 0 where place < bytes.count: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &self.generator)
        case 1 where place < bytes.count: bytes[place] = UInt8.random(in: 0...255, using: &self.generator)
        case 2 where place < bytes.count:
            bytes.removeSubrange(place..<min(bytes.count, place + Int.random(in: 1...16, using: &self.generator)))
        case 3: bytes.removeLast(bytes.count - place)
        case 4, 5:
            let token = Self.tokens.randomElement(using: &self.generator) ?? []
            bytes.insert(contentsOf: token, at: place)
        case 6:
            // A part again and again.
            let part = Array(bytes[place..<min(bytes.count, place + Int.random(in: 1...24, using: &self.generator))])
            let count = Int.random(in: 0..<20, using: &self.generator) == 0 ? 3000 : Int.random(in: 1...5, using: &self.generator)
            bytes.insert(contentsOf: (0..<count).flatMap { _ in part }, at: place)
        case 7:
            let other = self.corpus.randomElement(using: &self.generator) ?? []
            bytes = Array(bytes.prefix(place)) + other.suffix(Int.random(in: 0...other.count, using: &self.generator))
        case 8:
            let token = Self.tokens.randomElement(using: &self.generator) ?? []
            bytes.replaceSubrange(place..<min(bytes.count, place + token.count), with: token)
        default: bytes.insert(UInt8.random(in: 0...255, using: &self.generator), at: place)
        }
    }
}
