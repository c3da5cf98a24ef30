// Small files that options name.

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

enum TextFile {
    /// What is in a file; nil when it cannot be read.
    static func read(_ path: String) -> String? {
        (try? Data(contentsOf: URL(filePath: path))).map { String(decoding: $0, as: UTF8.self) }
    }
}
