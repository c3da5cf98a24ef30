// A heartbeat that speaks for a whole tree must not become larger than its parent takes: nothing would be heard of the tree any more.

internal import GatewayProtocol

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

extension StatusReport {
    /// The same in so many bytes at most: what is told of those below is made shorter, that which is longest first.
    ///
    /// Plans wait for another heartbeat, details are left out, and what does not fit even so is not told at all.
    func fitting(_ limit: Int) throws -> StatusReport {
        guard let descendants = self.descendants else { return self }
        let encoder = JSONEncoder()
        guard try encoder.encode(self).count > limit else { return self }
        var copy = self
        copy.descendants = []
        var left = try limit - encoder.encode(copy).count
        let sizes = try descendants.map { try encoder.encode($0).count }
        var kept: [Int: DescendantStatus] = [:]
        for index in descendants.indices.sorted(by: { sizes[$0] < sizes[$1] }) {
            for candidate in descendants[index].shorterAndShorter {
                // With the comma.
                let size = try encoder.encode(candidate).count + 1
                guard size <= left else { continue }
                kept[index] = candidate
                left -= size
                break
            }
        }
        copy.descendants = descendants.indices.compactMap { kept[$0] }
        return copy
    }
}

extension DescendantStatus {
    fileprivate var shorterAndShorter: [DescendantStatus] {
        var withoutPlan = self
        withoutPlan.status?.plan = nil
        var bare = withoutPlan
        bare.status?.details = []
        return [self, withoutPlan, bare]
    }
}
