// The form of bodies of which only a part is acted on: each member that is known has the type that clients give it, and one that has
// another is refused with its name.

internal import JSON

/// What a member of a body may be.
indirect enum BodyShape: Sendable {
    case text(maximum: Int)
    case flag
    case number
    case list(BodyShape)
    /// Members by name. Others may be there: newer clients know more.
    case object([String: BodyShape])
    /// Names and texts, as of labels.
    case texts

    static let text = BodyShape.text(maximum: 4096)

    /// - Throws: 400 naming the member.
    func check(_ field: BodyField) throws(ResourceError) {
        switch self {
        case .text(let maximum): _ = try field.string(maximum: maximum)
        case .flag: _ = try field.bool()
        case .number: _ = try field.integer(in: 0...1_000_000_000)
        case .list(let element):
            for item in try field.elements(maximum: 1000) ?? [] { try element.check(item) }
        case .texts:
            for name in try field.object()?.value?.objectValue?.keys.sorted() ?? [] { _ = try field[name].string() }
        case .object(let members):
            guard try field.object() != nil else { return }
            for (name, shape) in members.sorted(by: { $0.key < $1.key }) { try shape.check(field[name]) }
        }
    }
}

extension BodyShape {
    private static let identity = BodyShape.object(["type": .text, "userAssignedIdentities": .object([:])])

    /// Those members of a managed cluster that `az aks create` and `update` send.
    static let managedCluster = BodyShape.object([
        "identity": identity, "sku": .object(["name": .text, "tier": .text]), "kind": .text,
        "extendedLocation": .object(["name": .text, "type": .text]),
        "properties": .object([
            "dnsPrefix": .text, "fqdnSubdomain": .text, "kubernetesVersion": .text, "nodeResourceGroup": .text, "enableRBAC": .flag,
            "disableLocalAccounts": .flag, "supportPlan": .text,
            "agentPoolProfiles": .list(
                .object([
                    "name": .text, "count": .number, "vmSize": .text, "osType": .text, "osSKU": .text, "mode": .text, "type": .text,
                    "maxPods": .number, "minCount": .number, "maxCount": .number, "osDiskSizeGB": .number, "osDiskType": .text,
                    "enableAutoScaling": .flag, "enableNodePublicIP": .flag, "enableFIPS": .flag, "enableEncryptionAtHost": .flag,
                    "enableUltraSSD": .flag, "orchestratorVersion": .text, "availabilityZones": .list(.text), "nodeTaints": .list(.text),
                    "nodeLabels": .texts, "tags": .texts, "scaleDownMode": .text, "upgradeSettings": .object(["maxSurge": .text]),
                ])),
            "linuxProfile": .object([
                "adminUsername": .text, "ssh": .object(["publicKeys": .list(.object(["keyData": .text(maximum: 16 << 10)]))]),
            ]),
            "windowsProfile": .object(["adminUsername": .text, "adminPassword": .text]),
            "servicePrincipalProfile": .object(["clientId": .text, "secret": .text]),
            "networkProfile": .object([
                "networkPlugin": .text, "networkPolicy": .text, "podCidr": .text, "serviceCidr": .text, "dnsServiceIP": .text,
                "loadBalancerSku": .text, "outboundType": .text, "podCidrs": .list(.text), "serviceCidrs": .list(.text),
                "ipFamilies": .list(.text),
            ]),
            "addonProfiles": .object([:]), "storageProfile": .object([:]), "autoScalerProfile": .object([:]),
            "bootstrapProfile": .object(["artifactSource": .text, "containerRegistryId": .text]),
            "apiServerAccessProfile": .object(["authorizedIPRanges": .list(.text), "enablePrivateCluster": .flag]),
            "aadProfile": .object(["managed": .flag, "adminGroupObjectIDs": .list(.text), "tenantID": .text, "serverAppSecret": .text]),
        ]),
    ])

    /// Those of a connected cluster that `az connectedk8s connect` and `az resource create` send.
    static let connectedCluster = BodyShape.object([
        "identity": identity, "kind": .text,
        "properties": .object([
            "agentPublicKeyCertificate": .text(maximum: 32 << 10), "distribution": .text, "distributionVersion": .text,
            "infrastructure": .text, "privateLinkState": .text, "privateLinkScopeResourceId": .text, "azureHybridBenefit": .text,
            "arcAgentryConfigurations": .list(.object(["feature": .text, "settings": .texts, "protectedSettings": .texts])),
            "arcAgentProfile": .object(["desiredAgentVersion": .text, "agentAutoUpgrade": .text]),
            "aadProfile": .object(["enableAzureRBAC": .flag, "adminGroupObjectIDs": .list(.text), "tenantID": .text]),
            "oidcIssuerProfile": .object(["enabled": .flag, "selfHostedIssuerUrl": .text]),
        ]),
    ])
}
