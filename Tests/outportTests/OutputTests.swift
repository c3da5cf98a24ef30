// Proves that results are printed as `az` prints them.

import JMESPath
import JSON
import Testing

@testable import outport

@Suite struct OutputTests {
    private func render(_ value: JSONValue, _ format: OutputFormat, query: String? = nil, table: TableLayout = .generic) throws -> String {
        try OutputRenderer(format: format, query: query.map { try Expression(parsing: $0) }, table: table).render(value)
    }

    @Test("A4 json: two blanks, sorted, a line break at the end; null and none print nothing")
    func json() throws {
        #expect(try render(["b": 1, "a": ["x"]], .json) == "{\n  \"a\": [\n    \"x\"\n  ],\n  \"b\": 1\n}\n")
        #expect(try render([], .json) == "[]\n")
        #expect(try render(nil, .json) == "")
        #expect(try render(["a": 1], .json, query: "b") == "")
        #expect(try render(["a": 1], .none) == "")
        #expect(try render(["a": "x"], .json, query: "a") == "\"x\"\n")
        #expect(try render(["a": "x"], .jsonc) == "{\n  \"a\": \"x\"\n}\n")
    }

    @Test("A4 jsonc colours on a terminal only, and changes no text")
    func color() throws {
        let value: JSONValue = ["a\"b": ["c\\", 1.5, true, nil]]
        let plain = try OutputRenderer(format: .jsonc, table: .generic).render(value)
        let painted = try OutputRenderer(format: .jsonc, table: .generic, allowsColor: true).render(value)
        #expect(painted != plain)
        #expect(painted.replacing(/\u{1B}\[[0-9;]*m/, with: "") == plain)
    }

    @Test("A4 tsv: one line an item, columns by name or in the order of the query, Python's words")
    func tsv() throws {
        let value: JSONValue = [["b": "2", "a": nil, "c": [1, 2], "d": [:]], ["a": true, "b": 1.5, "c": [], "d": 0]]
        #expect(try render(value, .tsv) == "None\t2\t2\t\nTrue\t1.5\t0\t0\n")
        #expect(try render(value, .tsv, query: "[].{z:b, y:a}") == "2\tNone\n1.5\tTrue\n")
        #expect(try render(value, .tsv, query: "[].b") == "2\n1.5\n")
        #expect(try render(value, .tsv, query: "[].[b, a]") == "2\tNone\n1.5\tTrue\n")
        #expect(try render(["a": true], .tsv, query: "a") == "true\n")
        #expect(try render("text", .tsv) == "text\n")
    }

    @Test("A4 table: as tabulate lays it out")
    func table() throws {
        let value: JSONValue = [
            ["name": "x", "enabled": true, "id": "hidden", "list": [1], "none": nil], ["name": "loooong", "count": 12],
        ]
        #expect(
            try render(value, .table) == """
                Enabled    Name     Count
                ---------  -------  -------
                True       x
                           loooong  12

                """)
        #expect(try render(value, .table, query: "[].{Z:name, A:count}") == "Z        A\n-------  ---\nx\nloooong  12\n")
        #expect(try render(["one", "two"], .table) == "Result\n--------\none\ntwo\n")
        #expect(
            try render([["a", 1], ["b", nil]], .table) == "Column1    Column2\n---------  ---------\na          1\nb          None\n")
        #expect(try render([], .table) == "\n")
    }

    @Test("A4 table columns of registries, scope maps, tokens and passwords")
    func resourceTables() throws {
        let registry: JSONValue = [
            "id": .string(FakeServer.registry), "name": "myregistry", "location": "eastus", "sku": ["name": "Premium"],
            "properties": ["loginServer": "r.test", "creationDate": "2026-01-02T03:04:05.6789012Z", "adminUserEnabled": false],
        ]
        #expect(
            try render(.array([ResourceShape.registry(registry)]), .table, table: .registries) == """
                NAME        RESOURCE GROUP    LOCATION    SKU      LOGIN SERVER    CREATION DATE         ADMIN ENABLED
                ----------  ----------------  ----------  -------  --------------  --------------------  ---------------
                myregistry  myGroup           eastus      Premium  r.test          2026-01-02T03:04:05Z  False

                """)
        let token: JSONValue = [
            "name": "t1",
            "properties": [
                "status": "enabled", "scopeMapId": "/a/scopeMaps/sm", "provisioningState": "Succeeded",
                "creationDate": "2026-01-02T03:04:05Z",
                "credentials": ["passwords": [["name": "password2", "expiry": "2027-01-02T03:04:05+00:00"], ["name": "password1"]]],
            ],
        ]
        #expect(
            try render(ResourceShape.token.shape(token), .table, table: .tokens) == """
                NAME    SCOPE MAP    PASSWORD1 EXPIRY    PASSWORD2 EXPIRY      STATUS    PROVISIONING STATE    CREATION DATE
                ------  -----------  ------------------  --------------------  --------  --------------------  --------------------
                t1      sm           Never               2027-01-02T03:04:05Z  Enabled   Succeeded             2026-01-02T03:04:05Z

                """)
        let passwords: JSONValue = ["username": "t1", "passwords": [["name": "password1", "value": "v"]]]
        #expect(
            try render(passwords, .table, table: .tokenPasswords)
                == "USERNAME    PASSWORD1    PASSWORD1 EXPIRY\n----------  -----------  ------------------\nt1          v            Never\n"
        )
        let long = String(repeating: "d", count: 60)
        let map: JSONValue = ["name": "m", "properties": ["description": .string(long), "type": "UserDefined"]]
        #expect(
            try render(ResourceShape.scopeMap.shape(map), .table, table: .scopeMaps).contains(String(repeating: "d", count: 57) + "..."))
    }

    @Test("A4 C1 connected registries are listed in tree order")
    func tree() throws {
        func item(_ name: String, parent: String?) -> JSONValue {
            let parentID: JSONValue = parent.map { .string("/r/connectedRegistries/\($0)") } ?? .null
            return [
                "id": .string("/r/connectedRegistries/\(name)"), "name": .string(name), "mode": "ReadOnly", "connectionState": "Online",
                "parent": ["id": parentID, "syncProperties": ["lastSyncTime": "x"]],
            ]
        }
        let list: JSONValue = [
            item("leaf1", parent: "BRANCH"), item("other", parent: nil), item("branch", parent: "top"), item("top", parent: nil),
            item("orphan", parent: "gone"),
        ]
        let text = try render(list, .table, table: .connectedRegistries)
        let names = text.split(separator: "\n").dropFirst(2).compactMap { $0.split(separator: " ").first.map(String.init) }
        #expect(names == ["other", "top", "branch", "leaf1", "orphan"])
        #expect(
            text.split(separator: "\n").first
                == "NAME    MODE      CONNECTION STATE    PARENT    LOGIN SERVER    LAST SYNC (UTC)    SYNC STATE")
        #expect(text.contains("leaf1   ReadOnly  Online              BRANCH"))
        #expect(try render(list[0] ?? nil, .table, table: .connectedRegistry).contains("SYNC SCHEDULE"))
    }

    @Test("A tree that closes on itself is still shown whole, once")
    func loop() {
        let items: [JSONValue] = [
            ["id": "/r/connectedRegistries/a", "name": "a", "parent": ["id": "/r/connectedRegistries/b"]],
            ["id": "/r/connectedRegistries/b", "name": "b", "parent": ["id": "/r/connectedRegistries/a"]],
        ]
        let tree = ConnectedRegistryTree(items)
        #expect(tree.ordered.count == 2)
        #expect(tree.ancestors(of: items[0]).count == 1)
        #expect(tree.descendants(of: items[0]).count == 1)
    }

    @Test("A4 yaml as PyYAML writes it")
    func yaml() throws {
        let value: JSONValue = [
            "a": [["x": 1, "y": []], [1, [2]], "s"], "date": "2026-01-02T03:04:05Z", "empty": "", "flag": true, "n": nil, "no": "no",
            "number": "12",
            "o": [:], "path": "/a/b", "quote": "it's", "quoted": "'q'", "colon": "a: b", "cron": "* * * * *", "f": 1.5, "multi": "a\nb",
            "dash": "- x",
            "version": "1.2.3", "guid": "0a1b2c3d-0000-0000-0000-000000000000",
        ]
        #expect(
            try render(value, .yaml) == """
                a:
                - x: 1
                  y: []
                - - 1
                  - - 2
                - s
                colon: 'a: b'
                cron: '* * * * *'
                dash: '- x'
                date: '2026-01-02T03:04:05Z'
                empty: ''
                f: 1.5
                flag: true
                guid: 0a1b2c3d-0000-0000-0000-000000000000
                multi: "a\\nb"
                n: null
                'no': 'no'
                number: '12'
                o: {}
                path: /a/b
                quote: it's
                quoted: '''q'''
                version: 1.2.3

                """)
        #expect(try render([["a": 1]], .yaml) == "- a: 1\n")
        #expect(try render("x", .yaml) == "x\n...\n")
    }

    @Test("A4 resources are shown flat, with their group and with null for what is unset")
    func shape() {
        let shown = ResourceShape.registry([
            "id": .string(FakeServer.registry), "properties": ["loginServer": "x", "policies": ["a": 1]],
        ])
        #expect(shown["loginServer"] == "x")
        #expect(shown["properties"] == nil)
        #expect(shown["resourceGroup"] == "myGroup")
        #expect(shown["identity"]?.isNull == true)
        #expect(shown["policies"] == ["a": 1, "retentionPolicy": nil, "softDeletePolicy": nil])
        let connected = ResourceShape.connectedRegistry.shape([
            "properties": [
                "parent": ["id": .string(FakeServer.registry + "/connectedRegistries/p"), "syncProperties": ["schedule": "* * * * *"]],
                "statusDetails": [["code": "DiskError"]],
            ]
        ])
        #expect(connected[path: "parent", "resourceGroup"] == "myGroup")
        #expect(connected[path: "parent", "syncProperties", "syncWindow"]?.isNull == true)
        #expect(connected["statusDetails"]?[0]?["timestamp"]?.isNull == true)
        #expect(connected["loginServer"]?.isNull == true)
        let map = ResourceShape.scopeMap.shape(["type": "T", "properties": ["type": "UserDefined"]])
        #expect(map["type"] == "T")
        #expect(map["scopeMapType"] == nil)
    }

    @Test("A4 times and durations are printed as az prints them, members of our own only where they say something")
    func printedForms() {
        #expect(PrintedForms.time("2026-01-01T00:00:00.877Z") == "2026-01-01T00:00:00.877000+00:00")
        #expect(PrintedForms.time("2026-01-01T00:00:00.0000000Z") == "2026-01-01T00:00:00+00:00")
        #expect(PrintedForms.time("2026-01-01T00:00:00Z") == "2026-01-01T00:00:00+00:00")
        for text in ["", "Z", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00.x1Z"] { #expect(PrintedForms.time(text) == nil) }
        #expect([3600, 86_400, 3 * 86_400 + 61].map(PrintedForms.duration) == ["1:00:00", "1 day, 0:00:00", "3 days, 0:01:01"])
        #expect(PrintedForms.of(["readOnly": false, "storageQuota": nil, "name": "x"]) == ["name": "x"])
        #expect(PrintedForms.of([["readOnly": true, "syncWindow": "PT4H"]]) == [["readOnly": true, "syncWindow": "4:00:00"]])
    }
}
