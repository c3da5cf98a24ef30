// Image locks: what may be done with a repository, a tag or a manifest beyond what its users may do.

package import OCI

/// The four attributes that `az acr repository update` switches; a lock is an attribute that is off.
package struct ImageLocks: OptionSet, Sendable, Hashable {
    package let rawValue: Int64

    package init(rawValue: Int64) { self.rawValue = rawValue }

    /// `deleteEnabled` is off.
    package static let delete = ImageLocks(rawValue: 1)
    /// `writeEnabled` is off: nothing is overwritten or deleted.
    package static let write = ImageLocks(rawValue: 2)
    /// `listEnabled` is off: lists pass it over.
    package static let list = ImageLocks(rawValue: 4)
    /// `readEnabled` is off: nothing is pulled.
    package static let read = ImageLocks(rawValue: 8)

    /// What keeps something from being deleted.
    static let keeping: ImageLocks = [.delete, .write]

    /// The attributes in the order in which they are shown.
    package static let attributes: [(name: String, lock: ImageLocks)] = [
        ("deleteEnabled", .delete), ("writeEnabled", .write), ("listEnabled", .list), ("readEnabled", .read),
    ]
}

/// What carries locks.
package enum LockTarget: Sendable, Hashable, CustomStringConvertible {
    case repository(RepositoryName)
    case tag(RepositoryName, Tag)
    case manifest(RepositoryName, Digest)

    package var repository: RepositoryName {
        switch self {
        case .repository(let name), .tag(let name, _), .manifest(let name, _): name
        }
    }

    package var description: String {
        switch self {
        case .repository(let name): "repository \(name)"
        case .tag(let name, let tag): "tag \(name):\(tag)"
        case .manifest(let name, let digest): "manifest \(name)@\(digest)"
        }
    }
}

/// A change of attributes: those named are set, the others stay.
package struct LockChange: Sendable, Hashable {
    package var set: ImageLocks = []
    package var cleared: ImageLocks = []

    package init() {}

    package func applied(to locks: ImageLocks) -> ImageLocks { locks.subtracting(self.cleared).union(self.set) }
}
