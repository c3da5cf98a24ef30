// The directory and roles below the wire: what survives an upgrade, what a role's actions cover, how passwords are kept.

import Foundation
import Persistence
import RegistryCore
import TestSupport
import Testing

@testable import Identity

@Suite struct DirectoryTests {
    @Test(
        "I4 actions and their patterns",
        arguments: [
            ("*", "a/b/c", true), ("*/read", "Microsoft.X/y/read", true), ("*/read", "Microsoft.X/y/reader", false),
            ("*/read", "read", false),
            ("Microsoft.Authorization/*/Write", "microsoft.authorization/roleAssignments/write", true),
            ("Microsoft.Authorization/*/Write", "microsoft.authorization/write", false),
            ("Microsoft.Authorization/*", "Microsoft.Authorization/locks/delete", true), ("a/b", "A/B", true), ("a/b", "a/b/c", false),
            ("a*b*c", "axxbxxc", true), ("a*b*c", "axxc", false), ("a*b*b", "ab", false), ("", "a", false),
        ])
    func patterns(pattern: String, action: String, matches: Bool) {
        #expect(RoleDefinition.matches(action.lowercased(), pattern) == matches)
    }

    @Test("I4 a scope holds what lies in it by whole segments")
    func scopes() {
        #expect(RoleStore.lies("/subscriptions/a/b", within: "/subscriptions/a"))
        #expect(RoleStore.lies("/subscriptions/a", within: "/subscriptions/a"))
        #expect(RoleStore.lies("/subscriptions/a", within: ""))
        #expect(!RoleStore.lies("/subscriptions/ab", within: "/subscriptions/a"))
        #expect(!RoleStore.lies("/subscriptions/a", within: "/subscriptions/a/b"))
        #expect(RoleStore.key("/Subscriptions/A/") == "/subscriptions/a")
        #expect(RoleStore.key("/") == "")
    }

    @Test("I3 secrets of the version before the directory still sign in, under the new tables")
    func upgrade() async throws {
        let path = FileManager.default.temporaryDirectory.path + "/outport-upgrade-\(UUID().uuidString).db"
        defer { for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + suffix) } }
        let earlier = RegistrySchema.migrations + IdentitySchema.migrations.filter { $0.name == "identity-1" }
        let old = try SQLiteDatabase(path: path, migrations: earlier)
        let secret = Secret.generate()
        try await old.write { session in
            try session.execute("INSERT INTO service_principal VALUES ('object', 'app', 'bootstrap', 1, 5)")
            try session.execute(
                "INSERT INTO service_principal_secret VALUES ('key', 'object', ?, 5, NULL)", SQLValue(Secret.verifier(of: secret)))
        }
        try await old.close()
        let new = try SQLiteDatabase(path: path, migrations: RegistrySchema.migrations + IdentitySchema.migrations)
        let directory = Directory(database: new, passwords: PasswordHasher(logRounds: 4))
        let signedIn = try #require(try await directory.authenticate(appID: "app", secret: secret))
        #expect(signedIn.principal.isDirectoryAdministrator)
        #expect(try await directory.holds(signedIn.credential, subject: .servicePrincipal("object")))
        try await new.close()
        // The version before says that it cannot read this.
        #expect(throws: PersistenceError.self) { _ = try SQLiteDatabase(path: path, migrations: earlier) }
    }

    @Test("A1 a verifier tells nothing of the password and belongs to it alone; its cost may differ from today's")
    func passwords() async throws {
        let hasher = PasswordHasher(logRounds: 4)
        let (first, second) = (try await hasher.verifier(of: "correct horse"), try await hasher.verifier(of: "correct horse"))
        #expect(first != second)
        #expect(!first.contains("horse"))
        #expect(try await hasher.matches("correct horse", verifier: first))
        #expect(try await !hasher.matches("correct horsf", verifier: first))
        #expect(try await !hasher.matches("correct horse", verifier: nil))
        #expect(try await PasswordHasher(logRounds: 5).matches("correct horse", verifier: first))
        for broken in ["", "scrypt$4$x", "scrypt$99$AAAA$AAAA", "bcrypt$4$AAAA$AAAA"] {
            #expect(try await !hasher.matches("correct horse", verifier: broken))
        }
    }

    @Test("A1 more sign-ins at a time than can wait are refused, and none of the others is lost")
    func crowd() async throws {
        let hasher = PasswordHasher(logRounds: 10)
        let outcomes = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<300 {
                group.addTask { (try? await hasher.verifier(of: "correct horse")) != nil }
            }
            return await group.reduce(into: (done: 0, refused: 0)) { counts, isDone in
                if isDone {
                    counts.done += 1
                } else {
                    counts.refused += 1
                }
            }
        }
        #expect(outcomes.done >= 64)
        #expect(outcomes.done + outcomes.refused == 300)
        #expect(try await hasher.verifier(of: "correct horse").hasPrefix("scrypt$10$"))
    }

    /// What becomes of so many sign-ins at the same time; `nil` for those that are let in.
    private static func attempts(_ count: Int, _ password: String, _ directory: Directory) async -> [IdentityError.Code?] {
        await withTaskGroup(of: IdentityError.Code?.self) { group in
            for _ in 0..<count {
                group.addTask {
                    do {
                        _ = try await directory.authenticate(user: "ana@x.test", password: password)
                        return nil
                    } catch { return (error as? IdentityError)?.code ?? .invalidName }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
    }

    @Test("I8 lock-out counts attempts at the same time")
    func parallelGuesses() async throws {
        let site = try await Site()
        let directory = Directory(database: site.database, clock: site.clock.wall, passwords: PasswordHasher(logRounds: 4))
        _ = try await directory.createUser("ana@x.test", displayName: "Ana", mailNickname: nil, password: "correct horse")
        let codes = await Self.attempts(40, "wrong horse", directory)
        #expect(codes.filter { $0 == .invalidCredentials }.count == 10)
        #expect(codes.filter { $0 == .locked || $0 == .busy }.count == 30)
        let late = await #expect(throws: IdentityError.self) {
            try await directory.authenticate(user: "ana@x.test", password: "correct horse")
        }
        #expect(late?.code == .locked)
    }

    @Test("I8 right passwords lock nobody out, however many at a time")
    func parallelSignIns() async throws {
        let site = try await Site()
        let directory = Directory(database: site.database, clock: site.clock.wall, passwords: PasswordHasher(logRounds: 4))
        _ = try await directory.createUser("ana@x.test", displayName: "Ana", mailNickname: nil, password: "correct horse")
        let codes = await Self.attempts(40, "correct horse", directory)
        #expect(codes.allSatisfy { $0 == nil || $0 == .busy } && codes.filter { $0 == nil }.count >= 10, "\(codes)")
        // Nine wrong ones, one after the other, leave one more try.
        for _ in 0..<9 {
            await #expect(throws: IdentityError.self) { try await directory.authenticate(user: "ana@x.test", password: "wrong horse") }
        }
        _ = try await directory.authenticate(user: "ana@x.test", password: "correct horse")
    }
}
