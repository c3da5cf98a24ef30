// What both ends say of traffic before and while it is spent: budgets, what is below manifests, and the plan of the next synchronisation.

package import OCI

/// How many bytes of content a connected registry may receive in each stretch of UTC; absent for no limit.
package struct ByteBudget: Codable, Sendable, Hashable {
    package var hour: Int64?
    package var day: Int64?
    package var month: Int64?

    package init(hour: Int64? = nil, day: Int64? = nil, month: Int64? = nil) {
        self.hour = hour
        self.day = day
        self.month = month
    }

    package var isEmpty: Bool { self.hour == nil && self.day == nil && self.month == nil }
}

/// How much of a budget has been spent.
package struct BudgetUse: Codable, Sendable, Hashable {
    /// `hour`, `day` or `month`.
    package var period: String
    package var limit: Int64
    package var used: Int64
    /// When it is whole again; seconds since 1970, by the child's clock.
    package var renews: Int64

    package init(period: String, limit: Int64, used: Int64, renews: Int64) {
        self.period = period
        self.limit = limit
        self.used = used
        self.renews = renews
    }
}

/// `POST contents`: what is below manifests of one repository, without any of it.
package struct ContentsRequest: Codable, Sendable, Hashable {
    /// Manifests that one request may ask for.
    package static let maximumDigests = 50

    package var repository: RepositoryName
    package var digests: [Digest]

    package init(repository: RepositoryName, digests: [Digest]) {
        self.repository = repository
        self.digests = digests
    }
}

/// The manifests that were asked for and all below them, as far as the parent holds and gives them.
package struct ContentsResponse: Codable, Sendable, Hashable {
    package struct Blob: Codable, Sendable, Hashable {
        package var digest: Digest
        package var size: Int64

        package init(digest: Digest, size: Int64) {
            self.digest = digest
            self.size = size
        }
    }

    package struct Manifest: Codable, Sendable, Hashable {
        package var digest: Digest
        package var size: Int64
        /// Manifests it lists.
        package var manifests: [Digest]
        /// Blobs it needs.
        package var blobs: [Blob]

        package init(digest: Digest, size: Int64, manifests: [Digest], blobs: [Blob]) {
            self.digest = digest
            self.size = size
            self.manifests = manifests
            self.blobs = blobs
        }
    }

    package var manifests: [Manifest]
    /// How many of the digests asked for have been looked at; the rest is asked for again.
    package var covered: Int

    package init(manifests: [Manifest], covered: Int) {
        self.manifests = manifests
        self.covered = covered
    }
}

/// What the next synchronisation of a connected registry would move.
package struct SyncPlan: Codable, Sendable, Hashable {
    /// Images that are named; totals speak of all.
    package static let maximumImages = 200

    package struct Image: Codable, Sendable, Hashable {
        package var repository: RepositoryName
        package var digest: Digest
        package var tags: [Tag]
        /// Bytes of manifests and blobs that would come for it, after those of the images before it.
        package var bytes: Int64

        package init(repository: RepositoryName, digest: Digest, tags: [Tag], bytes: Int64) {
            self.repository = repository
            self.digest = digest
            self.tags = tags
            self.bytes = bytes
        }
    }

    /// The order that it answers.
    package var order: Int64
    /// Milliseconds since 1970, by the child's clock.
    package var computed: Int64
    package var bytes: Int64
    /// Images of which something has to move.
    package var imageCount: Int
    /// In the order in which they would be fetched.
    package var images: [Image]
    /// Bytes that would go up, at most: the parent may hold some of them under other names.
    package var bytesUp: Int64?
    package var budget: [BudgetUse]?
    /// Why there is no plan.
    package var problem: String?

    package init(
        order: Int64, computed: Int64, bytes: Int64 = 0, imageCount: Int = 0, images: [Image] = [], bytesUp: Int64? = nil,
        budget: [BudgetUse]? = nil, problem: String? = nil
    ) {
        self.order = order
        self.computed = computed
        self.bytes = bytes
        self.imageCount = imageCount
        self.images = images
        self.bytesUp = bytesUp
        self.budget = budget
        self.problem = problem
    }
}
