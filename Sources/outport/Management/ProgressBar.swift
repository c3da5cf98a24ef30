// How far something is that takes its time: one line on a terminal, nothing elsewhere.

import JSON

struct ProgressBar {
    private static let width = 30

    let console: any Console

    /// - Parameter progress: with `bytes` and `totalBytes`.
    func show(_ progress: JSONValue) {
        guard let done = progress["bytes"]?.intValue, let total = progress["totalBytes"]?.intValue else {
            console.transient("looking at what is to be imported …")
            return
        }
        console.transient(Self.line(done: done, total: total))
    }

    func end() { console.transient("") }

    static func line(done: Int, total: Int) -> String {
        let share = total == 0 ? 1 : min(1, max(0, Double(done) / Double(total)))
        let full = Int(share * Double(width))
        let bar = String(repeating: "#", count: full) + String(repeating: ".", count: width - full)
        return "[\(bar)] \(Int(share * 100)) %, \(size(done)) of \(size(total))"
    }

    private static func size(_ bytes: Int) -> String {
        var (value, unit) = (Double(max(0, bytes)), 0)
        while value >= 1024, unit < 4 { (value, unit) = (value / 1024, unit + 1) }
        let names = ["B", "KiB", "MiB", "GiB", "TiB"]
        return unit == 0 ? "\(bytes) B" : "\((value * 10).rounded() / 10) \(names[unit])"
    }
}
