// Proves that names from outside are taken exactly as the specifications write them, and nothing else is.

import TestSupport
import Testing

@testable import OCI

@Suite struct NameTests {
    static let goodNames = [
        "a", "0", "app", "library/busybox", "a/b/c/d/e", "team-a/app.x/y_z", "a__b", "a--b", "a---b/c", "a1.b2_c3-d4", "0/1",
        String(repeating: "a", count: 255),
    ]
    static let badNames = [
        "", "A", "App", "a/B", "/a", "a/", "a//b", "../a", "a/..", "a/../b", "./a", "a/.", ".a", "a.", "-a", "a-", "_a", "a_", "a___b",
        "a..b", "a._b",
        "a-_b", "a_-b", "a.-b", "a b", "a\n", "a\0b", "a%2fb", "a\\b", "a:b", "a@b", "é", "a\u{301}", "ａ", "a/-/b",
        String(repeating: "a", count: 256),
        "..", ".", "/", "a/b/", "a/ b",
    ]

    @Test("R1 repository names of the specification are accepted", arguments: goodNames)
    func good(name: String) throws {
        #expect(try RepositoryName(name).description == name)
    }

    @Test("R1 repository names that are none, path tricks among them, are refused", arguments: badNames)
    func bad(name: String) {
        let error = #expect(throws: OCIParseError.self) { try RepositoryName(name) }
        #expect(error?.subject == .repositoryName)
        #expect((error?.description.utf8.count ?? 0) < 1024)
    }

    @Test("R1 a repository name is accepted if and only if the specification's expression accepts it")
    func property() throws {
        let expression = /[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*/
        var generator = SeededGenerator(seed: 2026)
        let alphabet = Array("ab01..__--//A é%")
        var accepted = 0
        for _ in 0..<20_000 {
            let count = Int.random(in: 0...10, using: &generator)
            let text = String((0..<count).compactMap { _ in alphabet.randomElement(using: &generator) })
            let expected = text.wholeMatch(of: expression) != nil
            let actual = (try? RepositoryName(text)) != nil
            #expect(actual == expected, "\(text)")
            if actual { accepted += 1 }
        }
        #expect(accepted > 500)
    }

    @Test(
        "R1 tags",
        arguments: [
            "latest", "v1.0", "_x", "1", "A-b_c.D", "a.", "a-", "sha256-" + String(repeating: "a", count: 64),
            String(repeating: "t", count: 128),
        ])
    func goodTag(text: String) throws {
        #expect(try Tag(text).description == text)
        #expect(try Reference(text) == .tag(Tag(text)))
    }

    @Test(
        "R1 tags that are none",
        arguments: [
            "", ".a", "-a", "..", "../x", "a/b", "a b", "a:b", "a\n", "a\0", "é", "a\u{301}", "a@b", "a+b",
            String(repeating: "t", count: 129),
        ])
    func badTag(text: String) {
        #expect(throws: OCIParseError.self) { try Tag(text) }
    }

    @Test("R1 a reference with a colon is a digest or nothing")
    func references() throws {
        let digest = Digest.of("x".utf8)
        #expect(try Reference(digest.description) == .digest(digest))
        #expect(Reference.digest(digest).description == digest.description)
        let error = #expect(throws: OCIParseError.self) { try Reference("sha256:short") }
        #expect(error?.subject == .digest)
        let tagError = #expect(throws: OCIParseError.self) { try Reference(".INVALID") }
        #expect(tagError?.subject == .tag)
    }

    @Test(
        "C10 patterns match a name or what begins with a prefix",
        arguments: [
            ("app", "app", true), ("app", "app/x", false), ("app", "appx", false), ("team/*", "team/a", true), ("team/*", "team/a/b", true),
            ("team/*", "team", false), ("team/*", "teams/a", false), ("te*", "team/a", true), ("*", "anything/at.all", true),
            ("a-*", "a-b", true),
        ])
    func patterns(pattern: String, name: String, matches: Bool) throws {
        let parsed = try RepositoryPattern(pattern)
        #expect(parsed.matches(try RepositoryName(name)) == matches)
        #expect(parsed.description == pattern)
    }

    @Test("C10 patterns that are none", arguments: ["", "**", "*a", "a*b", "A*", "a//*", "../*", "a..*", "/*", "a **", "a/*/b"])
    func badPatterns(pattern: String) {
        #expect(throws: OCIParseError.self) { try RepositoryPattern(pattern) }
    }

    @Test(
        "R2 media types",
        arguments: [
            ("application/json", true), ("application/vnd.oci.image.manifest.v1+json", true), ("text/x-$&^_!#", true), ("a/b", true),
            ("", false), ("application", false), ("application/", false), ("/json", false), ("a/b/c", false), ("a/b; charset=utf-8", false),
            ("a /b", false), ("a/b\r\nX: y", false), ("*/*", false), ("é/b", false),
        ])
    func mediaTypes(text: String, isValid: Bool) {
        #expect(((try? MediaType(text)) != nil) == isValid)
    }

    @Test("R2 layers that are not to be pushed are known by their type")
    func foreignLayers() {
        #expect(MediaType.foreignLayer.isForeignLayer)
        #expect(MediaType.test("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd").isForeignLayer)
        #expect(!MediaType.layer.isForeignLayer)
    }
}
