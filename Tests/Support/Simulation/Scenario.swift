// What a seed decides beforehand: the family, its links and its luck.

internal import Gateway
internal import GatewayProtocol

/// The settings of one run.
struct Scenario: Sendable {
    struct Member: Sendable {
        let name: String
        /// The member that is its parent; `nil` for the root.
        let parent: String?
        let mode: ConnectedRegistryMode
        /// Milliseconds by which its clock is wrong.
        let clockOffset: Int64
        let budget: ByteBudget?
        let writes: Bool
        /// Whether content moves in every second hour of its clock only.
        let hasWindow: Bool
        /// Whether its clients may pull what has not been synchronised yet.
        let isOnDemand: Bool

        static let schedule = "0 */2 * * *"
        static let window = "PT1H"
    }

    /// Chances in a thousand, of one request or one part of a body.
    struct Luck: Sendable {
        var lost = 0
        var answerLost = 0
        var cut = 0
        var damaged = 0
        /// Milliseconds of the slowest way there or back.
        var lag = 1
        /// Milliseconds between two outages of a link on average; 0 for none.
        var outages = 0
        /// Kills in all.
        var kills = 0
        var diskFull = 0
    }

    let members: [Member]
    let luck: Luck
    /// Milliseconds for which there is trouble and people write.
    let duration: Int
    let writesAtRoot: Bool
    /// Whether people lock and unlock as well.
    let locks: Bool
    /// Whether an operator adds and removes repositories.
    let selects: Bool

    init(_ scheduler: Scheduler) {
        func pick<Value>(_ values: [Value]) -> Value { values[scheduler.random(below: values.count)] }
        let year: Int64 = 365 * 86_400_000
        func member(_ name: String, _ parent: String?, _ mode: ConnectedRegistryMode, budget: Bool = false, window: Bool = false) -> Member
        {
            Member(
                name: name, parent: parent, mode: mode, clockOffset: pick([0, 0, 0, -20 * year, 73 * year, -3_600_000]),
                budget: budget ? ByteBudget(hour: 2 << 20) : nil, writes: mode == .readWrite, hasWindow: window,
                isOnDemand: scheduler.chance(400))
        }
        switch scheduler.random(below: 9) {
        case 0: self.members = [member("alpha", nil, .readOnly, budget: true)]
        case 1: self.members = [member("alpha", nil, .readWrite)]
        case 2: self.members = [member("alpha", nil, .readWrite), member("bravo", nil, .readWrite)]
        case 3: self.members = [member("alpha", nil, .readWrite), member("bravo", "alpha", .readWrite)]
        case 4: self.members = [member("alpha", nil, .readWrite), member("bravo", "alpha", .readOnly)]
        case 5: self.members = [member("alpha", nil, .readOnly), member("bravo", "alpha", .readOnly)]
        case 6:
            self.members = [
                member("alpha", nil, .readWrite), member("bravo", "alpha", .readWrite), member("charlie", "bravo", .readWrite),
                member("delta", "charlie", pick([.readOnly, .readWrite])),
            ]
        case 7: self.members = [member("alpha", nil, .readOnly, budget: true, window: true)]
        default: self.members = [member("alpha", nil, .readWrite, window: true), member("bravo", nil, .readWrite)]
        }
        var luck = Luck()
        luck.lost = pick([0, 10, 50])
        luck.answerLost = pick([0, 10, 50])
        luck.cut = pick([0, 10, 60])
        luck.damaged = pick([0, 0, 20])
        luck.lag = pick([1, 50, 2000])
        luck.outages = pick([0, 5000, 20_000])
        luck.kills = pick([0, 2, 5])
        luck.diskFull = pick([0, 0, 15])
        self.luck = luck
        self.duration = pick([8000, 20_000, 40_000])
        self.writesAtRoot = scheduler.chance(850)
        self.locks = scheduler.chance(400)
        self.selects = scheduler.chance(350)
    }

    var text: String {
        let family = self.members.map {
            "\($0.name)<\($0.parent ?? "root") \($0.mode.rawValue)\($0.budget == nil ? "" : " budget")\($0.hasWindow ? " window" : "")\($0.isOnDemand ? " on demand" : "")"
        }
        return
            "\(family.joined(separator: ", ")); \(self.luck); \(self.duration / 1000) s\(self.locks ? "; locks" : "")\(self.selects ? "; selections" : "")"
    }
}
