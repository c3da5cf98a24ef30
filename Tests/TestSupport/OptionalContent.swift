// Images that name blobs which may be in their registry and need not.

package import OCI

/// A Windows image with foreign layers, and a build cache, in one repository: some of what they name has been pushed, some has not.
package struct OptionalContent: Sendable {
    /// A foreign layer that is pushed.
    package let foreign = Content(Array("windows, pushed".utf8), .foreignLayer)
    /// One that is only named.
    package let absent = Content(Array("windows, elsewhere".utf8), .foreignLayer)
    /// What the build cache lists, which is no manifest.
    package let cached = [
        Fixture.layer("cached"), Content(Array("{\"layers\":[]}".utf8), .test("application/vnd.buildkit.cacheconfig.v0")),
    ]
    package let image: TestImage
    package let cache: Content

    /// - Parameter unowned: what the build cache names besides, without having it.
    package init(unowned: [Content] = []) {
        self.image = TestImage("windows", layers: [Fixture.layer("own"), self.foreign, self.absent])
        self.cache = Fixture.index((self.cached + unowned).map(\.descriptor))
    }

    /// Blobs that are pushed.
    package var pushed: [Content] { [self.image.config, self.image.layers[0], self.foreign] + self.cached }

    package func push(to site: Site, _ name: RepositoryName) async throws {
        for blob in self.pushed { try await site.push(blob, to: name) }
        try await site.put(self.image.manifest, tags: [tag("windows")], to: name)
        try await site.put(self.cache, tags: [tag("cache")], to: name)
    }

    /// Those of the contents that a repository has, byte for byte.
    package static func held(_ contents: [Content], by site: Site, _ name: RepositoryName) async throws -> [Content] {
        var held: [Content] = []
        for content in contents {
            guard let blob = try? await site.store.blob(content.digest, in: name, of: site.registry) else { continue }
            let bytes = try await site.store.open(blob).read(at: 0, count: content.bytes.count)
            if Array(bytes.readableBytesView) == content.bytes { held.append(content) }
        }
        return held
    }
}
