// Certificates that change while a server serves: renewed in time, reloaded from files, and refused where they are no good.

import HTTPServing
import Logging
import NIOSSL
import Persistence
import Synchronization
import TestSupport
import Testing

@testable import RegistryClient

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// What has been logged.
private final class Said: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { self.lines.withLock { $0 } }

    var logger: Logger { Logger(label: "test") { _ in Handler(said: self) } }

    private struct Handler: LogHandler {
        let said: Said
        var logLevel = Logger.Level.info
        var metadata: Logger.Metadata = [:]

        init(said: Said) { self.said = said }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { self.metadata[key] }
            set { self.metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let facts = (event.metadata ?? [:]).map { "\($0.key)=\($0.value)" }.sorted().joined(separator: " ")
            self.said.lines.withLock { $0.append("\(event.level) \(event.message) \(facts)") }
        }
    }
}

/// What a client was shown.
private final class Shown: Sendable {
    private let chain = Mutex<[NIOSSLCertificate]>([])
    var certificates: [NIOSSLCertificate] { self.chain.withLock { $0 } }
    func show(_ certificates: [NIOSSLCertificate]) { self.chain.withLock { $0 = certificates } }
}

extension RawConnection {
    /// The status of `GET /v2/`, which needs no more than a server that answers.
    fileprivate mutating func ask() async throws -> Int {
        try await self.send("GET /v2/ HTTP/1.1\r\nHost: harbour.test\r\n\r\n")
        return try await self.answer().status
    }
}

@Suite struct CertificateTests {
    private static let day: Int64 = 86_400

    /// The chain that a new connection is shown, and that the server answers on it.
    private static func chain(_ port: Int) async throws -> [NIOSSLCertificate] {
        let shown = Shown()
        let status = try await RawConnection.with(port: port, isSecure: true, tls: ClientTLS { shown.show($0) }) { try await $0.ask() }
        #expect(status == 401)
        return shown.certificates
    }

    private static func certificate(_ pem: String) throws -> NIOSSLCertificate {
        try #require(try NIOSSLCertificate.fromPEMBytes(Array(pem.utf8)).first)
    }

    @Test("R8 a certificate is renewed when a third of its time is left, for years, and new connections are shown it")
    func renewal() async throws {
        let scratch = ScratchFolder()
        let folder = try DataFolder(scratch.path).tlsPath
        let clock = TestClock(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
        @Sendable func now() -> Date { Date(timeIntervalSince1970: Double(clock.milliseconds / 1000)) }
        let authority = try CertificateAuthority(folder: folder, commonName: "test", now: now())
        let keeper = try CertificateKeeper(
            source: .authority(authority, folder: folder), names: ["127.0.0.1", "harbour.test"], logger: Said().logger, clock: clock.wall)
        let root = TrustPolicy.authorities([authority.pem])
        try await Served.with(certificates: keeper.context, headTimeout: .minutes(10)) { served in
            var (present, renewals) = (try await Self.chain(served.port), 0)
            for day in 1...1500 {
                clock.advance(seconds: Self.day)
                keeper.refresh()
                let file = try Self.certificate(try String(contentsOfFile: folder + "/server.pem", encoding: .utf8))
                let (begin, end) = (Int64(file.notValidBefore), Int64(file.notValidAfter))
                let seconds = clock.milliseconds / 1000
                // A machine that is off for a third of a certificate's life still has a good one when it comes back.
                #expect(begin <= seconds && end - seconds >= (Int64(CertificateAuthority.leafDays) / 3) * Self.day, "day \(day)")
                guard file != present.first else { continue }
                renewals += 1
                // Not before it is time, either.
                #expect(
                    Int64(try #require(present.first).notValidAfter) - seconds <= (Int64(CertificateAuthority.leafDays) / 3 + 1) * Self.day)
                present = try await Self.chain(served.port)
                #expect(present.first == file)
                #expect(await root.refusal(chain: present, host: "127.0.0.1", now: now()) == nil)
                #expect(await root.refusal(chain: present, host: "harbour.test", now: now()) == nil)
            }
            #expect(renewals == 1500 / (CertificateAuthority.leafDays * 2 / 3 + 1))
            // Looking again changes nothing.
            keeper.refresh()
            #expect(try await Self.chain(served.port) == present)
        }
    }

    @Test("R8 a certificate of another authority of the same name is not kept")
    func otherAuthority() async throws {
        let scratch = ScratchFolder()
        let folder = try DataFolder(scratch.path).tlsPath
        let before = try CertificateAuthority(folder: folder, commonName: "test", now: Date())
        let old = try before.leaf(folder: folder, names: ["harbour.test"], now: Date())
        #expect(try before.leaf(folder: folder, names: ["harbour.test"], now: Date()) == old)
        for file in ["/ca.pem", "/ca.key"] { try FileSystem.remove(folder + file) }
        let after = try CertificateAuthority(folder: folder, commonName: "test", now: Date())
        let new = try after.leaf(folder: folder, names: ["harbour.test"], now: Date())
        let chain = try NIOSSLCertificate.fromPEMBytes(Array(new.certificatePEM.utf8))
        #expect(await TrustPolicy.authorities([after.pem]).refusal(chain: chain, host: "harbour.test") == nil)
    }

    @Test("R8 an authority that has lost its key is not replaced; one that has lost its certificate gets another of the same key")
    func lostAuthority() throws {
        let scratch = ScratchFolder()
        let folder = try DataFolder(scratch.path).tlsPath
        func authority() throws -> CertificateAuthority { try CertificateAuthority(folder: folder, commonName: "test", now: Date()) }
        func refusal() -> String? { (#expect(throws: CertificateError.self) { try authority() })?.description }
        let first = try authority()
        #expect(first.isNew)
        let key = try FileSystem.read(folder + "/ca.key")
        try FileSystem.remove(folder + "/ca.pem")
        let second = try authority()
        #expect(!second.isNew && second.pin == first.pin && second.pem != first.pem)
        #expect(try FileSystem.read(folder + "/ca.key") == key)
        let pem = try FileSystem.read(folder + "/ca.pem")
        try FileSystem.remove(folder + "/ca.key")
        #expect(refusal()?.contains("restore \(folder)/ca.key") == true)
        #expect(try FileSystem.read(folder + "/ca.pem") == pem && !FileSystem.exists(folder + "/ca.key"))
        try FileSystem.replace(folder + "/ca.key", with: "no key".utf8)
        #expect(refusal()?.contains("\(folder)/ca.key is no key") == true)
        try FileSystem.replace(folder + "/ca.key", with: key)
        try FileSystem.replace(folder + "/ca.pem", with: "no certificate".utf8)
        #expect(refusal()?.contains("\(folder)/ca.pem is no certificate") == true)
        let elsewhere = ScratchFolder()
        let other = try CertificateAuthority(folder: DataFolder(elsewhere.path).tlsPath, commonName: "test", now: Date())
        try FileSystem.replace(folder + "/ca.pem", with: other.pem.utf8)
        #expect(refusal()?.contains("is not of the key") == true)
    }

    @Test("R8 a given certificate whose files are replaced is shown to new connections; open ones go on, a pair that is no good is told")
    func reload() async throws {
        let scratch = ScratchFolder()
        let folder = try DataFolder(scratch.path).tlsPath
        let authority = try CertificateAuthority(folder: folder, commonName: "test", now: Date())
        var number = 0
        func made() throws -> (certificatePEM: String, keyPEM: String) {
            number += 1
            return try authority.leaf(folder: folder, names: ["127.0.0.1", "pair-\(number).test"], now: Date())
        }
        let pairs = [try made(), try made(), try made()]
        let leaves = try pairs.map { try Self.certificate($0.certificatePEM) }
        #expect(Set(leaves).count == 3)
        let files = (certificate: folder + "/given.pem", key: folder + "/given.key")
        @Sendable func place(certificate: String? = nil, key: String? = nil) throws {
            if let certificate { try FileSystem.replace(files.certificate, with: certificate.utf8) }
            if let key { try FileSystem.replace(files.key, with: key.utf8) }
        }
        try place(certificate: pairs[0].certificatePEM, key: pairs[0].keyPEM)
        let said = Said()
        let keeper = try CertificateKeeper(
            source: .given(certificate: files.certificate, key: files.key), names: [], logger: said.logger)
        try await Served.with(certificates: keeper.context, headTimeout: .minutes(10)) { served in
            try await RawConnection.with(port: served.port, isSecure: true) { open in
                #expect(try await open.ask() == 401)
                #expect(try await Self.chain(served.port) == [leaves[0]])
                keeper.refresh()
                #expect(said.all == [])

                try place(certificate: pairs[1].certificatePEM, key: pairs[1].keyPEM)
                keeper.refresh()
                #expect(try await Self.chain(served.port) == [leaves[1]])
                #expect(try await open.ask() == 401)
                #expect(said.all.count == 1 && said.all[0].contains("certificate replaced"))

                // Half-written: the certificate before its key, a part of it, nothing at all, no file.
                let half = String(pairs[2].certificatePEM.prefix(pairs[2].certificatePEM.count / 2))
                for (number, text) in [pairs[2].certificatePEM, half, ""].enumerated() {
                    try place(certificate: text)
                    keeper.refresh()
                    #expect(try await Self.chain(served.port) == [leaves[1]])
                    try #require(said.all.count == number + 2)
                    #expect(said.all[number + 1].hasPrefix("error certificate could not be renewed"))
                    #expect(said.all[number + 1].contains("check that both are PEM and belong together"), "\(said.all[number + 1])")
                }
                try FileSystem.remove(files.certificate)
                keeper.refresh()
                #expect(try await Self.chain(served.port) == [leaves[1]])
                #expect(said.all.last?.contains(files.certificate) == true)

                try place(certificate: pairs[2].certificatePEM, key: pairs[2].keyPEM)
                keeper.refresh()
                #expect(try await Self.chain(served.port) == [leaves[2]])
                #expect(try await open.ask() == 401)
            }
        }
    }

    @Test("R8 a given certificate that ends is told from thirty days before, once a day, until it is replaced")
    func ending() throws {
        let scratch = ScratchFolder()
        let folder = try DataFolder(scratch.path).tlsPath
        let clock = TestClock(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
        func now() -> Date { Date(timeIntervalSince1970: Double(clock.milliseconds) / 1000) }
        let authority = try CertificateAuthority(folder: folder, commonName: "test", now: now())
        let files = (certificate: folder + "/given.pem", key: folder + "/given.key")
        func place() throws {
            let pair = try authority.leaf(folder: folder, names: ["harbour.test"], now: now())
            try FileSystem.replace(files.certificate, with: pair.certificatePEM.utf8)
            try FileSystem.replace(files.key, with: pair.keyPEM.utf8)
        }
        try place()
        let said = Said()
        let source = CertificateSource.given(certificate: files.certificate, key: files.key)
        let keeper = try CertificateKeeper(source: source, names: [], logger: said.logger, clock: clock.wall)
        let life = Int64(CertificateAuthority.leafDays)
        clock.advance(seconds: (life - 31) * Self.day)
        keeper.refresh()
        #expect(said.all == [])
        clock.advance(seconds: Self.day + 60)
        for _ in 0..<3 { keeper.refresh() }
        try #require(said.all.count == 1)
        #expect(said.all[0].hasPrefix("warning certificate ends soon") && said.all[0].contains("replace \(files.certificate)"))
        clock.advance(seconds: Self.day)
        for _ in 0..<3 { keeper.refresh() }
        #expect(said.all.count == 2)
        clock.advance(seconds: 29 * Self.day)
        keeper.refresh()
        try #require(said.all.count == 3)
        #expect(said.all[2].hasPrefix("error certificate has ended: clients refuse it"))
        // A start with it says so, too; and nothing is said of the one that takes its place.
        let again = Said()
        _ = try CertificateKeeper(source: source, names: [], logger: again.logger, clock: clock.wall)
        #expect(again.all.count == 1 && again.all[0].hasPrefix("error certificate has ended"))
        try place()
        keeper.refresh()
        #expect(said.all.count == 4 && said.all[3].contains("certificate replaced"))
        // A clock that was set back: clients refuse what is not good yet, and so does this machine.
        clock.advance(seconds: -3 * Self.day)
        keeper.refresh()
        #expect(said.all.count == 5 && said.all[4].hasPrefix("error certificate is not good yet"))
    }

    @Test("R8 a certificate ends with the authority that issued it, is not issued over and over, and that it ends is told")
    func lastLeaf() throws {
        let scratch = ScratchFolder()
        let folder = try DataFolder(scratch.path).tlsPath
        let clock = TestClock(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
        func now() -> Date { Date(timeIntervalSince1970: Double(clock.milliseconds) / 1000) }
        let authority = try CertificateAuthority(folder: folder, commonName: "test", now: now())
        let root = try Self.certificate(authority.pem)
        clock.advance(seconds: Int64(root.notValidAfter) - clock.milliseconds / 1000 - 100 * Self.day)
        let said = Said()
        let keeper = try CertificateKeeper(
            source: .authority(authority, folder: folder), names: ["harbour.test"], logger: said.logger, clock: clock.wall)
        let leaf = try String(contentsOfFile: folder + "/server.pem", encoding: .utf8)
        #expect(try Self.certificate(leaf).notValidAfter == root.notValidAfter)
        for _ in 0..<69 {
            clock.advance(seconds: Self.day)
            keeper.refresh()
        }
        #expect(said.all == [])
        #expect(try String(contentsOfFile: folder + "/server.pem", encoding: .utf8) == leaf)
        clock.advance(seconds: 2 * Self.day)
        keeper.refresh()
        #expect(said.all.count == 1 && said.all[0].contains("the own authority ends with it"))
    }

    @Test("R8 TLS 1.2 and 1.3 are spoken, nothing older")
    func versions() async throws {
        try await Served.with(isSecure: true, headTimeout: .minutes(10)) { served in
            for version in [TLSVersion.tlsv12, .tlsv13] {
                let status = try await RawConnection.with(
                    port: served.port, isSecure: true, tls: ClientTLS(oldest: version, newest: version)
                ) { try await $0.ask() }
                #expect(status == 401)
            }
            for version in [TLSVersion.tlsv1, .tlsv11] {
                let error = await #expect(throws: (any Error).self) {
                    _ = try await RawConnection.with(port: served.port, isSecure: true, tls: ClientTLS(oldest: .tlsv1, newest: version)) {
                        try await $0.rest()
                    }
                }
                // The server says so; it is not that the client could not.
                #expect("\(error.map { "\($0)" } ?? "")".contains("PROTOCOL_VERSION"), "\(error.map { "\($0)" } ?? "")")
            }
        }
    }
}
