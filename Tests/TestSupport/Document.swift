// Documents of the repository, as tests compare them with the code.

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A text file of the repository.
package struct Document: Sendable {
    package let text: String

    /// - Parameter path: from the repository's folder.
    package init(_ path: String) throws {
        let parts = #filePath.split(separator: "/").dropLast(3)
        self.text = try String(contentsOfFile: "/\(parts.joined(separator: "/"))/\(path)", encoding: .utf8)
    }

    /// The cells of all rows below a heading that begins so, without the tables' heads.
    package func rows(below heading: String) -> [[String]] {
        var isBelow = false
        var rows: [[String]] = []
        for line in self.text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("## ") { isBelow = line.dropFirst(3).hasPrefix(heading) }
            guard isBelow, line.hasPrefix("|"), line.hasSuffix("|") else { continue }
            rows.append(line.dropFirst().dropLast().split(separator: "|", omittingEmptySubsequences: false).map(Self.trimmed))
        }
        // The first two lines of a table are its head.
        return Array(rows.dropFirst(2))
    }

    private static func trimmed(_ text: Substring) -> String {
        String(String(text.drop { $0 == " " }).reversed().drop { $0 == " " }.reversed())
    }

    /// The value of a constant of this source file: a number, a shift of one, a time.
    package func constant(_ name: String) -> Int? {
        let halves = self.text.split(separator: "\n").lazy.map { $0.split(separator: "=", maxSplits: 1) }
        let found = halves.first { halves in
            let words = halves[0].split { $0 == " " || $0 == ":" }
            return halves.count == 2 && words.contains("static")
                && words.firstIndex(of: "let").map { words.dropFirst($0 + 1).first == name[...] } == true
        }
        guard let expression = found?[1] else { return nil }
        let numbers = expression.split { !$0.isNumber && $0 != "_" }.compactMap { Int($0.filter(\.isNumber)) }
        guard let first = numbers.first else { return nil }
        return expression.contains("<<") && numbers.count == 2 ? first << numbers[1] : first
    }
}
