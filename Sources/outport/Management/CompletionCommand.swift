// `outport completion`: what a shell needs to complete commands and options.

internal import ArgumentParser

/// Prints a script for a shell.
struct CompletionCommand: ParsableCommand {
    /// A shell whose scripts are known.
    enum Shell: String, ExpressibleByArgument, CaseIterable {
        case bash, zsh, fish
    }

    static let configuration = CommandConfiguration(
        commandName: "completion", abstract: "Print a script with which a shell completes commands and options.",
        discussion: """
            For bash it goes into /etc/bash_completion.d, for zsh into a folder of $fpath as _outport, for fish into
            ~/.config/fish/completions as outport.fish.

            Example: outport completion bash > /etc/bash_completion.d/outport
            """)

    @Argument(help: "The shell: bash, zsh or fish.")
    var shell: Shell

    func run() throws {
        let known: CompletionShell =
            switch self.shell {
            case .bash: .bash
            case .zsh: .zsh
            case .fish: .fish
            }
        printResult(Outport.completionScript(for: known))
    }
}
