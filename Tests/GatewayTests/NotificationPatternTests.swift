// Proves which patterns are taken and what they match.

import GatewayProtocol
import OCI
import TestSupport
import Testing

@Suite struct NotificationPatternTests {
    private static let digest = Digest.of("content".utf8)

    private struct Case: Sendable {
        let pattern: String
        let repository: String
        let tag: String?
        let action: NotificationPattern.Action
        let isMatch: Bool

        init(_ pattern: String, _ repository: String, _ tag: String?, _ action: NotificationPattern.Action, _ isMatch: Bool) {
            (self.pattern, self.repository, self.tag, self.action, self.isMatch) = (pattern, repository, tag, action, isMatch)
        }
    }

    private static let cases: [Case] = [
        Case("hello-world:tag:*", "hello-world", "v1", .push, true), Case("hello-world:tag:*", "hello-world", nil, .push, false),
        Case("hello-world:tag:push", "hello-world", "v1", .delete, false), Case("hello-world:push", "hello-world", nil, .push, true),
        Case("sample/repo/*:*", "sample/repo/a/b", "x", .delete, true), Case("sample/repo/*:*", "sample/other", "x", .delete, false),
        Case("app:v1*:delete", "app", "v1.2", .delete, true), Case("app:v1*:delete", "app", "v2", .delete, false),
        Case("app:v1", "app", "v1", .push, true), Case("app:v1", "app", "v10", .push, false),
        Case("app:digest:push", "app", nil, .push, true), Case("app:digest:push", "app", "v1", .push, false),
        Case("app:\(digest):*", "app", "v1", .push, true), Case("*:*:*", "any/thing", nil, .delete, true),
    ]

    @Test("C17 patterns of notifications match repositories, tags, digests and actions")
    func matching() throws {
        for one in Self.cases {
            let pattern = try NotificationPattern(one.pattern)
            let isMatch = pattern.matches(repository(one.repository), tag: one.tag.map { tag($0) }, digest: Self.digest, one.action)
            #expect(isMatch == one.isMatch, "\(one.pattern) \(one.repository):\(one.tag ?? "") \(one.action)")
        }
    }

    @Test(
        "C17 what is no pattern is refused with a reason",
        arguments: [
            "", "app", "No:push", "app:tag:pull", "app:v1:shove", "app:not a tag:push", "app:sha256:12:push", "app:**:push", "a*b:push",
        ])
    func refused(text: String) {
        #expect(throws: OCIParseError.self) { try NotificationPattern(text) }
    }
}
