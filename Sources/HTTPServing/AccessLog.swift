// The request log: one line a request, gathered and written off the event loops, so that logging costs neither a system
// call nor a lock held for long.

internal import Logging
package import NIOCore
package import NIOPosix
internal import Persistence
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// Writes the request log to standard error.
///
/// Lines appear within a tenth of a second; a process that is killed loses the last of them, which is why nothing but
/// requests is logged this way.
package final class AccessLog: Sendable {
    /// Lines beyond this many bytes that wait to be written are dropped and counted: a reader that stands still stops no request.
    private static let limit = 4 << 20

    private struct State {
        var lines: [UInt8] = []
        var dropped = 0
        var isScheduled = false
        /// The text of the current second, made once.
        var second: Int64 = 0
        var time = ""
    }

    private let state = Mutex(State())
    private let pool: NIOThreadPool
    private let loop: any EventLoop

    package init(pool: NIOThreadPool, loop: any EventLoop) {
        self.pool = pool
        self.loop = loop
    }

    /// Adds a line.
    func add(method: String, path: String, status: Int, bytes: Int64, microseconds: Int64, from address: String, id: String?) {
        let now = WallClock.system.milliseconds()
        let mustSchedule = self.state.withLock { state -> Bool in
            guard state.lines.count < Self.limit else {
                state.dropped += 1
                return false
            }
            if now / 1000 != state.second {
                state.second = now / 1000
                state.time = String(Timestamp.text(seconds: state.second).prefix(19))
            }
            let fraction = UInt8(ascii: "0")
            let milliseconds = now % 1000
            state.lines += state.time.utf8
            state.lines += [
                UInt8(ascii: "."), fraction + UInt8(milliseconds / 100), fraction + UInt8(milliseconds / 10 % 10),
                fraction + UInt8(milliseconds % 10),
            ]
            state.lines += "Z info request: method=".utf8
            state.lines += method.utf8
            state.lines += " path=".utf8
            Self.append(path, to: &state.lines)
            state.lines += " status=".utf8
            Self.append(Int64(status), to: &state.lines)
            state.lines += " bytes=".utf8
            Self.append(bytes, to: &state.lines)
            state.lines += " us=".utf8
            Self.append(microseconds, to: &state.lines)
            state.lines += " from=".utf8
            state.lines += address.utf8
            if let id {
                state.lines += " id=".utf8
                state.lines += id.utf8
            }
            state.lines.append(UInt8(ascii: "\n"))
            defer { state.isScheduled = true }
            return !state.isScheduled
        }
        if mustSchedule { self.schedule() }
    }

    private func schedule() {
        self.loop.scheduleTask(in: .milliseconds(50)) { self.pool.submit { _ in self.flush() } }
    }

    /// Writes what has been gathered.
    package func flush() {
        let (lines, dropped) = self.state.withLock { state -> ([UInt8], Int) in
            defer {
                state.lines.removeAll(keepingCapacity: state.lines.capacity <= 1 << 20)
                state.dropped = 0
            }
            return (state.lines, state.dropped)
        }
        Self.write(lines)
        // Only now may the next flush be scheduled: while standard error takes nothing, one thread waits for it and no more.
        let mustSchedule = self.state.withLock { state in
            state.isScheduled = !state.lines.isEmpty
            return state.isScheduled
        }
        if mustSchedule { self.schedule() }
        if dropped > 0 {
            Self.write(Array("warning: \(dropped) lines of the request log were dropped; standard error is read too slowly\n".utf8))
        }
    }

    /// A number that is not negative, without a string in between.
    private static func append(_ number: Int64, to lines: inout [UInt8]) {
        let start = lines.count
        var rest = max(0, number)
        repeat {
            lines.append(UInt8(ascii: "0") + UInt8(rest % 10))
            rest /= 10
        } while rest > 0
        lines[start...].reverse()
    }

    /// A path as sent by a client: control characters and blanks could forge a line.
    private static func append(_ path: String, to lines: inout [UInt8]) {
        var path = path
        path.withUTF8 { bytes in
            let part = bytes.prefix(1024)
            if part.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) {
                lines.append(contentsOf: part)
            } else {
                lines.append(contentsOf: part.map { $0 > 0x20 && $0 < 0x7f ? $0 : UInt8(ascii: "?") })
            }
        }
    }

    private static func write(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { buffer in
            var done = 0
            while done < buffer.count {
                let written = systemWrite(2, buffer.baseAddress.map { $0 + done }, buffer.count - done)
                if written <= 0 {
                    if errno == EINTR { continue }
                    return
                }
                done += written
            }
        }
    }
}

/// `write(2)` under a name that the method above does not hide.
private func systemWrite(_ descriptor: CInt, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int { write(descriptor, bytes, count) }
