// The `Date` header: formatted once a second, however many answers carry it.

internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// Dates as HTTP writes them (RFC 9110, section 5.6.7).
package enum HTTPDate {
    /// Bytes of every date.
    package static let length = 29

    private static let current = Mutex((second: Int64.min, text: ""))

    /// The seconds since 1970 and their text, of now.
    package static func now() -> (second: Int64, text: String) {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let second = Int64(time.tv_sec)
        return self.current.withLock { current in
            if current.second != second { current = (second, self.text(second)) }
            return current
        }
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT`
    ///
    /// - Parameter second: since 1970, not before year 0 and not behind year 9999.
    package static func text(_ second: Int64) -> String {
        var seconds = time_t(second)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        let day = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][Int(parts.tm_wday)]
        let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][Int(parts.tm_mon)]
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let year = String(10_000 + Int(parts.tm_year) + 1900).dropFirst()
        return "\(day), \(two(parts.tm_mday)) \(month) \(year) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT"
    }
}
