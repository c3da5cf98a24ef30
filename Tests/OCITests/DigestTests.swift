// Proves digests against known answers, and percent-encoding against its rules.

import TestSupport
import Testing

@testable import OCI

@Suite struct DigestTests {
    static let empty256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    static let empty512 =
        "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"

    @Test("R1 sha256 and sha512 of nothing are the published ones")
    func knownAnswers() throws {
        #expect(Digest.of([]).description == Self.empty256)
        #expect(Digest.of([], algorithm: .sha512).description == Self.empty512)
        #expect(Digest.of("abc".utf8).description == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(try Digest(Self.empty256) == Digest.of([]))
        #expect(try Digest(Self.empty512).algorithm == .sha512)
    }

    @Test(
        "R1 digests that are none are refused",
        arguments: [
            "", ":", "sha256", "sha256:", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e",
            "SHA256:" + String(repeating: "a", count: 64),
            "sha256:" + String(repeating: "A", count: 64), "sha256:" + String(repeating: "g", count: 64),
            "sha256:" + String(repeating: "a", count: 63),
            "sha256:" + String(repeating: "a", count: 65), "sha512:" + String(repeating: "a", count: 64),
            "sha256:../" + String(repeating: "a", count: 61),
            "sha256: " + String(repeating: "a", count: 63), "sha256:" + String(repeating: "é", count: 32),
            "sha256+b64:" + String(repeating: "a", count: 64),
            "sha256::" + String(repeating: "a", count: 63),
        ])
    func bad(text: String) {
        let error = #expect(throws: OCIParseError.self) { try Digest(text) }
        #expect(error?.subject == .digest)
    }

    @Test("R1 a digest of parts is the digest of the whole")
    func incremental() {
        var generator = SeededGenerator(seed: 7)
        let bytes = generator.bytes(300_000)
        for algorithm in Digest.Algorithm.allCases {
            var hasher = Digest.Hasher(algorithm)
            var rest = bytes[...]
            while !rest.isEmpty {
                let part = rest.prefix(Int.random(in: 1...70_000, using: &generator))
                part.withUnsafeBytes { hasher.update($0) }
                rest = rest.dropFirst(part.count)
            }
            #expect(hasher.finish() == Digest.of(bytes, algorithm: algorithm))
            #expect(hasher.algorithm == algorithm)
        }
    }

    @Test("R1 percent-encoding goes there and back for any text")
    func percentEncoding() {
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<500 {
            let text = String(
                String.UnicodeScalarView((0..<8).compactMap { _ in Unicode.Scalar(UInt32.random(in: 0...0x2fff, using: &generator)) }))
            #expect(PercentEncoding.decode(PercentEncoding.encode(text)) == text)
        }
        #expect(PercentEncoding.encode("a/b c+d~") == "a%2Fb%20c%2Bd~")
        #expect(PercentEncoding.decode("a+b%2B", plusIsBlank: true) == "a b+")
        #expect(PercentEncoding.decode("a+b") == "a+b")
    }

    @Test("R1 broken percent-escapes decode to nothing", arguments: ["%", "%4", "%zz", "a%", "%c3%28", "%ff", "%+1", "% 1"])
    func brokenEscapes(text: String) {
        #expect(PercentEncoding.decode(text) == nil)
    }

    @Test("R1 every error code has a status of its class")
    func errorCodes() {
        for code in ErrorCode.allCases { #expect((400..<600).contains(code.status)) }
        #expect(ErrorCode.manifestUnknown.status == 404)
        #expect(ErrorCode.unsupported.status == 405)
    }
}
