// Waiting until something is there, is as it should be, or is gone.

import ArgumentParser
import JMESPath
import JSON

/// What is waited for, and how long.
struct WaitOptions: ParsableArguments {
    @Option(help: "Maximum wait in seconds.")
    var timeout = 3600

    @Option(help: "Polling interval in seconds.")
    var interval = 30

    @Flag(help: "Wait until created with 'provisioningState' at 'Succeeded'.")
    var created = false

    @Flag(help: "Wait until updated with provisioningState at 'Succeeded'.")
    var updated = false

    @Flag(help: "Wait until deleted.")
    var deleted = false

    @Flag(help: "Wait until the resource exists.")
    var exists = false

    @Option(help: "Wait until the condition satisfies a custom JMESPath query, e.g. properties.connectivityStatus=='Connected'.")
    var custom: String?

    /// Whether what there is satisfies the condition.
    ///
    /// - Throws: where it never will.
    func isReached(_ resource: JSONValue, _ condition: Expression?) throws(ManagementError) -> Bool {
        if exists { return true }
        let state = (resource[path: "properties", "provisioningState"] ?? resource["provisioningState"])?.stringValue?.lowercased()
        if state == "failed" { throw ManagementError("The operation failed") }
        if created || updated, state == "succeeded" { return true }
        guard let condition else { return false }
        do {
            return Self.isTrue(try condition.search(resource))
        } catch {
            throw .usage("argument --custom: \(error)")
        }
    }

    /// As JMESPath has it: what is empty is false.
    private static func isTrue(_ value: JSONValue) -> Bool {
        switch value {
        case .null, .bool(false), .string(""): false
        case .array(let elements): !elements.isEmpty
        case .object(let members): !members.isEmpty
        default: true
        }
    }

    /// Looks until the condition holds.
    ///
    /// - Parameter look: the resource; throws with the exit code 3 when it is not there.
    func wait(
        sleep: (Duration) async throws -> Void = { try await Task.sleep(for: $0) },
        look: () async throws(ManagementError) -> JSONValue
    ) async throws(ManagementError) {
        guard created || updated || deleted || exists || custom != nil else {
            // With the exit code that az has here.
            throw ManagementError("incorrect usage: --created | --updated | --deleted | --exists | --custom JMESPATH")
        }
        let seconds = 1...1_000_000_000
        guard seconds.contains(interval), seconds.contains(timeout) else {
            throw .usage("--interval and --timeout take seconds, from 1 to \(seconds.upperBound).")
        }
        var condition: Expression?
        if let custom {
            do { condition = try Expression(parsing: custom) } catch { throw .usage("argument --custom: \(error)") }
        }
        for _ in stride(from: 0, to: timeout, by: interval) {
            do throws(ManagementError) {
                if try isReached(try await look(), condition) { return }
            } catch  where error.exitCode == 3 {
                if deleted { return }
                // A change of what is not there never happens; what is to be made may come.
                guard created || exists || condition != nil else { throw error }
            }
            do { try await sleep(.seconds(interval)) } catch { throw ManagementError("Waiting was cancelled.") }
        }
        throw ManagementError("Wait operation timed-out after \(timeout) seconds")
    }
}
