// The action grammar of scope maps.

package import OCI

/// What may be done with a repository.
package enum RepositoryPermission: String, Sendable, CaseIterable, Hashable {
    case contentRead = "content/read"
    case contentWrite = "content/write"
    case contentDelete = "content/delete"
    case metadataRead = "metadata/read"
    case metadataWrite = "metadata/write"
    // No actions of scope maps: see ``ScopeMap/permits(_:on:)``.
    case deletedRead = "deleted/read"
    case deletedRestore = "deleted/restore"

    /// What the action of a scope map may say.
    package static let allCases: [RepositoryPermission] = [.contentRead, .contentWrite, .contentDelete, .metadataRead, .metadataWrite]

    /// Whether it changes nothing.
    package var isRead: Bool { self == .contentRead || self == .metadataRead || self == .deletedRead }

    /// The action of an access token's scope that the permission stands for.
    package var scopeAction: String {
        switch self {
        case .contentRead: "pull"
        case .contentWrite: "push"
        case .contentDelete: "delete"
        case .metadataRead: "metadata_read"
        case .metadataWrite: "metadata_write"
        case .deletedRead: "deleted_read"
        case .deletedRestore: "deleted_restore"
        }
    }

    package init?(scopeAction: some StringProtocol) {
        guard let match = (Self.allCases + [.deletedRead, .deletedRestore]).first(where: { $0.scopeAction == scopeAction }) else {
            return nil
        }
        self = match
    }
}

/// What may be done through a connected registry's gateway.
package enum GatewayPermission: String, Sendable, CaseIterable, Hashable {
    case configRead = "config/read"
    case configWrite = "config/write"
    case messageRead = "message/read"
    case messageWrite = "message/write"
}

/// One action of a scope map: `repositories/{name or prefix*}/{content|metadata}/…` or `gateway/{name}/{config|message}/…`.
package enum ScopeMapAction: Hashable, Sendable, CustomStringConvertible {
    case repository(RepositoryPattern, RepositoryPermission)
    /// Gateway names are compared in lower case.
    case gateway(String, GatewayPermission)

    /// - Throws: ``IdentityError`` with code `invalidAction` naming what does not fit.
    package init(_ text: String) throws(IdentityError) {
        func refuse(_ reason: String) -> IdentityError { .init(.invalidAction, "action '\(text.prefix(300))' is not valid: \(reason)") }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count >= 4 else { throw refuse("it has the form repositories/<name>/content/read or gateway/<name>/config/read") }
        let verb = parts.suffix(2).joined(separator: "/").lowercased()
        let name = parts.dropFirst().dropLast(2).joined(separator: "/")
        switch parts[0].lowercased() {
        case "repositories":
            guard let permission = RepositoryPermission.allCases.first(where: { $0.rawValue == verb }) else {
                throw refuse("'\(verb)' is none of \(RepositoryPermission.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            do {
                self = .repository(try RepositoryPattern(name), permission)
            } catch {
                throw refuse(error.description)
            }
        case "gateway":
            guard let permission = GatewayPermission(rawValue: verb) else {
                throw refuse("'\(verb)' is none of \(GatewayPermission.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            guard ResourceName.isValid(name) else { throw refuse("'\(name)' is not the name of a connected registry") }
            self = .gateway(name.lowercased(), permission)
        default: throw refuse("it must begin with 'repositories/' or 'gateway/'")
        }
    }

    package var description: String {
        switch self {
        case .repository(let pattern, let permission): "repositories/\(pattern)/\(permission.rawValue)"
        case .gateway(let name, let permission): "gateway/\(name)/\(permission.rawValue)"
        }
    }
}

/// The grammar of names of tokens, scope maps and connected registries.
package enum ResourceName {
    /// 5 to 50 letters, digits, `-` and `_`; system scope maps begin with `_`.
    package static func isValid(_ name: String) -> Bool {
        (5...50).contains(name.utf8.count)
            && name.utf8.allSatisfy { ASCII.isLetter($0) || ASCII.isDigit($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") }
    }
}
