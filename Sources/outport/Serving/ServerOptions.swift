// Options that parent and child share, from the command line, the environment (`OUTPORT_…`) or a file, in this order.

internal import ArgumentParser
internal import Configuration
internal import HTTPServing
internal import Logging
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

    /// The layers below the command line.
    func layers() async throws -> ConfigReader {
        let environment = EnvironmentVariablesProvider().prefixKeys(with: "outport")
        guard let config else { return ConfigReader(providers: [environment]) }
        do {
            return ConfigReader(providers: [environment, try await FileProvider<JSONSnapshot>(filePath: FilePath(config))])
        } catch {
            throw ValidationError("the configuration file \(config) cannot be used: \(error)")
        }
    }

    /// Whether to serve plain HTTP.
    func isPlain(_ layers: ConfigReader) -> Bool { self.http || layers.bool(forKey: "http", default: false) }

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
