// The command `outport` and the list of its verbs.

internal import ArgumentParser
internal import COutport
internal import NIOCore

/// Runs and manages registries.
@main
struct Outport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "outport", abstract: "A container registry with connected registries at the edge.", version: outportVersion,
        subcommands: [
            ServeCommand.self, ConnectCommand.self, BootstrapCommand.self, GarbageCommand.self, VerifyCommand.self, RestoredCommand.self,
            LoginCommand.self, LogoutCommand.self, AccountCommand.self,
            GroupCommand.self, ProviderCommand.self, ResourceCommand.self, RestCommand.self, ACRCommand.self, ADCommand.self,
            RoleCommand.self, IdentityCommand.self, AKSCommand.self,
            ConnectedClusterCommand.self, ClusterExtensionCommand.self, AgentCommand.self, KubernetesCommand.self,
            NodeCommand.self, CredentialProviderCommand.self, CheckCommand.self, ImageCommand.self,
            CompletionCommand.self,
        ])

    /// Exit codes are those of `az`: 2 for words that make no command, 3 for what is not there.
    static func main() async {
        outport_tune_allocator()
        // One loop for each core that is ours. Two loops on one core take turns of milliseconds, and every client of the other one waits.
        NIOSingletons.groupLoopCountSuggestion = min(System.coreCount, Int(outport_usable_cores()))
        await CommandLineRunner.run(Outport.self)
    }
}
