// Values in the forms in which `az` prints them: its models read times and durations, and Python writes them in its own way.

import JSON
import Schedule

/// Turns members of the wire into what is printed, so that scripts which read the output of `az` read ours.
enum PrintedForms {
    private static let times: Set<String> = [
        "creationDate", "createdAt", "lastModifiedAt", "creationTime", "expiry", "lastActivityTime", "lastSyncTime", "lastSyncStartTime",
        "lastSyncEndTime", "lastSuccessfulSyncEndTime", "timestamp", "lastUpdatedTime",
    ]
    private static let durations: Set<String> = ["messageTtl", "syncWindow"]
    /// Members that Azure's resources do not have: shown where they say something, so that columns stay those of `az` elsewhere.
    static let own: Set<String> = [
        "readOnly", "storageQuota", "inStepSince", "nextSyncWindow", "syncHistory", "bytesLeft", "bytesSent", "pendingChanges",
        "byteBudget", "syncPriorities", "onDemand", "serveAfterRemoval",
    ]

    static func of(_ value: JSONValue) -> JSONValue {
        switch value {
        case .array(let elements): return .array(elements.map(of))
        case .object(let members):
            var printed: [String: JSONValue] = [:]
            for (key, inner) in members {
                if own.contains(key), inner.isNull || inner == false || inner == [] { continue }
                printed[key] = printedMember(key, inner)
            }
            return .object(printed)
        default: return value
        }
    }

    private static func printedMember(_ key: String, _ value: JSONValue) -> JSONValue {
        guard case .string(let text) = value else { return of(value) }
        if times.contains(key) { return .string(time(text) ?? text) }
        if durations.contains(key), let duration = try? ISODuration(parsing: text) { return .string(self.duration(duration.seconds)) }
        return value
    }

    /// `2026-01-01T00:00:00.5Z` as `2026-01-01T00:00:00.500000+00:00`: microseconds, or none at all.
    static func time(_ text: String) -> String? {
        guard text.hasSuffix("Z"), text.utf8.count >= 20, UTCTime.isValid(text.prefix(19) + "Z") else { return nil }
        let fraction = text.dropFirst(19).dropLast()
        guard fraction.isEmpty || fraction.first == "." && fraction.dropFirst().allSatisfy(\.isNumber) else { return nil }
        let digits = String(fraction.dropFirst().prefix(6))
        let microseconds = digits + String(repeating: "0", count: 6 - digits.utf8.count)
        return "\(text.prefix(19))\(Int(microseconds) == 0 ? "" : ".\(microseconds)")+00:00"
    }

    /// Python's text of a `timedelta`.
    static func duration(_ seconds: Int) -> String {
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let days = seconds / 86_400
        let time = "\(seconds % 86_400 / 3600):\(two(seconds / 60 % 60)):\(two(seconds % 60))"
        return days == 0 ? time : "\(days) day\(days == 1 ? "" : "s"), \(time)"
    }
}
