// A server starts once and then runs for months: what only the start has used need not stay resident.

internal import COutport

/// Memory of the start of the process.
enum StartupMemory {
    private static let givenBack: Void = outport_give_back_startup()

    /// Gives it back, the first time it is called.
    static func giveBack() { self.givenBack }
}
