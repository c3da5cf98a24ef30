// Options that parent and child share, from the command line, the environment (`OUTPORT_…`) or a file, in this order.

internal import ArgumentParser
internal import Configuration
internal import HTTPServing
internal import JSON
internal import Logging
internal import Persistence
internal import SystemPackage

/// Options of every role that listens.
struct ServerOptions: ParsableArguments {
    @Option(help: "Folder for database, content, keys and certificates.")
    var data: String?

    @Option(help: "Address to listen on, ADDR:PORT.")
    var listen: String?

    @Option(help: ArgumentHelp("Certificate chain in PEM, in place of one of an own CA.", valueName: "file"))
    var tlsCertificate: String?

    @Option(help: ArgumentHelp("Key of the certificate in PEM.", valueName: "file"))
    var tlsKey: String?

    @Flag(help: "Serve plain HTTP, on purpose.")
    var http = false

    @Option(help: "Least severity that is logged: debug, info, notice, warning, error.")
    var logLevel: String?

    @Option(help: ArgumentHelp("JSON file with any of these options, by their names.", valueName: "file"))
    var config: String?

    /// What an option takes.
    enum Kind {
        case text, number, flag, list

        func takes(_ value: JSONValue) -> Bool {
            switch (self, value) {
            case (.text, .string), (.number, .integer), (.number, .string), (.flag, .bool): true
            case (.list, .array(let values)): values.allSatisfy { $0.stringValue != nil }
            default: false
            }
        }

        var description: String {
            switch self {
            case .text: "a text"
            case .number: "a whole number"
            case .flag: "true or false"
            case .list: "a list of texts"
            }
        }
    }

    private static let common: [String: Kind] = [
        "data": .text, "listen": .text, "tls-certificate": .text, "tls-key": .text, "http": .flag, "log-level": .text,
    ]

    /// The layers below the command line.
    ///
    /// - Parameter own: what the command takes beside the options that all roles have.
    func layers(_ own: [String: Kind]) async throws -> ConfigReader {
        let environment = EnvironmentVariablesProvider().prefixKeys(with: "outport")
        guard let config else { return ConfigReader(providers: [environment]) }
        try Self.check(config, Self.common.merging(own) { $1 })
        do {
            return ConfigReader(providers: [environment, try await FileProvider<JSONSnapshot>(filePath: FilePath(config))])
        } catch {
            throw ValidationError("the configuration file \(config) cannot be used: \(error)")
        }
    }

    /// Refuses a file with a name that no option has, or a value that the option does not take: neither would be noticed otherwise.
    private static func check(_ path: String, _ known: [String: Kind]) throws {
        let document: JSONValue
        do {
            document = try JSONValue(parsing: String(decoding: try FileSystem.read(path, limit: 1 << 20), as: UTF8.self))
        } catch {
            throw ValidationError("the configuration file \(path) cannot be used: \(error)")
        }
        guard let members = document.objectValue else { throw ValidationError("the configuration file \(path) must be a JSON object") }
        for (name, value) in members.sorted(by: { $0.key < $1.key }) {
            guard let kind = known[name] else {
                throw ValidationError(
                    "the configuration file \(path) has '\(name)', which is no option here; there are \(known.keys.sorted().joined(separator: ", "))"
                )
            }
            guard kind.takes(value) else {
                throw ValidationError("'\(name)' in the configuration file \(path) must be \(kind.description)")
            }
        }
    }

    /// Whether to serve plain HTTP.
    func isPlain(_ layers: ConfigReader) throws -> Bool {
        if self.http { return true }
        if let isPlain = layers.bool(forKey: "http") { return isPlain }
        guard layers.string(forKey: "http") == nil else {
            throw ValidationError("OUTPORT_HTTP takes true or false, not '\(layers.string(forKey: "http") ?? "")'")
        }
        return false
    }

    /// The level to log at.
    func logLevel(_ layers: ConfigReader) throws -> Logger.Level {
        guard let text = self.logLevel ?? layers.string(forKey: "log-level") else { return .info }
        guard let level = Logger.Level(rawValue: text.lowercased()) else {
            throw ValidationError("log level '\(text)' is none of \(Logger.Level.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return level
    }

    /// The address to bind.
    func listenAddress(_ layers: ConfigReader, default fallback: String) throws -> HostAndPort {
        try Self.address(self.listen ?? layers.string(forKey: "listen") ?? fallback, "--listen")
    }

    /// An address to bind.
    static func address(_ text: String, _ option: String) throws -> HostAndPort {
        guard let address = HostAndPort(text), let port = address.port, port > 0 else {
            throw ValidationError("\(option) takes an address and a port, such as 127.0.0.1:8443, not '\(text)'")
        }
        return address
    }

    /// Certificate and key that the operator gives, if any.
    func givenCertificate(_ layers: ConfigReader) throws -> (certificate: String, key: String)? {
        switch (self.tlsCertificate ?? layers.string(forKey: "tls-certificate"), self.tlsKey ?? layers.string(forKey: "tls-key")) {
        case (let certificate?, let key?): return (certificate, key)
        case (nil, nil): return nil
        default: throw ValidationError("--tls-certificate and --tls-key go together")
        }
    }

    /// Whether an address stands for all addresses of the machine, and so is no name for anyone.
    static func isWildcard(_ address: HostAndPort) -> Bool { address.host == "0.0.0.0" || address.host == "::" }

    /// Names of a loopback listener beside its address.
    static func aliases(of listen: HostAndPort) -> [HostAndPort] {
        let isLoopback = listen.host == "localhost" || listen.host.hasPrefix("127.") || listen.host == "::1"
        let hosts = isLoopback ? [listen.host, "localhost", "127.0.0.1"] : ServerOptions.isWildcard(listen) ? [] : [listen.host]
        return hosts.map { HostAndPort(host: $0, port: listen.port) }
    }
}
