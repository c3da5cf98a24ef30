// Amounts of storage on the command line.

import ArgumentParser
import JSON

/// A number of bytes, or no limit.
struct StorageQuota: ExpressibleByArgument {
    /// `nil` for no limit.
    let bytes: Int64?

    private static let units: [(suffix: String, factor: Int64)] = [
        ("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30), ("tib", 1 << 40), ("kb", 1000), ("mb", 1_000_000), ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000), ("b", 1), ("", 1),
    ]

    /// `none`, or a whole number with a unit: `500MiB`, `20GiB`, `1TB`, `1048576`.
    init?(argument: String) {
        let text = argument.lowercased()
        if text == "none" {
            self.bytes = nil
            return
        }
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int64(digits), let unit = Self.units.first(where: { $0.suffix == text.dropFirst(digits.count) }) else {
            return nil
        }
        let (bytes, isTooMuch) = number.multipliedReportingOverflow(by: unit.factor)
        guard !isTooMuch else { return nil }
        self.bytes = bytes
    }

    var json: JSONValue { self.bytes.map { .integer($0) } ?? .null }
}
