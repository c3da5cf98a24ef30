// Proves what the public suite does not: error texts, bounds, order of members, and habits of `az` users.

import JSON
import Testing

@testable import JMESPath

@Suite struct ExpressionTests {
    private let registries: JSONValue = [
        ["name": "b", "sku": ["name": "Premium"], "count": 3], ["name": "a", "sku": ["name": "Basic"], "count": 10],
        ["name": "c", "sku": ["name": "Premium"], "count": 1],
    ]

    private func search(_ text: String, _ document: JSONValue) throws -> JSONValue {
        try Expression(parsing: text).search(document)
    }

    @Test(
        "A4 queries as people write them",
        arguments: [
            ("[].name", ["b", "a", "c"]), ("[?sku.name=='Premium'].name", ["b", "c"]), ("[?sku.name==`Premium`].name | [0]", "b"),
            ("[0].sku.name", "Premium"), ("[-1].name", "c"), ("length(@)", 3), ("sort_by(@, &count)[].name", ["c", "b", "a"]),
            ("max_by(@, &count).name", "a"), ("[?count > `2`].name", ["b", "a"]), ("[?name >= 'b'].name", ["b", "c"]),
            ("[?contains(name, 'a')].{n: name}", [["n": "a"]]), ("[*].[name, count]", [["b", 3], ["a", 10], ["c", 1]]),
            ("[?!(sku.name=='Premium')] | [0].name", "a"), ("[::2].name", ["b", "c"]), ("[?starts_with(name, 'x')]", []),
            ("nothing.here", nil),
            ("\"name\"", nil), ("[].sku.name | sort(@) | join(', ', @)", "Basic, Premium, Premium"), ("sum([].count)", 14),
            ("map(&to_string(count), @)", ["3", "10", "1"]), ("[0].keys(@)", ["count", "name", "sku"]),
            ("[::9223372036854775807].name", ["b"]),
            ("[::-9223372036854775808].name", ["c"]), ("[-9223372036854775808:].name", ["b", "a", "c"]),
            ("[9223372036854775807]", nil),
        ] as [(String, JSONValue)])
    func queries(text: String, expected: JSONValue) throws {
        #expect(try search(text, registries) == expected)
    }

    @Test(
        "Errors point at the place",
        arguments: [
            ("foo.", .syntax, 5), ("foo[0", .syntax, 6), ("foo bar", .syntax, 5), ("[?a=b]", .syntax, 4), ("a.#b", .syntax, 3),
            ("nope(@)", .unknownFunction, 1), ("a | length(@, @)", .invalidArity, 5), ("a | &b", .syntax, 5),
            ("'abc", .syntax, 1),
            ("a.b | \"x", .syntax, 7), ("a[99999999999999999999]", .syntax, 3), ("f(a,)", .syntax, 5), ("", .syntax, 1),
            ("a[1 2]", .syntax, 5),
            ("a[1 2:3]", .syntax, 5),
        ] as [(String, JMESPathError.Code, Int)])
    func errors(text: String, code: JMESPathError.Code, column: Int) {
        let error = #expect(throws: JMESPathError.self) { try Expression(parsing: text) }
        #expect(error?.code == code)
        #expect(error?.column == column)
    }

    @Test("The caret stands under the error, on the line that has it")
    func caret() {
        let error = #expect(throws: JMESPathError.self) { try Expression(parsing: "a.b[?c=1]") }
        #expect(
            error?.description == """
                The query is not usable at column 7: '=' compares nothing. Use '=='.
                  a.b[?c=1]
                        ^
                """)
        let second = #expect(throws: JMESPathError.self) { try Expression(parsing: "a |\n b ! c") }
        #expect(second?.description.hasSuffix("\n   b ! c\n     ^") == true)
        let long = #expect(throws: JMESPathError.self) { try Expression(parsing: String(repeating: "a", count: 10_000) + ".#") }
        #expect((long?.description.utf8.count ?? .max) < 400)
    }

    @Test("Functions refuse what they do not take, and say what they got")
    func types() throws {
        let error = #expect(throws: JMESPathError.self) { try search("[0] | length(count)", registries) }
        #expect(error?.code == .invalidType)
        #expect(error?.column == 7)
        #expect(error?.message == "'length' takes a string, an array or an object, not number: 3.")
        #expect(throws: JMESPathError.self) { try search("sort_by(@, count)", registries) }
        #expect(throws: JMESPathError.self) { try search("length(&name)", registries) }
    }

    @Test("Size and depth are bounded")
    func bounds() throws {
        let deep = String(repeating: "(", count: 100_000) + "a" + String(repeating: ")", count: 100_000)
        #expect(#expect(throws: JMESPathError.self) { try Expression(parsing: deep) }?.code == .tooComplex)
        let nested = String(repeating: "[", count: 151) + "a" + String(repeating: "]", count: 151)
        #expect(#expect(throws: JMESPathError.self) { try Expression(parsing: nested) }?.code == .tooComplex)
        let long = "a" + String(repeating: ".a", count: 1000)
        #expect(#expect(throws: JMESPathError.self) { try Expression(parsing: long) }?.code == .tooComplex)
        let longest = "a" + String(repeating: ".a", count: 740)
        #expect(try search(longest, ["a": 1]) == nil)
        let negations = String(repeating: "!", count: 500) + "a"
        #expect(#expect(throws: JMESPathError.self) { try Expression(parsing: negations) }?.code == .tooComplex)
        let sums = "a" + String(repeating: " | a", count: 740)
        #expect(try search(sums, ["a": 1]) == nil)
    }

    @Test(
        "A4 the order of columns is the query's",
        arguments: [
            ("[].{Name:name, Age:age}", ["Name", "Age"]), ("{b:b, a:a, b:c}", ["b", "a"]), ("[?x].{z:a, y:b} | [0]", ["z", "y"]),
            ("sort_by([].{z:a, y:b}, &z)", ["z", "y"]), ("[].{z:a, y:b}[]", ["z", "y"]), ("[:2].{z:a, y:b}", ["z", "y"]),
            ("map(&{z:a, y:b}, @)", ["z", "y"]), ("[].name", nil), ("{a:b}.a", nil), ("@", nil),
        ] as [(String, [String]?)])
    func memberOrder(text: String, expected: [String]?) throws {
        #expect(try Expression(parsing: text).memberOrder == expected)
    }

    @Test("Strings are compared, measured and reversed by code point")
    func unicode() throws {
        #expect(try search("length(@)", "e\u{301}") == 2)
        #expect(try search("sort(@)", ["b", "Z", "é", "a"]) == ["Z", "a", "b", "é"])
        #expect(try search("contains(@, 'e')", "e\u{301}") == true)
        #expect(try search("starts_with(@, 'e')", "e\u{301}") == true)
        #expect(try search("to_number(@)", "0x10") == nil)
        #expect(try search("to_number(@)", " 1") == nil)
        #expect(try search("to_string(@)", ["b": 1, "a": [nil, "/"]]) == #"{"a":[null,"/"],"b":1}"#)
        #expect(try search("sum(@)", [.integer(Int64.max), 1]) == .number(9_223_372_036_854_775_808))
        #expect(try search("abs(@)", .integer(Int64.min)) == .number(9_223_372_036_854_775_808))
    }
}
