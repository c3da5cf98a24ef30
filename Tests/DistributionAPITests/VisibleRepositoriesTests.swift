import OCI
import Synchronization
import TestSupport
import Testing

@testable import DistributionAPI

/// Pages of the catalog, for callers who see all of it, some of it and nothing.
@Suite struct VisibleRepositoriesTests {
    private let all = (0..<2500).map { repository("r/\(String(10_000 + $0))") }

    private func page(
        _ limit: Int, after last: String?, of names: [RepositoryName], isVisible: (RepositoryName) -> Bool, reads: inout [Int]
    ) async throws -> VisibleRepositories {
        let counts = Mutex<[Int]>([])
        let page = try await VisibleRepositories(limit: limit, after: last, isVisible: isVisible) { last, limit in
            let part = Array(names.drop { $0.description <= last ?? "" }.prefix(limit))
            counts.withLock { $0.append(part.count) }
            return part
        }
        reads = counts.withLock { $0 }
        return page
    }

    @Test(
        "R2 pages that follow each other hold every name the caller may see, once and in order",
        arguments: [1, 2, 7, 999, 1000, 1001, 10_000])
    func pages(limit: Int) async throws {
        for step in [1, 2, 3, 1500, 5000] {
            let wanted = self.all.enumerated().filter { $0.offset % step == step - 1 }.map(\.element)
            // A thousand pages say no more than some.
            let names = limit < 7 ? Array(self.all.prefix(60 * step)) : self.all
            let expected = wanted.filter(Set(names).contains).map(\.description)
            let visible = Set(wanted)
            var (found, last): ([String], String?) = ([], nil)
            while true {
                var reads: [Int] = []
                let page = try await self.page(limit, after: last, of: names, isVisible: visible.contains, reads: &reads)
                found += page.names
                guard page.hasMore else { break }
                #expect(page.names.count == limit)
                last = page.names.last
            }
            #expect(found == expected)
        }
    }

    @Test("R3 a caller who sees everything costs no more names than fill the page")
    func cost() async throws {
        var reads: [Int] = []
        let page = try await self.page(100, after: "r/10499", of: self.all, isVisible: { _ in true }, reads: &reads)
        #expect(page.names.first == "r/10500")
        #expect(page.hasMore)
        #expect(reads == [101])
        let none = try await self.page(0, after: nil, of: self.all, isVisible: { _ in true }, reads: &reads)
        #expect(none.names.isEmpty)
    }
}
