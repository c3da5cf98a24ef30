// Puts the public compliance suite (https://github.com/jmespath/jmespath.test) to the implementation. The suite is not part
// of this repository: it is read from `../shared/jmespath` beside it, and where that is absent the test says so and passes.

import Foundation
import JSON
import Testing

@testable import JMESPath

@Suite struct ComplianceTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appending(path: "shared/jmespath")

    @Test("A4 JMESPath passes every case of the public compliance suite")
    func compliance() throws {
        let files = ((try? FileManager.default.contentsOfDirectory(at: Self.folder, includingPropertiesForKeys: nil)) ?? [])
            .filter { $0.pathExtension == "json" }
        guard !files.isEmpty else {
            print("JMESPath compliance suite not found beside the repository (\(Self.folder.lastPathComponent)); skipped")
            return
        }
        var cases = 0
        for file in files.sorted(by: { $0.path < $1.path }) {
            let suites = try JSONValue(parsing: Data(contentsOf: file)).arrayValue ?? []
            for suite in suites {
                for testCase in suite["cases"]?.arrayValue ?? [] {
                    cases += 1
                    check(testCase, given: suite["given"] ?? .null, file.lastPathComponent)
                }
            }
        }
        #expect(cases >= 908)
        print("JMESPath compliance suite: \(cases) cases in \(files.count) files")
    }

    private func check(_ testCase: JSONValue, given: JSONValue, _ file: String) {
        let text = testCase["expression"]?.stringValue ?? ""
        let outcome = Result { try Expression(parsing: text).search(given) }
        if let code = testCase["error"]?.stringValue {
            guard case .failure(let error as JMESPathError) = outcome else {
                Issue.record("\(file): \(text) gave \(outcome) instead of \(code)")
                return
            }
            #expect(error.code.rawValue == code, "\(file): \(text): \(error)")
        } else if let expected = testCase["result"] {
            switch outcome {
            case .success(let value): #expect(value == expected, "\(file): \(text)")
            case .failure(let error): Issue.record("\(file): \(text): \(error)")
            }
        } else if case .failure(let error) = outcome {
            Issue.record("\(file): \(text): \(error)")
        }
    }
}
