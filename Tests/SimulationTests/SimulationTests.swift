// Runs the simulator in a process of its own, whose sets and dictionaries have the same order each time.

import Foundation
import Subprocess
import Testing

#if canImport(System)
import System
#else
import SystemPackage
#endif

@Suite struct SimulationTests {
    /// The simulator, built beside this test bundle.
    private static let binary: FilePath = {
        let arguments = CommandLine.arguments
        let bundle =
            arguments.firstIndex(of: "--test-bundle-path").flatMap { arguments.dropFirst($0 + 1).first } ?? Bundle.main.executablePath
            ?? arguments[0]
        var folder = URL(filePath: bundle).deletingLastPathComponent()
        for _ in 0..<4 where !FileManager.default.isExecutableFile(atPath: folder.appending(path: "outport-simulate").path) {
            folder.deleteLastPathComponent()
        }
        return FilePath(folder.appending(path: "outport-simulate").path)
    }()

    /// - Returns: whether the run ended well, and what it said.
    private func simulate(_ settings: [String: String]) async throws -> (isGood: Bool, output: String) {
        var environment: [Environment.Key: String?] = [:]
        for (key, value) in settings { environment[Environment.Key(stringLiteral: key)] = value }
        let result = try await run(
            .path(Self.binary), environment: .inherit.updating(environment), output: .string(limit: 4 << 20), error: .string(limit: 1 << 20)
        )
        return (result.terminationStatus.isSuccess, result.standardOutput)
    }

    @Test(
        "B7 families under random faults come to agree, lose nothing, show nothing half and keep their budgets",
        arguments: [1, 76])
    func families(first: Int) async throws {
        let result = try await self.simulate(["SEED": "\(first)", "SEEDS": "75"])
        #expect(result.isGood, "\(result.output.suffix(4000))")
    }

    @Test("B7 the same seed is the same run to the bit, in another process, too")
    func replay() async throws {
        func hashes() async throws -> [Substring] {
            try await self.simulate(["SEED": "4711", "SEEDS": "5"]).output.split(separator: "\n").filter { $0.contains(" hash ") }
        }
        let first = try await hashes()
        #expect(first.count == 5)
        #expect(try await hashes() == first)
    }

    @Test("B7 a comparison that is skipped is found within 200 seeds")
    func sabotage() async throws {
        let result = try await self.simulate(["SEED": "1", "SEEDS": "200", "SABOTAGE": "1"])
        #expect(result.isGood, "\(result.output.suffix(4000))")
    }
}
