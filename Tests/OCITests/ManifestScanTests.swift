// Proves that a manifest which clients read in different ways is found, and that one which means the same to all of them is not.

import Testing

@testable import OCI

@Suite struct ManifestScanTests {
    private func problem(_ text: String) -> String? { ManifestScan.problem(in: Array(text.utf8), maximumDepth: 8) }

    @Test(
        "R1 documents that mean the same to everybody are taken",
        arguments: [
            "{}", "[]", " {\n\t\"a\" : [ 1 , -2.5e+3, true, false, null, \"\\u00e4\\n\" ]\r}", #"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#,
            #"{"schemaVersion":2,"layers":[{"size":12,"digest":"x"},{"size":0}],"annotations":{"Layers":"1","layers":"2"}}"#,
            #"{"sizes":1.5,"x":{"Size":2.0}}"#, #"{"a":"b","A":"c"}"#, "0", "\"\"", #"{"käse":1,"kase":2}"#,
        ])
    func same(text: String) { #expect(self.problem(text) == nil) }

    @Test(
        "R1 documents that some clients read differently, or not at all, are refused with what is wrong",
        arguments: [
            (#"{"layers":[],"layers":[1]}"#, "'layers' comes twice"), (#"{"layers":[],"l\u0061yers":[1]}"#, "'layers' comes twice"),
            (#"{"x":{"a":1,"b":2,"a":3}}"#, "'a' comes twice"), (#"{"Layers":[]}"#, "would be taken for 'layers'"),
            ("{\"layer\u{17f}\":[]}", "would be taken for 'layers'"), (#"{"config":{"SIZE":1}}"#, "would be taken for 'size'"),
            (#"{"manifests":[{"\u0044igest":"x"}]}"#, "would be taken for 'digest'"), (#"{"layers":[{"size":2.0}]}"#, "no whole number"),
            (#"{"schemaVersion":2e0}"#, "no whole number"), ("\u{feff}{}", "byte order mark"), ("{\"a\":\"\u{0}\"}", "zero bytes"),
            ("{\"a\":\"\n\"}", "control character"), ("[[[[[[[[[1]]]]]]]]]", "deeper than 8"), ("", "not valid JSON"),
            ("{", "not valid JSON"),
            ("{\"a\"}", "not valid JSON"), ("{\"a\":1,}", "not valid JSON"), ("[1,]", "not valid JSON"), ("01", "not valid JSON"),
            ("1.", "not valid JSON"), ("-", "not valid JSON"), ("{} x", "not valid JSON"), ("tru", "not valid JSON"),
            (#""\x""#, "not valid JSON"), (#""\u12g4""#, "not valid JSON"), (#""\u12"#, "not valid JSON"), ("\"a", "not valid JSON"),
            ("{a:1}", "not valid JSON"), ("{1:1}", "not valid JSON"),
        ])
    func different(text: String, reason: String) {
        let problem = self.problem(text)
        #expect(problem?.contains(reason) == true, "\(problem ?? "taken")")
    }

    @Test("R1 repeated names are found among many, and text that is no UTF-8 is refused")
    func many() {
        let names = (0..<5000).map { "\"k\($0)\":\($0)" }
        #expect(self.problem("{\(names.joined(separator: ","))}") == nil)
        #expect(self.problem("{\((names + ["\"k17\":1"]).joined(separator: ","))}")?.contains("'k17' comes twice") == true)
        #expect(ManifestScan.problem(in: Array("{\"a\":\"".utf8) + [0xff, 0x22, 0x7d], maximumDepth: 8)?.contains("UTF-8") == true)
        #expect(ManifestScan.problem(in: [0x7b, 0, 0x7d, 0], maximumDepth: 8)?.contains("UTF-8") == true)
    }
}
