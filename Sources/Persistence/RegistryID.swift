// The key by which every table tells registries of one server apart.

/// A registry within one server.
package struct RegistryID: Hashable, Sendable {
    package let value: Int64
    package init(_ value: Int64) { self.value = value }
}
