// Where the bodies of large uploads are read: on the loop of their connection.

internal import HTTPTypes
internal import NIOCore

/// Runs jobs on an event loop.
///
/// A body that is read on the thread on which it arrives wakes no other for each part of it (decision 0019). What runs here must not block,
/// and must not compute for long: it holds up all connections of the loop.
final class LoopExecutor: TaskExecutor {
    private let loop: any EventLoop

    init(_ loop: any EventLoop) { self.loop = loop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        self.loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}

extension HTTPRequest {
    /// Bytes of a body from which on reading it on the loop is worth it; a body of unknown length is.
    private static let largeUpload: Int64 = 1 << 20

    /// Whether the request brings content of a large blob. Its parts are only handed on, whatever they are.
    var isLargeUpload: Bool {
        guard self.method == .patch || self.method == .put || self.method == .post else { return false }
        let isLarge =
            if let length = self.headerFields[.contentLength] {
                Int64(length).map { $0 >= Self.largeUpload } ?? false
            } else {
                self.headerFields[.transferEncoding] != nil
            }
        // The path last: most bodies are small.
        return isLarge && self.path?.contains("/blobs/uploads/") == true
    }
}
