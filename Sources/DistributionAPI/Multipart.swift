// Several ranges in one answer: `multipart/byteranges` (RFC 9110, section 14.6).

internal import HTTPServing
internal import NIOCore
internal import OCI

/// The form of an answer with several ranges.
struct Multipart {
    let contentType: String
    let pieces: [ServerResponse.Piece]

    /// - Parameter size: bytes of the whole.
    init(_ ranges: [Range<Int64>], size: Int64) {
        // 128 bits that nobody chose are in no content by accident.
        let (high, low) = (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max))
        let boundary = ASCII.hex(withUnsafeBytes(of: (high, low)) { Array($0) })
        self.contentType = "multipart/byteranges; boundary=\(boundary)"
        var pieces: [ServerResponse.Piece] = []
        for (index, range) in ranges.enumerated() {
            let head =
                "\(index == 0 ? "" : "\r\n")--\(boundary)\r\nContent-Type: application/octet-stream\r\n"
                + "Content-Range: bytes \(range.lowerBound)-\(range.upperBound - 1)/\(size)\r\n\r\n"
            pieces += [.bytes(ByteBuffer(string: head)), .range(range)]
        }
        self.pieces = pieces + [.bytes(ByteBuffer(string: "\r\n--\(boundary)--\r\n"))]
    }
}
