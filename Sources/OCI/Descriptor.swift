// Content descriptors (OCI image specification, "Content Descriptors").

/// A pointer to content: type, digest and size.
package struct Descriptor: Hashable, Sendable, Codable {
    package var mediaType: MediaType
    package var digest: Digest
    /// Bytes.
    package var size: Int64
    package var artifactType: String?
    package var annotations: [String: String]?
    package var urls: [String]?
    package var platform: Platform?

    /// The platform an entry of an index is meant for.
    package struct Platform: Hashable, Sendable, Codable {
        package var architecture: String
        package var os: String
        package var variant: String?

        package init(architecture: String, os: String, variant: String? = nil) {
            self.architecture = architecture
            self.os = os
            self.variant = variant
        }
    }

    package init(
        mediaType: MediaType, digest: Digest, size: Int64, artifactType: String? = nil, annotations: [String: String]? = nil,
        platform: Platform? = nil
    ) {
        self.mediaType = mediaType
        self.digest = digest
        self.size = size
        self.artifactType = artifactType
        self.annotations = annotations
        self.platform = platform
    }
}

extension Sequence<Descriptor> {
    /// Bytes of all together; `nil` where they are more than 64 bits hold. Sizes come from outside: adding them up must not trap.
    package var totalSize: Int64? {
        var total: Int64 = 0
        for descriptor in self {
            let (sum, overflows) = total.addingReportingOverflow(descriptor.size)
            guard !overflows else { return nil }
            total = sum
        }
        return total
    }
}
