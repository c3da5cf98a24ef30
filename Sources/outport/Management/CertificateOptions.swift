// Certificates that service principals sign in with: given, made here, replaced and taken away.

import ArgumentParser
import HTTPServing
import JSON

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// `--cert`, `--create-cert` and `--keyvault`
enum CertificateOptions {
    static func check(cert: String?, creates: Bool, keyvault: String?) throws(ManagementError) {
        if keyvault != nil {
            throw .usage("There is no key vault here.", advice: "Leave --keyvault out: the certificate is kept in a file.")
        }
        if cert != nil, creates { throw .usage("Give one of --cert and --create-cert.") }
    }

    /// Makes a key and its certificate in a file of the user's home that only the user may read.
    static func make(_ name: String, end: String) throws(ManagementError) -> String {
        guard let seconds = UTCTime.seconds(end) else { throw .usage("'\(end)' is no time such as 2027-12-31T12:59:59Z.") }
        let home = ProcessInfo.processInfo.environment["HOME"] ?? FileManager.default.currentDirectoryPath
        let path = "\(home)/outport-\(UUID().uuidString.prefix(8).lowercased()).pem"
        let pem: String
        do {
            pem = try SelfSignedCertificate.pem(
                commonName: String(name.filter { $0.isLetter || $0.isNumber || "-._".contains($0) }.prefix(60)),
                end: Date(timeIntervalSince1970: Double(seconds)))
        } catch {
            throw ManagementError("A certificate could not be made: \(error)")
        }
        guard FileManager.default.createFile(atPath: path, contents: Data(pem.utf8), attributes: [.posixPermissions: 0o600]) else {
            throw ManagementError("'\(path)' cannot be written.", advice: "Set HOME to a folder that can be.")
        }
        return path
    }
}

/// Certificates of a directory object that is there.
enum Credentials {
    static func resetCertificate(
        _ path: String, _ object: JSONValue, file: String, isMade: Bool, appends: Bool, _ period: (start: String, end: String),
        _ lookup: DirectoryLookup, _ session: ManagementSession
    ) async throws(ManagementError) -> JSONValue {
        var keys = appends ? object["keyCredentials"]?.arrayValue ?? [] : []
        keys += try CreateForRBACCommand.keys(file, period.start, period.end).arrayValue ?? []
        _ = try await lookup.client.patch(path, ["keyCredentials": .array(keys)])
        var result: JSONValue = ["appId": object["appId"] ?? .null, "password": nil, "tenant": .string(session.profile.tenantID)]
        if isMade {
            session.warn("The certificate and its private key are in '\(file)'. Keep the file as you would a password.")
            result["fileWithCertAndPrivateKey"] = .string(file)
        }
        return result
    }

    /// The passwords of an application or a service principal, or its certificates.
    static func list(_ path: String, certificates: Bool, _ lookup: DirectoryLookup) async throws(ManagementError) -> JSONValue? {
        try await lookup.client.get(path)[certificates ? "keyCredentials" : "passwordCredentials"] ?? []
    }

    static func delete(
        _ path: String, _ id: String, isCertificate: Bool, _ lookup: DirectoryLookup
    ) async throws(ManagementError) -> JSONValue? {
        guard isCertificate else {
            try await lookup.client.post(path + "/removePassword", ["keyId": .string(id)])
            return nil
        }
        let keys = try await lookup.client.get(path)["keyCredentials"]?.arrayValue ?? []
        let left = keys.filter { $0["keyId"]?.stringValue?.lowercased() != id.lowercased() }
        guard left.count < keys.count else { throw ManagementError("There is no certificate with the key id '\(id)'.", exitCode: 3) }
        _ = try await lookup.client.patch(path, ["keyCredentials": .array(left)])
        return nil
    }
}
