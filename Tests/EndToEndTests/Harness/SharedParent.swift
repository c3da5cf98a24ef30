// One parent for all tests of a suite, where they do not disturb each other.

import Foundation
import Testing

/// Starts a parent before the first test of a suite and ends it after the last.
struct SharedParent: SuiteTrait, TestScoping {
    func provideScope(for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void) async throws {
        try await withSandbox { box in
            let parent = try await Parent.start(box)
            let admin = try await parent.token("admin")
            try await Parent.$shared.withValue(parent) {
                try await Parent.$administrator.withValue(admin) { try await function() }
            }
        }
    }
}

extension Trait where Self == SharedParent {
    static var sharedParent: Self { Self() }
}

extension Trait where Self == ConditionTrait {
    static var needsRoot: Self { .enabled(if: geteuid() == 0, "the daemon needs root") }
}

extension Parent {
    /// A token of the shared parent that may do everything.
    @TaskLocal static var administrator: Credentials?
}

/// Runs a test of a suite with ``SharedParent``: with the registry, asked by its administrator, and files of its own.
func withSharedParent(_ body: (Sandbox, Parent, Registry) async throws -> Void) async throws {
    guard let parent = Parent.shared, let admin = Parent.administrator else { throw HarnessError("the suite has no shared parent") }
    try await withOwnFiles { box in
        try await body(
            box, parent, try Registry(parent.server.address, ca: parent.server.data + "/tls/ca.pem", credentials: admin, box: box))
    }
}
