// Objects of the directory as Graph shows them.

internal import Identity
internal import JSON
internal import Persistence

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

extension GraphHandler {
    /// - Parameter isTyped: whether the answer holds objects of several kinds, which then say theirs.
    func value(_ object: DirectoryObject, isTyped: Bool = false) async throws -> JSONValue {
        var value: JSONValue
        let type: String
        switch object {
        case .application(let application):
            type = "application"
            value = [
                "appId": .string(application.appID), "createdDateTime": .string(Timestamp.text(milliseconds: application.created)),
                "identifierUris": [], "signInAudience": "AzureADMyOrg", "publisherDomain": nil, "requiredResourceAccess": [],
                "appRoles": [],
            ]
            try await self.add(credentialsOf: application.objectID, to: &value)
        case .servicePrincipal(let principal):
            type = "servicePrincipal"
            value = [
                "appId": .string(principal.appID), "appDisplayName": .string(principal.displayName),
                "accountEnabled": .bool(principal.isEnabled), "servicePrincipalNames": [.string(principal.appID)],
                "servicePrincipalType": .string(principal.kind.rawValue), "appOwnerOrganizationId": .string(self.tenantID),
                "alternativeNames": .strings(principal.resource.map { ["isExplicit=True", $0] } ?? []), "tags": [],
            ]
            try await self.add(credentialsOf: principal.objectID, to: &value)
        case .user(let user):
            type = "user"
            value = [
                "userPrincipalName": .string(user.name), "mailNickname": .string(user.mailNickname), "mail": nil,
                "accountEnabled": .bool(user.isEnabled), "createdDateTime": .string(Timestamp.text(milliseconds: user.created)),
                "businessPhones": [], "givenName": nil, "surname": nil, "jobTitle": nil, "mobilePhone": nil, "officeLocation": nil,
                "preferredLanguage": nil,
            ]
        case .group(let group):
            type = "group"
            value = [
                "mailNickname": .string(group.mailNickname), "description": .string(orNull: group.text), "mailEnabled": false,
                "securityEnabled": true, "groupTypes": [], "createdDateTime": .string(Timestamp.text(milliseconds: group.created)),
            ]
        }
        value["id"] = .string(object.objectID)
        value["displayName"] = .string(object.displayName)
        if isTyped { value["@odata.type"] = .string("#microsoft.graph.\(type)") }
        return value
    }

    private func add(credentialsOf objectID: String, to value: inout JSONValue) async throws {
        let credentials = try await self.directory.credentials(of: objectID)
        value["passwordCredentials"] = .array(credentials.filter(\.isSecret).map { Self.value($0) })
        value["keyCredentials"] = .array(credentials.filter { !$0.isSecret }.map { Self.value($0) })
    }

    /// A credential without its value; with it in the one answer that tells it.
    static func value(_ credential: DirectoryCredential, secret: String? = nil) -> JSONValue {
        var value: JSONValue = [
            "keyId": .string(credential.keyID), "displayName": .string(orNull: credential.displayName),
            "startDateTime": .string(Timestamp.text(milliseconds: credential.start)),
            "endDateTime": .string(orNull: credential.expiry.map { Timestamp.text(milliseconds: $0) }),
        ]
        switch credential.kind {
        case .secret(_, let hint):
            value["hint"] = .string(orNull: hint)
            value["secretText"] = .string(orNull: secret)
            value["customKeyIdentifier"] = nil
        case .certificate(let der):
            value["type"] = "AsymmetricX509Cert"
            value["usage"] = "Verify"
            value["key"] = nil
            let thumbprint = (try? CertificateRecord(der: der).thumbprint) ?? []
            value["customKeyIdentifier"] = .string(thumbprint.map { String(format: "%02X", $0) }.joined())
        }
        return value
    }

    // MARK: Reading credentials

    /// `{"displayName", "startDateTime", "endDateTime"}`; two years where no end is given.
    func period(_ field: BodyField) throws -> (name: String?, start: Int64?, end: Int64) {
        let now = self.directory.now
        func time(_ name: String) throws -> Int64? {
            let field = try field[name]
            guard let text = try field.string() else { return nil }
            guard let value = Self.time(text) else {
                throw Refusal.bad("'\(text.prefix(60))' is no time such as 2027-12-31T12:59:59Z.", target: field.path)
            }
            return value
        }
        let start = try time("startDateTime")
        let end = try time("endDateTime") ?? now + 2 * 365 * 86_400_000
        guard end > max(start ?? now, now) else {
            throw Refusal.bad("The credential would have ended before it begins or before now.", target: "\(field.path).endDateTime")
        }
        return (try field["displayName"].string(maximum: 120), start, end)
    }

    /// RFC 3339; clients send microseconds and offsets, too.
    static func time(_ text: String) -> Int64? {
        if let time = Timestamp.parse(text) { return time }
        // More digits than the parser takes.
        guard let dot = text.firstIndex(of: ".") else { return nil }
        let zone = text[dot...].firstIndex { "Z+-".contains($0) } ?? text.endIndex
        return Timestamp.parse(String(text[..<dot]) + (zone == text.endIndex ? "Z" : String(text[zone...])))
    }

    /// The certificates of a body: those that stay, by key id, and new ones.
    func certificates(_ field: BodyField) throws -> (kept: Set<String>, fresh: [DirectoryCredential])? {
        guard let elements = try field.elements(maximum: Directory.maximumCredentials) else { return nil }
        var kept: Set<String> = []
        var fresh: [DirectoryCredential] = []
        for element in elements {
            guard let text = try element["key"].value?.stringValue, !text.isEmpty else {
                kept.insert(try element["keyId"].requiredString().lowercased())
                continue
            }
            // In lines, as they stand in PEM.
            guard text.utf8.count <= 32 << 10, let data = Data(base64Encoded: text.filter { !$0.isWhitespace }) else {
                throw Refusal.bad("The certificate is not base64.", target: "\(element.path).key")
            }
            let record: CertificateRecord
            do {
                record = try CertificateRecord(der: [UInt8](data))
            } catch {
                throw Refusal.bad("The certificate cannot be used: \(error.message).", target: "\(element.path).key")
            }
            let (name, start, end) = try self.period(element)
            fresh.append(
                DirectoryCredential(
                    keyID: Directory.identifier(), kind: .certificate(record.der), displayName: name,
                    start: max(start ?? record.notBefore, record.notBefore), expiry: min(end, record.notAfter)))
        }
        return (kept, fresh)
    }
}

extension DirectoryCredential {
    var isSecret: Bool { if case .secret = self.kind { true } else { false } }
}
