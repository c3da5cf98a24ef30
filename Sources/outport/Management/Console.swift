// The terminal of a command, which tests replace.

import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Where a command writes results and warnings and asks questions.
protocol Console: Sendable {
    /// Whether a person can answer questions.
    var isInteractive: Bool { get }
    /// Whether results go to a terminal, which can show colours.
    var showsColor: Bool { get }
    /// Writes a result, as it is.
    func write(_ text: String)
    /// Writes a line for people, beside the result.
    func note(_ text: String)
    /// Writes over the last such line; an empty text takes it away. Only where a person looks.
    func transient(_ text: String)
    /// Asks and waits for a line; nil when there will be none.
    func ask(_ question: String) -> String?
    /// The same for what should not be seen while it is typed.
    func askSecret(_ question: String) -> String?
}

extension Console {
    func transient(_ text: String) {}
    func askSecret(_ question: String) -> String? { ask(question) }
}

/// Standard input, output and error.
struct StandardConsole: Console {
    var isInteractive: Bool { isatty(0) == 1 && isatty(2) == 1 }
    var showsColor: Bool { isatty(1) == 1 }

    /// Whether a result could not be written: the command has failed then, whatever it has done.
    static let hasLostResult = Atomic(false)

    func write(_ text: String) {
        guard let failure = Self.write(text, to: 1), failure != EPIPE else { return }
        Self.hasLostResult.store(true, ordering: .relaxed)
        self.note("ERROR: the result could not be written: \(String(cString: strerror(failure))). What the command was to do is done.")
    }

    func note(_ text: String) { self.beside(text + "\n") }

    func transient(_ text: String) {
        if isatty(2) == 1 { self.beside("\r\u{1b}[K" + text) }
    }

    /// Writes a line that nothing depends on.
    func tell(_ text: String) { _ = Self.write(text + "\n", to: 1) }

    private func beside(_ text: String) { _ = Self.write(text, to: 2) }

    func ask(_ question: String) -> String? {
        self.beside(question)
        return readLine()
    }

    func askSecret(_ question: String) -> String? {
        guard let typed = getpass(question) else { return nil }
        return String(cString: typed)
    }

    /// Writes all of a text to a descriptor. When its reader has gone there is nobody to tell.
    ///
    /// - Returns: why it could not be written; `nil` when it was.
    private static func write(_ text: String, to descriptor: Int32) -> Int32? {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { systemWrite(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                return errno
            }
            bytes = bytes.dropFirst(count)
        }
        return nil
    }

    private static func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
        #if canImport(Glibc)
        Glibc.write(descriptor, bytes, count)
        #elseif canImport(Musl)
        Musl.write(descriptor, bytes, count)
        #else
        Darwin.write(descriptor, bytes, count)
        #endif
    }
}
