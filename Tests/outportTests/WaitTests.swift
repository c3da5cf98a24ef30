// Waiting: what ends it, what it goes on after, and what never comes.

import ArgumentParser
import JSON
import Testing

@testable import outport

@Suite struct WaitTests {
    private struct Outcome {
        let looks: Int
        let error: ManagementError?
        func isDone(after looks: Int) -> Bool { self.error == nil && self.looks == looks }
    }

    /// What is found at each look; the last goes on for ever.
    private func wait(_ arguments: [String], _ found: [JSONValue?]) async -> Outcome {
        var looks = 0
        do throws(ManagementError) {
            guard let options = try? WaitOptions.parse(arguments) else { throw ManagementError("not parsed") }
            let look: () async throws(ManagementError) -> JSONValue = { () async throws(ManagementError) in
                let found = found[min(looks, found.count - 1)]
                looks += 1
                guard let found else { throw ManagementError("gone", exitCode: 3) }
                return found
            }
            try await options.wait(sleep: { _ in }, look: look)
            return Outcome(looks: looks, error: nil)
        } catch {
            return Outcome(looks: looks, error: error)
        }
    }

    private static let creating: JSONValue = ["properties": ["provisioningState": "Creating"]]
    private static let made: JSONValue = ["properties": ["provisioningState": "Succeeded", "state": "Online"]]
    private static let failed: JSONValue = ["properties": ["provisioningState": "Failed"]]

    @Test("A4 waiting ends when what is waited for has come, and not before")
    func ends() async {
        #expect(await self.wait(["--exists"], [nil, Self.creating]).isDone(after: 2))
        #expect(await self.wait(["--created"], [nil, Self.creating, Self.made]).isDone(after: 3))
        #expect(await self.wait(["--updated"], [Self.creating, Self.made]).isDone(after: 2))
        #expect(await self.wait(["--deleted"], [Self.made, nil]).isDone(after: 2))
        #expect(await self.wait(["--custom", "properties.state=='Online'"], [nil, Self.creating, Self.made]).isDone(after: 3))
        // What is empty is false.
        #expect(await self.wait(["--custom", "properties.state"], [["properties": ["state": ""]], Self.made]).isDone(after: 2))
    }

    @Test("A4 waiting gives up after the time given, at what has failed, and for a change of what is not there")
    func givesUp() async {
        let late = await self.wait(["--deleted", "--timeout", "10", "--interval", "3"], [Self.made])
        #expect(late.looks == 4 && late.error?.message == "Wait operation timed-out after 10 seconds" && late.error?.exitCode == 1)
        #expect(await self.wait(["--created"], [Self.failed]).error?.message == "The operation failed")
        #expect(await self.wait(["--updated"], [nil]).error?.exitCode == 3)
        #expect(await self.wait([], [Self.made]).error?.exitCode == 1)
        #expect(await self.wait(["--exists", "--interval", "0"], [Self.made]).error?.exitCode == 2)
        #expect(await self.wait(["--custom", "a["], [Self.made]).error?.exitCode == 2)
    }
}
