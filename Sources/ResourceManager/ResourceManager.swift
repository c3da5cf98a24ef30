// The control plane in the language of Azure Resource Manager, so that clients written for Azure need to learn nothing.

/// The control plane of a server.
///
/// - ``ResourceManagerHandler``: answers `/metadata`, `/adfs`, `/subscriptions`, `/tenants`, `/providers` and `/graph`
/// - ``ResourceStore``: subscriptions, resource groups and registries as documents by id
/// - ``RegistryLookup``: the registries of this server for the data plane, in memory
/// - ``Bootstrap``: the first tenant, subscription and principal
///
/// Only what an operator sets is stored; everything else a resource shows (names, endpoints, states) is computed when it is
/// read. Tokens and scope maps live in `Identity`, connected registries in `Gateway`; this target gives them ARM's bodies.
package enum ResourceManager {}
