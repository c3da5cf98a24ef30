// Text that is safe inside URLs and forms, and what can be read from them.

enum URLText {
    /// Percent-encodes everything but the unreserved characters of RFC 3986, section 2.3.
    static func encoded(_ text: some StringProtocol) -> String {
        var result = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"):
                result.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                result += digits.count == 1 ? "%0\(digits)" : "%\(digits)"
            }
        }
        return result
    }

    /// One segment of a path. A name that is only dots would be folded away on its route and is encoded.
    static func segment(_ text: some StringProtocol) -> String {
        text == "." ? "%2E" : text == ".." ? "%2E%2E" : encoded(text)
    }

    /// `application/x-www-form-urlencoded`.
    static func form(_ fields: [(name: String, value: String)]) -> String {
        fields.map { "\(encoded($0.name))=\(encoded($0.value))" }.joined(separator: "&")
    }

    /// Scheme, host and port of a URL in lower case, with the port of https filled in: what a token is good for.
    static func origin(_ url: String) -> String {
        let parts = url.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, parts[1].hasPrefix("//") else { return "" }
        let scheme = parts[0].lowercased()
        let authority = parts[1].dropFirst(2).prefix { !"/?#".contains($0) }.lowercased()
        let host = authority.split(separator: "@").last.map(String.init) ?? ""
        return scheme == "https" && host.hasSuffix(":443") ? "\(scheme)://\(host.dropLast(4))" : "\(scheme)://\(host)"
    }
}
