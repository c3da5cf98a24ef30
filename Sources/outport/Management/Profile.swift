// Who is signed in where, kept between commands.

import JSON

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif
#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// A sign-in: the server, its addresses as discovered, the service principal and the subscriptions it sees.
struct Profile: Codable, Hashable, Sendable {
    struct Subscription: Codable, Hashable, Sendable {
        var id: String
        var name: String
        var state: String
        var tenantID: String
    }

    struct AccessToken: Codable, Hashable, Sendable {
        var value: String
        /// Seconds since 1970.
        var expires: Int
    }

    /// The base URL of the resource manager, without a slash at its end.
    var server: String
    /// The name under which the server introduces itself.
    var cloudName: String
    /// The audience of tokens for the resource manager.
    var audience: String
    var tokenEndpoint: String
    /// What follows a registry's name in its login server, with the dot.
    var loginServerSuffix: String?
    var tenantID: String
    var clientID: String
    var clientSecret: String
    /// The user who is signed in; nil for a service principal.
    var username: String?
    /// Of a user: what new tokens are asked for with.
    var refreshToken: String?
    /// The file with certificate and key of a service principal that has no secret.
    var certificateFile: String?
    /// The token of somebody else with which a service principal signs in; it ends when they say.
    var federatedToken: String?
    /// The base URL of the directory.
    var directory: String?
    /// The file with the server's CA, a copy in the folder of the profile.
    var trustFile: String?
    var subscriptions: [Subscription] = []
    var defaultSubscription: String?
    var token: AccessToken?

    func isSameSignIn(as other: Profile) -> Bool {
        server == other.server && tenantID == other.tenantID && clientID == other.clientID && username == other.username
            && clientSecret == other.clientSecret && certificateFile == other.certificateFile && federatedToken == other.federatedToken
    }

    /// Whoever is signed in, by the name people know.
    var accountName: String { username ?? clientID }

    /// The subscription that was asked for by id or name, else the default one.
    func subscription(_ wanted: String?) throws(ManagementError) -> Subscription {
        if let wanted {
            let match = subscriptions.first {
                $0.id.lowercased() == wanted.lowercased() || $0.name.lowercased() == wanted.lowercased()
            }
            guard let match else {
                throw ManagementError(
                    "The subscription of '\(wanted)' doesn't exist in cloud '\(cloudName)'.",
                    advice: "Run 'outport account list' to see those there are, or 'outport login' to read them again.")
            }
            return match
        }
        guard let match = subscriptions.first(where: { $0.id == defaultSubscription }) ?? subscriptions.first else {
            throw ManagementError("No subscription found. Run 'outport account list' to see the subscriptions of this sign-in.")
        }
        return match
    }
}

/// Keeps the profile in a folder only its owner may read.
///
/// Layout: `profile.json` (0600, holds the secret) and `ca.pem`; those of named profiles in `profiles/<name>/`, and in `current` the
/// name of the one in use. The folder is `$OUTPORT_CONFIG_DIR`, else
/// `$XDG_CONFIG_HOME/outport`, else `~/.config/outport`.
struct ProfileStore: Sendable {
    let folder: String

    init(folder: String) { self.folder = folder }

    init(environment: [String: String]) throws(ManagementError) {
        if let folder = environment["OUTPORT_CONFIG_DIR"], !folder.isEmpty {
            self.folder = folder
        } else if let base = environment["XDG_CONFIG_HOME"], base.hasPrefix("/") {
            folder = base + "/outport"
        } else if let home = environment["HOME"], !home.isEmpty {
            folder = home + "/.config/outport"
        } else {
            throw ManagementError("There is no folder for the sign-in: neither OUTPORT_CONFIG_DIR nor HOME is set.")
        }
    }

    private var file: String { folder + "/profile.json" }
    private var trustFile: String { folder + "/ca.pem" }

    /// The profile, nil when nobody is signed in.
    func load() throws(ManagementError) -> Profile? {
        guard FileManager.default.fileExists(atPath: file) else { return nil }
        do {
            return try JSONValue(parsing: [UInt8](Data(contentsOf: URL(filePath: file)))).decode()
        } catch {
            throw ManagementError("The sign-in in \(file) cannot be read: \(error)", advice: "Run 'outport login' again.")
        }
    }

    func save(_ profile: Profile) throws(ManagementError) {
        do {
            try write(JSONValue(encoding: profile).serialized(pretty: true) + "\n", to: file)
        } catch {
            throw ManagementError("The sign-in cannot be kept in \(file): \(error)", advice: "Check the folder's permissions.")
        }
    }

    /// Keeps renewed tokens where the sign-in they belong to is still the one that is kept: other commands sign out, sign in and choose
    /// subscriptions meanwhile.
    func keepTokens(of renewed: Profile) throws(ManagementError) {
        guard var current = try load(), current.isSameSignIn(as: renewed) else { return }
        (current.token, current.refreshToken) = (renewed.token, renewed.refreshToken)
        try save(current)
    }

    /// Copies certificates beside the profile and returns where they are.
    func keep(certificates: String) throws(ManagementError) -> String {
        do {
            try write(certificates, to: trustFile)
            return trustFile
        } catch {
            throw ManagementError("The CA cannot be kept in \(trustFile): \(error)", advice: "Check the folder's permissions.")
        }
    }

    func remove() throws(ManagementError) {
        for path in [file, trustFile] where FileManager.default.fileExists(atPath: path) {
            do {
                try FileManager.default.removeItem(atPath: path)
            } catch {
                throw ManagementError("The sign-in in \(path) cannot be removed: \(error)", advice: "Remove the file by hand.")
            }
        }
    }

    /// Writes a file beside its place and moves it there, so that a reader sees the old one or the new one.
    func write(_ text: String, to path: String) throws {
        let manager = FileManager.default
        try manager.createDirectory(atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let draft = "\(path).\(UUID().uuidString)"
        guard manager.createFile(atPath: draft, contents: nil, attributes: [.posixPermissions: 0o600]) else {
            throw ManagementError("\(draft) cannot be created")
        }
        do {
            try Data(text.utf8).write(to: URL(filePath: draft))
            try manager.setAttributes([.posixPermissions: 0o600], ofItemAtPath: draft)
            // rename(2) replaces what is there; the move of FileManager refuses to.
            guard rename(draft, path) == 0 else { throw ManagementError("\(path) cannot be replaced: \(String(cString: strerror(errno)))") }
        } catch {
            try? manager.removeItem(atPath: draft)
            throw error
        }
    }
}
