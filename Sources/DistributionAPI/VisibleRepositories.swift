// Catalogs show what their reader may see.

internal import OCI

/// A page of repository names.
struct VisibleRepositories {
    let names: [String]
    /// Whether there is at least one more behind them.
    let hasMore: Bool

    /// Names read at a time where those that the caller may not see are many.
    private static let batch = 1000

    /// The first names that the caller may see.
    ///
    /// - Parameter read: gives at most so many names after one, in order.
    init(
        limit: Int, after last: String?, isVisible: (RepositoryName) -> Bool,
        read: (_ last: String?, _ limit: Int) async throws -> [RepositoryName]
    ) async throws {
        var (visible, last): ([String], String?) = ([], last)
        // Most callers see all of them: what fills the page is read first, and no more.
        var batch = min(limit + 1, Self.batch)
        while visible.count <= limit {
            let names = try await read(last, batch)
            visible += names.filter(isVisible).map(\.description)
            guard names.count == batch, let end = names.last else { break }
            last = end.description
            batch = Self.batch
        }
        self.names = Array(visible.prefix(limit))
        self.hasMore = visible.count > limit
    }
}
