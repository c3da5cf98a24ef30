// The help of every command: what it is for, and an example that the command line itself takes.

import ArgumentParser
import Foundation
import Testing

@testable import outport

@Suite struct HelpTests {
    /// Every command with its words, the hidden ones too.
    private func leaves(_ command: any ParsableCommand.Type, _ words: [String]) -> [(words: [String], command: any ParsableCommand.Type)] {
        let children = command.configuration.subcommands
        if children.isEmpty { return [(words, command)] }
        return children.flatMap { self.leaves($0, words + [$0._commandName]) }
    }

    /// The words of an example, as a shell would take it apart.
    private func split(_ text: String) -> [String] {
        var words: [String] = []
        var word: String?
        var quote: Character?
        for character in text {
            switch character {
            case _ where character == quote: quote = nil
            case "'" where quote == nil, "\"" where quote == nil:
                quote = character
                word = word ?? ""
            case " " where quote == nil:
                if let word { words.append(word) }
                word = nil
            default: word = (word ?? "") + String(character)
            }
        }
        return words + (word.map { [$0] } ?? [])
    }

    @Test("A4 every command has an abstract and an example, and the example is a command line that is understood")
    func examples() throws {
        let commands = self.leaves(Outport.self, [])
        #expect(commands.count > 150)
        for (words, command) in commands {
            let configuration = command.configuration
            #expect(!configuration.abstract.isEmpty, "\(words)")
            let examples = Self.examples(in: configuration.discussion)
            if examples.isEmpty { Issue.record("outport \(words.joined(separator: " ")) has no example") }
            for text in examples { self.check(text, words, command) }
        }
    }

    /// The command lines of a help text: behind "Example:", or the lines below "Examples:"; one that ends in a backslash goes on.
    private static func examples(in text: String) -> [String] {
        var lines: [String] = []
        var isContinued = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            let trimmed = line.trimmingCharacters(in: .whitespaces)
            let body = trimmed.hasPrefix("Example: ") ? String(trimmed.dropFirst(9)) : trimmed
            if isContinued {
                lines[lines.count - 1] += " " + body
            } else if trimmed.hasPrefix("Example: ") || trimmed.hasPrefix("outport ") {
                lines.append(body)
            } else {
                continue
            }
            isContinued = body.hasSuffix("\\")
            if isContinued { lines[lines.count - 1].removeLast() }
        }
        return lines
    }

    private func check(_ text: String, _ words: [String], _ command: any ParsableCommand.Type) {
        // What the shell does with the result is not the command's, nor what it puts in place of another command.
        let parts = self.split(text.replacing(#/\$\(.*?\)/#, with: "VALUE"))
        let example = Array(parts.prefix { !["|", ">", "&&"].contains($0) })
        #expect(example.first == "outport", "\(words): \(text)")
        #expect(Array(example.dropFirst().prefix(words.count)) == words, "\(words): \(text)")
        do {
            let parsed = try Outport.parseAsRoot(Array(example.dropFirst()))
            #expect(type(of: parsed) == command, "\(text)")
        } catch {
            Issue.record("'\(text)' is not understood: \(Outport.fullMessage(for: error))")
        }
    }
}
