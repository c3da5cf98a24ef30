// Where content is in a parcel, for links of tests that count it. Reads the format for itself: a mistake that the product makes at both ends
// is not made here as well.

internal import GatewayProtocol
package import OCI

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// The places of blobs and manifests in an answer to `POST parcel`.
package struct ParcelMap: Sendable {
    /// A blob, and where its bytes are.
    package struct Blob: Sendable {
        package let digest: Digest
        package let range: Range<Int>
    }

    package private(set) var blobs: [Blob] = []
    package private(set) var manifests: [Range<Int>] = []

    /// - Parameter request: the body that was sent.
    package init(answer: [UInt8], to request: [UInt8]) {
        let items = (try? JSONDecoder().decode(ParcelRequest.self, from: Data(request)))?.items ?? []
        var place = 0
        while place < answer.count, let end = answer[place...].firstIndex(of: UInt8(ascii: "\n")) {
            let words = String(decoding: answer[place..<end], as: UTF8.self).split(separator: " ")
            place = end + 1
            guard words.first != "end", words.count >= 2, let number = Int(words[0]), let size = Int(words[1]),
                items.indices.contains(number)
            else { return }
            let range = place..<place + size
            if items[number].isManifest {
                self.manifests.append(range)
            } else {
                self.blobs.append(Blob(digest: items[number].digest, range: range))
            }
            place += size
        }
    }
}
