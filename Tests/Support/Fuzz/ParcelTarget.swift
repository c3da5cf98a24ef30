// The door at which many small things come in at once.

internal import GatewayProtocol

extension FuzzTarget {
    /// Parcels: read alike however they are cut into parts, and never more than was asked for.
    static let parcels = FuzzTarget("parcels") { bytes in
        func read(_ parts: [ArraySlice<UInt8>]) -> [ParcelParser.Event]? {
            var parser = ParcelParser(count: 40)
            var events: [ParcelParser.Event] = []
            for part in parts {
                guard let some = try? parser.feed(part) else { return nil }
                events += some
            }
            return events
        }
        let whole = read([bytes[...]])
        guard read([bytes.prefix(bytes.count / 3), bytes.dropFirst(bytes.count / 3)]) == whole else {
            return "it reads otherwise in two parts"
        }
        guard read(bytes.indices.map { bytes[$0...$0] }) == whole else { return "it reads otherwise byte by byte" }
        var last = -1
        for event in whole ?? [] {
            guard case .item(let item) = event else { continue }
            guard item.number > last, item.number < 40, item.bytes.count == item.size else {
                return "thing \(item.number) is none that was asked for"
            }
            last = item.number
        }
        return nil
    }
}
