// Proves parsing, printing, access and patching of documents without a type of their own.

import Testing

@testable import JSON

@Suite struct JSONValueTests {
    @Test(
        "Text to value",
        arguments: [
            ("null", .null), ("true", true), ("false", false), ("0", 0), ("-1", -1), ("1.5", 1.5), ("1e3", 1000), ("\"a\"", "a"),
            ("[]", []),
            ("{}", [:]), (" [1, \"two\", null, [true]] ", [1, "two", nil, [true]]), (#"{"a":{"b":[1]}}"#, ["a": ["b": [1]]]),
            (#""\u00e9\n\"\\\/""#, "é\n\"\\/"), ("\"\\ud834\\udd1e\"", "𝄞"), ("9223372036854775807", .integer(Int64.max)),
            ("-9223372036854775808", .integer(Int64.min)), ("9223372036854775808", .number(9_223_372_036_854_775_808)),
            ("\"[[[\"", "[[["), ("1e-7", .number(1e-7)),
        ] as [(String, JSONValue)])
    func parses(text: String, expected: JSONValue) throws {
        let value = try JSONValue(parsing: text)
        #expect(value == expected)
        #expect(try JSONValue(parsing: value.serialized()) == value)
        #expect(try JSONValue(parsing: value.serialized(pretty: true)) == value)
    }

    @Test(
        "What is no JSON is refused",
        arguments: [
            "", " ", "nul", "[1,", "{\"a\"}", "{a:1}", "'a'", "[1] 2", "\"\\x\"", "01", "+1", ".5", "NaN", "\"a\nb\"", "1e400",
            "]", "\"\\ud834\"",
        ])
    func refuses(text: String) {
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: text) }
        guard case .malformed = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test("Bytes that are no UTF-8 are refused")
    func badBytes() {
        #expect(throws: JSONError.self) { try JSONValue(parsing: [0x22, 0xff, 0xfe, 0x22] as [UInt8]) }
    }

    @Test("Nesting is bounded before anything is parsed")
    func depth() throws {
        func nested(_ depth: Int) -> String { String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
        #expect(throws: Never.self) { try JSONValue(parsing: nested(64)) }
        #expect(throws: JSONError.tooDeep(limit: 64, position: 64)) { try JSONValue(parsing: nested(65)) }
        #expect(throws: JSONError.tooDeep(limit: 64, position: 64)) { try JSONValue(parsing: nested(1_000_000)) }
        #expect(throws: JSONError.tooDeep(limit: 2, position: 10)) {
            try JSONValue(parsing: #"{"a":{"b":{"c":1}}}"#, maximumDepth: 2)
        }
        #expect(throws: Never.self) { try JSONValue(parsing: #"{"a":"{{{{\"{{"}"#, maximumDepth: 1) }
    }

    @Test("Numbers compare and hash by value")
    func numbers() {
        #expect(JSONValue.integer(Int64(1)) == .number(1))
        #expect(JSONValue.integer(Int64(1)) != .number(1.5))
        #expect(Set<JSONValue>([1, 1.0]).count == 1)
        #expect(JSONValue.integer(Int64.max) != .number(9_223_372_036_854_775_808))
        #expect(JSONValue.bool(true) != 1)
        #expect(JSONValue.number(2).intValue == 2)
        #expect(JSONValue.number(2.5).intValue == nil)
        #expect(JSONValue.integer(3).doubleValue == 3)
    }

    @Test("Printed sorted, compact, without escaping slashes")
    func compact() {
        let value: JSONValue = ["b": [1, 2.5, nil], "a": "x/y", "B": "é\u{1}\u{7f}", "": [:]]
        #expect(value.serialized() == #"{"":{},"B":"é\u0001\#u{7f}","a":"x/y","b":[1,2.5,null]}"#)
        #expect("\(value)" == value.serialized())
    }

    @Test("Printed as az prints")
    func pretty() {
        let value: JSONValue = ["b": [1, ["c": "d"]], "a": [:], "e": []]
        let expected = """
            {
              "a": {},
              "b": [
                1,
                {
                  "c": "d"
                }
              ],
              "e": []
            }
            """
        #expect(value.serialized(pretty: true) == expected)
    }

    @Test(
        "Numbers are printed so that they read back",
        arguments: [0.1, 1e21, 1e-7, -2.5, .leastNonzeroMagnitude, 1.7976931348623157e308, 123456789.125])
    func numberText(number: Double) throws {
        #expect(try JSONValue(parsing: JSONValue.number(number).serialized()).doubleValue == number)
    }

    @Test("Numbers JSON does not have are printed as null")
    func notNumbers() {
        #expect(JSONValue.number(.nan).serialized() == "null")
        #expect(JSONValue.number(.infinity).serialized() == "null")
    }

    @Test("Members and elements are reached and changed in place")
    func access() {
        var value: JSONValue = ["properties": ["parent": ["id": "x"], "list": ["a", "b"]]]
        #expect(value["properties"]?["parent"]?["id"]?.stringValue == "x")
        #expect(value[path: "properties", "parent", "id"] == "x")
        #expect(value[path: "properties", "list"]?[1] == "b")
        #expect(value[path: "properties", "list"]?[2] == nil)
        #expect(value[path: "properties", "list"]?[-1] == nil)
        #expect(value["none"] == nil)
        #expect(value[path: "properties", "parent", "id", "deeper"] == nil)
        value[path: "properties", "new", "flag"] = true
        value[path: "properties", "parent", "id"] = nil
        value[path: "nothing", "here"] = nil
        value["sku"] = "Premium"
        #expect(value == ["sku": "Premium", "properties": ["parent": [:], "list": ["a", "b"], "new": ["flag": true]]])
        value["sku"]?["name"] = "Basic"
        #expect(value["sku"] == ["name": "Basic"])
        #expect(value["sku"]?.isNull == false)
        #expect(JSONValue.string(orNull: nil).isNull)
        #expect(JSONValue.strings(["a"]).arrayValue?.first?.stringValue == "a")
        #expect(JSONValue.bool(true).boolValue == true)
        #expect(JSONValue.null.objectValue == nil)
    }

    // RFC 7386, appendix A, the whole table.
    @Test(
        "Merge patch as RFC 7386 lists it",
        arguments: [
            (#"{"a":"b"}"#, #"{"a":"c"}"#, #"{"a":"c"}"#), (#"{"a":"b"}"#, #"{"b":"c"}"#, #"{"a":"b","b":"c"}"#),
            (#"{"a":"b"}"#, #"{"a":null}"#, "{}"), (#"{"a":"b","b":"c"}"#, #"{"a":null}"#, #"{"b":"c"}"#),
            (#"{"a":["b"]}"#, #"{"a":"c"}"#, #"{"a":"c"}"#), (#"{"a":"c"}"#, #"{"a":["b"]}"#, #"{"a":["b"]}"#),
            (#"{"a":{"b":"c"}}"#, #"{"a":{"b":"d","c":null}}"#, #"{"a":{"b":"d"}}"#),
            (#"{"a":[{"b":"c"}]}"#, #"{"a":[1]}"#, #"{"a":[1]}"#),
            (#"["a","b"]"#, #"["c","d"]"#, #"["c","d"]"#), (#"{"a":"b"}"#, #"["c"]"#, #"["c"]"#),
            (#"{"a":"foo"}"#, "null", "null"),
            (#"{"a":"foo"}"#, #""bar""#, #""bar""#), (#"{"e":null}"#, #"{"a":1}"#, #"{"e":null,"a":1}"#),
            (#"[1,2]"#, #"{"a":"b","c":null}"#, #"{"a":"b"}"#), ("{}", #"{"a":{"bb":{"ccc":null}}}"#, #"{"a":{"bb":{}}}"#),
        ])
    func mergePatch(original: String, patch: String, result: String) throws {
        #expect(try JSONValue(parsing: original).mergePatch(JSONValue(parsing: patch)) == JSONValue(parsing: result))
    }

    @Test("To and from types of one's own")
    func coding() throws {
        struct Point: Codable, Equatable {
            var x: Int
            var name: String?
            var tags: [String: Bool]
        }
        let point = Point(x: 1, name: nil, tags: ["a/b": true])
        let value = try JSONValue(encoding: point)
        #expect(value == ["x": 1, "tags": ["a/b": true]])
        #expect(try value.decode(as: Point.self) == point)
        let error = #expect(throws: JSONError.self) { try JSONValue.object(["x": "no", "tags": [:]]).decode(as: Point.self) }
        #expect(error?.description.contains("at '.x'") == true)
        let missing = #expect(throws: JSONError.self) { try JSONValue.object(["x": 1]).decode(as: Point.self) }
        #expect(missing?.description.contains("the member 'tags' is missing") == true)
        #expect(try JSONValue(encoding: JSONValue.array([1, "a", nil, [:], 2.5, true])) == [1, "a", nil, [:], 2.5, true])
    }
}
