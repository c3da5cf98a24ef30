// Proves the parser of the connection string: what it accepts, and that a refusal never repeats the password.

import TestSupport
import Testing

@testable import RegistryClient
@testable import SyncAgent

@Suite struct ConnectionStringTests {
    static let pin = String(repeating: "0123456789abcdef", count: 4)

    static func text(
        name: String = "site1", token: String = "site1-sync", password: String = "secret",
        endpoint: String = "harbour.eastus.data.registry.test", scheme: String = "https"
    ) -> String {
        "ConnectedRegistryName=\(name);SyncTokenName=\(token);SyncTokenPassword=\(password);ParentGatewayEndpoint=\(endpoint);ParentEndpointProtocol=\(scheme)"
    }

    private func refusal(_ text: String) -> String {
        let error = #expect(throws: ConnectionStringError.self) { try ConnectionString(parsing: text) }
        return error?.description ?? ""
    }

    @Test("C4 the string that get-settings composes")
    func composed() throws {
        let string = try ConnectionString(parsing: Self.text())
        #expect(string.connectedRegistry == "site1")
        #expect(string.syncToken == "site1-sync")
        #expect(string.password == "secret")
        #expect(string.parent == ServerEndpoint(host: "harbour.eastus.data.registry.test", port: 443, isSecure: true))
        #expect(string.pin == nil)
    }

    private static let around: [String] = [
        "\r\n" + text() + "\r\n", " \t" + text() + "\n\n", text() + ";", text().split(separator: ";").reversed().joined(separator: ";"),
        text().split(separator: ";").joined(separator: ";;"), text().split(separator: ";").joined(separator: "; "),
        text().replacing("SyncTokenName", with: "synctokenname").replacing(
            "ParentEndpointProtocol=https", with: "PARENTENDPOINTPROTOCOL=HTTPS"),
    ]

    @Test("C4 line ends and blanks around it, the order of the fields and their letter case do not matter", arguments: around)
    func tolerated(text: String) throws {
        #expect(try ConnectionString(parsing: text) == ConnectionString(parsing: Self.text()))
    }

    @Test(
        "C4 a password may hold '=' and everything but ';' and control characters",
        arguments: ["a=b", "=", "==", "a=b=c==", "!\"§$%&/()?", "a b", "SyncTokenName=x", "x<"])
    func passwords(password: String) throws {
        #expect(try ConnectionString(parsing: Self.text(password: password)).password == password)
    }

    private static let pinned: [(String, Bool)] = [
        ("secret." + pin, true), ("se.cret." + pin, true), ("secret." + pin + "0", false), ("secret." + pin.dropLast(), false),
        ("secret." + pin.uppercased(), false),
        (pin, false), ("secret", false), ("secret.", false), (pin + ".secret", false), ("." + pin, true),
    ]

    @Test("C4 the pin is what follows the last dot, if it is a SHA-256", arguments: pinned)
    func pins(password: String, isPinned: Bool) throws {
        let string = try ConnectionString(parsing: Self.text(password: password))
        #expect(string.pin == (isPinned ? Self.pin : nil))
        #expect(string.password == password)
    }

    @Test(
        "C4 endpoints",
        arguments: [
            ("host", "https", "host", 443), ("host:8443", "https", "host", 8443), ("HOST.Example", "http", "host.example", 80),
            ("10.0.0.1:5000", "http", "10.0.0.1", 5000),
            ("[::1]:8443", "https", "::1", 8443), ("[2001:db8::1]", "https", "2001:db8::1", 443),
        ])
    func endpoints(endpoint: String, scheme: String, host: String, port: Int) throws {
        let parent = try ConnectionString(parsing: Self.text(endpoint: endpoint, scheme: scheme)).parent
        #expect(parent == ServerEndpoint(host: host, port: port, isSecure: scheme == "https"))
    }

    @Test(
        "C4 endpoints that are none",
        arguments: [
            "host:", "host:0", "host:65536", "host:x", "host:+80", ":443", "https://host", "host/path", "user@host", "host?x", "host#x",
            "a:b:c", "::1", "[::1", "[]", "[::1]x",
            "ho st", "höst", "host\\x",
        ])
    func badEndpoints(endpoint: String) {
        let message = self.refusal(Self.text(endpoint: endpoint))
        #expect(message.contains("ParentGatewayEndpoint"))
    }

    private static let damaged: [(String, String)] = [
        ("", "empty"), (" \r\n", "empty"), ("nonsense", "no '='"), ("ConnectedRegistryName=site1", "SyncTokenName"),
        (text(name: ""), "ConnectedRegistryName"), (text(token: " "), "SyncTokenName"), (text(password: ""), "SyncTokenPassword"),
        (text(endpoint: ""), "ParentGatewayEndpoint"), (text(scheme: ""), "ParentEndpointProtocol"), (text(scheme: "ftp"), "http or https"),
        (text() + ";SyncTokenName=other", "SyncTokenName twice"), (text() + ";Color=red", "unknown field"),
        (text() + ";ManagedIdentityClientId=x", "managed identity"),
        (text(password: "<use --generate-password 1 or 2 to generate a password>"), "--generate-password"),
        (text(endpoint: "<parent gateway endpoint>"), "data endpoint"), (text().replacing(";", with: ";\r\n"), "control characters"),
        (text(password: "a\0b"), "control characters"), (text(password: String(repeating: "x", count: 5000)), "4,096"),
        (text(name: "../.."), "ConnectedRegistryName"), (text(name: "site1 HTTP/1.1"), "ConnectedRegistryName"),
        (text(token: "to/ken"), "SyncTokenName"),
    ]

    @Test("C4 what is missing, double, unknown or a placeholder is named", arguments: damaged)
    func refused(text: String, says: String) {
        #expect(self.refusal(text).contains(says), "\(self.refusal(text))")
    }

    @Test("C4 whatever is wrong with a string, its password is not repeated; what is right comes back as it was")
    func property() throws {
        var generator = SeededGenerator(seed: 4)
        let alphabet = Array("abcXYZ019=.-_;:/<> \r\n\0é")
        for round in 0..<4000 {
            let secret = "Kx7" + String((0..<12).compactMap { _ in alphabet.randomElement(using: &generator) }) + "qW9"
            var text = Self.text(password: secret)
            if round % 2 == 1 {
                // Damage the frame, not the password.
                var fields = text.split(separator: ";", omittingEmptySubsequences: false).map(String.init)
                fields.remove(at: Int.random(in: 0..<fields.count, using: &generator))
                fields.shuffle(using: &generator)
                text = fields.joined(separator: ["", ";", ",", " ", "\n"].randomElement(using: &generator) ?? ";")
            }
            do {
                let string = try ConnectionString(parsing: text)
                if round % 2 == 0 { #expect(string.password == secret) }
            } catch {
                for part in secret.split(whereSeparator: { ";= \r\n".contains($0) })
                where part.count >= 3 && part.contains("Kx7") || part.contains("qW9") {
                    #expect(!error.description.contains(part), "\(error)")
                }
                // A password of allowed characters in a whole string is no reason to refuse.
                if round % 2 == 0 { #expect(secret.contains { $0 == ";" || $0.isNewline || $0 == "\0" || $0 == "\r\n" }) }
            }
        }
    }
}
