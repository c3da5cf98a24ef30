// A bug to order: a simulation that does not find it proves nothing.

/// What simulations break on purpose. A task local, so that nothing of a running server, neither setting nor environment, can reach it.
package enum Sabotage {
    /// Whether changes of tags that a connected registry proposes are made without comparing what stands.
    @TaskLocal package static var skipsComparison = false
}
