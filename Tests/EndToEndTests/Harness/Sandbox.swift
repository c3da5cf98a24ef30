// A test's own corner of the machine: a folder, ports and processes that all go away with it.

import Foundation
import Subprocess
import Synchronization
import Testing

/// Outlives the tests by half a second: where they are killed, it ends what they have started and removes their folders.
enum Sentinel {
    /// The folder of all sandboxes of this run.
    static let root: String = {
        var template = Array((FileManager.default.temporaryDirectory.path + "/outport-e2e.XXXXXX").utf8CString)
        guard let made = mkdtemp(&template) else { fatalError("no temporary folder") }
        let root = String(cString: made)
        try? FileManager.default.createDirectory(atPath: root + "/pids", withIntermediateDirectories: true)
        let script = """
            trap '' INT HUP TERM
            while kill -0 "$1" 2>/dev/null; do sleep 0.5; done
            for file in "$2"/pids/*; do [ -e "$file" ] && kill -s KILL -- "-${file##*/}" 2>/dev/null; done
            rm -rf "$2"
            """
        var options = PlatformOptions()
        options.createSession = true
        Task { [options] in
            try await run(
                .name("sh"), arguments: ["-c", script, "sentinel", "\(getpid())", root], platformOptions: options, output: .discarded,
                error: .discarded)
        }
        return root
    }()

    static func watch(_ pid: pid_t) { _ = FileManager.default.createFile(atPath: "\(self.root)/pids/\(pid)", contents: nil) }
    static func forget(_ pid: pid_t) { try? FileManager.default.removeItem(atPath: "\(self.root)/pids/\(pid)") }
}

/// Lets a few tests run at a time, and a demanding one alone: the machine is small and some tests measure time.
actor Gate {
    static let shared = Gate(permits: 3)

    private let permits: Int
    private var free: Int
    private var waiting: [(wanted: Int, continuation: CheckedContinuation<Void, Never>)] = []

    init(permits: Int) {
        self.permits = permits
        self.free = permits
    }

    func enter(alone: Bool) async -> Int {
        let wanted = alone ? self.permits : 1
        if self.free >= wanted {
            self.free -= wanted
        } else {
            await withCheckedContinuation { self.waiting.append((wanted, $0)) }
        }
        return wanted
    }

    func leave(_ permits: Int) {
        self.free += permits
        // Who wants to be alone lets the others pass: it would keep two places empty beside a test of many minutes.
        while let index = self.waiting.firstIndex(where: { $0.wanted <= self.free }) {
            let next = self.waiting.remove(at: index)
            self.free -= next.wanted
            next.continuation.resume()
        }
    }
}

/// What a test may use up; ``withSandbox(alone:_:)`` cleans it.
final class Sandbox: Sendable {
    private struct State {
        var count = 0
        var cleanups: [@Sendable () async -> Void] = []
    }

    let folder: String
    private let state = Mutex(State())

    fileprivate init() throws {
        self.folder = "\(Sentinel.root)/\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: self.folder, withIntermediateDirectories: true)
    }

    /// A path in the sandbox that nothing has.
    func path(_ name: String) -> String {
        let number = self.state.withLock { state -> Int in
            state.count += 1
            return state.count
        }
        return "\(self.folder)/\(number)-\(name)"
    }

    func newFolder(_ name: String) throws -> String {
        let path = self.path(name)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }

    func file(_ name: String, _ content: String) throws -> String {
        let path = self.path(name)
        try Data(content.utf8).write(to: URL(filePath: path))
        return path
    }

    /// Runs at the end, last one first.
    func atEnd(_ cleanup: @escaping @Sendable () async -> Void) { self.state.withLock { $0.cleanups.append(cleanup) } }

    fileprivate func clean() async {
        while let cleanup = self.state.withLock({ $0.cleanups.popLast() }) { await cleanup() }
        try? FileManager.default.removeItem(atPath: self.folder)
    }
}

/// Runs a test in a sandbox.
///
/// - Parameter alone: no other test of this target runs at the time.
func withSandbox<Value>(alone: Bool = false, _ body: (Sandbox) async throws -> Value) async throws -> Value {
    // Who is inside needs no second permit: waiting for one while holding another would in the end stop everybody.
    guard !Admission.isHeld else { return try await withOwnFiles(body) }
    let permits = await Gate.shared.enter(alone: alone)
    let result: Result<Value, any Error>
    do {
        result = .success(try await Admission.$isHeld.withValue(true) { try await withOwnFiles(body) })
    } catch { result = .failure(error) }
    await Gate.shared.leave(permits)
    return try result.get()
}

/// Whether the current test has been let in.
private enum Admission {
    @TaskLocal static var isHeld = false
}

/// Runs a test with files and processes of its own, past the gate.
func withOwnFiles<Value>(_ body: (Sandbox) async throws -> Value) async throws -> Value {
    let sandbox = try Sandbox()
    let begun = ContinuousClock.now
    let result: Result<Value, any Error>
    do { result = .success(try await body(sandbox)) } catch { result = .failure(error) }
    await sandbox.clean()
    // The time that Swift Testing prints contains the wait at the gate.
    if ProcessInfo.processInfo.environment["OUTPORT_E2E_TIMES"] != nil {
        print("own time \(ContinuousClock.now - begun): \(Test.current?.displayName ?? "-")")
    }
    return try result.get()
}

/// Ports for servers.
enum Ports {
    private static let given = Mutex<Set<UInt16>>([])

    /// A free port, below those that the kernel gives to outgoing connections: a stopped server finds it free again.
    static func free() throws -> Int {
        for _ in 0..<1000 {
            let port = UInt16.random(in: 12_000..<32_000)
            guard self.given.withLock({ $0.insert(port).inserted }), self.isFree(port) else { continue }
            return Int(port)
        }
        throw HarnessError("no port is free")
    }

    private static func isFree(_ port: UInt16) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
