// Which requests are answered on the loop of their connection, and that they are.

import HTTPTypes
import NIOPosix
import Testing

@testable import HTTPServing

@Suite struct LoopExecutorTests {
    private static let upload = "/v2/app/blobs/uploads/0"

    private static func isLarge(_ method: HTTPRequest.Method, _ path: String, _ fields: HTTPFields) -> Bool {
        HTTPRequest(method: method, scheme: "https", authority: "harbour.test", path: path, headerFields: fields).isLargeUpload
    }

    @Test("R1 only bodies of large uploads are read on the loop: nothing there computes for long")
    func largeUploads() {
        #expect(Self.isLarge(.put, Self.upload + "?digest=x", [.contentLength: "1048576"]))
        #expect(Self.isLarge(.patch, Self.upload, [.transferEncoding: "chunked"]))
        #expect(Self.isLarge(.post, "/v2/app/blobs/uploads/?digest=x", [.contentLength: "9000000000"]))
        #expect(!Self.isLarge(.put, Self.upload, [.contentLength: "1048575"]))
        #expect(!Self.isLarge(.put, Self.upload, [.contentLength: "many"]))
        #expect(!Self.isLarge(.put, Self.upload, [:]))
        #expect(!Self.isLarge(.get, Self.upload, [.contentLength: "1048576"]))
        #expect(!Self.isLarge(.put, "/v2/app/manifests/v1", [.contentLength: "4194304"]))
        #expect(!Self.isLarge(.put, "/subscriptions/1/resourceGroups/g", [.contentLength: "4194304"]))
    }

    @Test("R1 what prefers the executor runs on the loop, after each wait, too")
    func runsOnLoop() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        await withTaskExecutorPreference(LoopExecutor(loop)) {
            for _ in 0..<100 {
                #expect(loop.inEventLoop)
                await Task.yield()
                await withCheckedContinuation { continuation in NIOThreadPool.singleton.submit { _ in continuation.resume() } }
            }
        }
        #expect(!loop.inEventLoop)
    }
}
