// A new password or certificate of an application or its service principal, in place of what there was or beside it.

import ArgumentParser
import JSON

/// The options of `credential reset`, and what they do.
struct CredentialReset: ParsableArguments {
    @Flag(help: "Append the new credential instead of overwriting.")
    var append = false

    @Option(help: "A name for the credential.")
    var displayName: String?

    @Option(help: "Number of years for which the credentials will be valid. Default: 1 year.")
    var years: Int?

    @Option(help: "Date or time after which the credential ends.")
    var endDate: String?

    @Option(help: "PEM file with a certificate to sign in with, instead of a password.")
    var cert: String?

    @Flag(help: "Make a certificate and its key, in a file that is named, instead of a password.")
    var createCert = false

    @Option(help: "Refused: there is no key vault here.")
    var keyvault: String?

    /// - Parameters:
    ///   - path: of the application or the service principal.
    ///   - name: by which a certificate that is made is called.
    func perform(
        _ path: String, named name: String, _ lookup: DirectoryLookup, _ session: ManagementSession
    ) async throws(ManagementError) -> JSONValue? {
        let (start, end) = try CredentialPeriod.text(years: years, end: endDate, now: session.now())
        let object = try await lookup.client.get(path)
        if createCert || cert != nil {
            return try await Credentials.resetCertificate(
                path, object, file: createCert ? try CertificateOptions.make(name, end: end) : cert ?? "", isMade: createCert,
                appends: append, (start, end), lookup, session)
        }
        if !append {
            for credential in object["passwordCredentials"]?.arrayValue ?? [] {
                try await lookup.client.post(path + "/removePassword", ["keyId": credential["keyId"] ?? .null])
            }
        }
        let made = try await lookup.client.post(
            path + "/addPassword",
            [
                "passwordCredential": [
                    "displayName": .string(orNull: displayName), "startDateTime": .string(start), "endDateTime": .string(end),
                ]
            ])
        session.warn("The output includes credentials that you must protect. They are shown once and end on \(end.prefix(10)).")
        return [
            "appId": object["appId"] ?? .null, "password": made?["secretText"] ?? .null, "tenant": .string(session.profile.tenantID),
        ]
    }
}
