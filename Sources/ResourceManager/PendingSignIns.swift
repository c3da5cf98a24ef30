// Sign-ins that have begun in one place and end in another: device codes and authorization codes.

internal import Crypto
internal import Identity
internal import Persistence
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A device that waits for somebody to sign in elsewhere (RFC 8628).
struct DeviceSignIn: Sendable {
    enum State: Sendable {
        case waiting
        case approved(user: String, credential: String)
        case declined
    }

    let userCode: String
    let clientID: String
    let scope: String
    /// From where it was begun.
    let address: String
    /// Seconds since 1970.
    let expires: Int64
    var state = State.waiting
    var lastPoll: Int64 = 0
}

/// A browser that has signed in and takes a code to the program that sent it (RFC 6749, section 4.1; RFC 7636).
struct BrowserSignIn: Sendable {
    let user: String
    let credential: String
    let clientID: String
    let redirect: String
    let challenge: String
    let nonce: String?
    let scope: String
    /// Seconds since 1970.
    let expires: Int64
}

/// Keeps both in memory: a restart of the server ends them, and whoever waits begins again.
final class PendingSignIns: Sendable {
    /// Seconds a device code lives.
    static let deviceLife: Int64 = 900
    /// Seconds between polls.
    static let interval: Int64 = 1
    /// Seconds an authorization code lives.
    static let codeLife: Int64 = 120
    /// Of each kind, at most.
    static let maximum = 1000
    /// Devices that wait from one address, at most: none shuts out all others.
    static let maximumFromAddress = 100
    /// Wrong user codes in a minute after which none is looked at, from one address and from all: there are 20^8 codes, and a
    /// thousand at most are live.
    static let maximumGuesses = (address: 60, all: 3000)

    private struct State {
        var devices: [String: DeviceSignIn] = [:]
        var browsers: [String: BrowserSignIn] = [:]
        var guesses: [String: Int] = [:]
        var allGuesses = 0
        var minute: Int64 = 0
    }

    private let state = Mutex(State())
    private let clock: WallClock

    init(clock: WallClock) { self.clock = clock }

    private static func key(_ secret: String) -> String { Secret.verifier(of: secret) }

    // MARK: Devices

    /// Begins a device's sign-in; `nil` when too many wait.
    func beginDevice(clientID: String, scope: String, from address: String) -> (deviceCode: String, signIn: DeviceSignIn)? {
        let now = self.clock.seconds
        // Without vowels, so that no words come about, and without what looks alike.
        let alphabet = Array("BCDFGHJKLMNPQRSTVWXZ")
        let code = (0..<8).map { _ in String(alphabet[Int.random(in: 0..<alphabet.count)]) }.joined()
        let signIn = DeviceSignIn(userCode: code, clientID: clientID, scope: scope, address: address, expires: now + Self.deviceLife)
        let secret = Secret.generate()
        return self.state.withLock { state in
            if state.devices.count >= Self.maximum { state.devices = state.devices.filter { $0.value.expires > now } }
            guard state.devices.count < Self.maximum,
                state.devices.values.count(where: { $0.address == address && $0.expires > now }) < Self.maximumFromAddress,
                !state.devices.values.contains(where: { $0.userCode == code })
            else { return nil }
            state.devices[Self.key(secret)] = signIn
            return (secret, signIn)
        }
    }

    enum Poll: Sendable {
        case pending, tooFast, expired, declined
        case approved(DeviceSignIn, user: String, credential: String)
    }

    /// What has become of a device's sign-in. An approval is told once.
    func poll(_ deviceCode: String, clientID: String) -> Poll {
        let now = self.clock.seconds
        let key = Self.key(deviceCode)
        return self.state.withLock { state in
            guard let signIn = state.devices[key], signIn.expires > now, signIn.clientID == clientID else { return .expired }
            switch signIn.state {
            case .waiting:
                let isTooFast = signIn.lastPoll == now
                state.devices[key]?.lastPoll = now
                return isTooFast ? .tooFast : .pending
            case .declined:
                state.devices[key] = nil
                return .declined
            case .approved(let user, let credential):
                state.devices[key] = nil
                return .approved(signIn, user: user, credential: credential)
            }
        }
    }

    /// Whether a device waits under this code.
    ///
    /// - Parameter address: who asks; whoever tries codes shuts out nobody else.
    func waits(_ userCode: String, from address: String) -> Bool {
        let now = self.clock.seconds
        let code = userCode.uppercased().filter { $0.isLetter }
        return self.state.withLock { state in
            if state.minute != now / 60 { (state.minute, state.guesses, state.allGuesses) = (now / 60, [:], 0) }
            guard state.guesses[address, default: 0] < Self.maximumGuesses.address, state.allGuesses < Self.maximumGuesses.all else {
                return false
            }
            let found = state.devices.values.contains { signIn in
                guard case .waiting = signIn.state else { return false }
                return signIn.userCode == code && signIn.expires > now
            }
            if !found {
                state.guesses[address, default: 0] += 1
                state.allGuesses += 1
            }
            return found
        }
    }

    /// Lets the device with this code in, or not.
    func settle(_ userCode: String, _ settled: DeviceSignIn.State) -> Bool {
        let now = self.clock.seconds
        let code = userCode.uppercased().filter { $0.isLetter }
        return self.state.withLock { state in
            guard let key = state.devices.first(where: { $0.value.userCode == code && $0.value.expires > now })?.key,
                case .waiting? = state.devices[key]?.state
            else { return false }
            state.devices[key]?.state = settled
            return true
        }
    }

    // MARK: Browsers

    /// A code for a browser to take along; `nil` when too many are on their way.
    func code(for signIn: BrowserSignIn) -> String? {
        let now = self.clock.seconds
        let secret = Secret.generate()
        return self.state.withLock { state in
            if state.browsers.count >= Self.maximum { state.browsers = state.browsers.filter { $0.value.expires > now } }
            guard state.browsers.count < Self.maximum else { return nil }
            state.browsers[Self.key(secret)] = signIn
            return secret
        }
    }

    /// The sign-in of a code, which is good once, for the client, address and verifier it was made for.
    func redeem(_ code: String, clientID: String, redirect: String, verifier: String) -> BrowserSignIn? {
        let now = self.clock.seconds
        guard let signIn = self.state.withLock({ $0.browsers.removeValue(forKey: Self.key(code)) }) else { return nil }
        guard signIn.expires > now, signIn.clientID == clientID, signIn.redirect == redirect,
            signIn.challenge == Self.challenge(verifier)
        else { return nil }
        return signIn
    }

    /// RFC 7636, section 4.2: S256.
    static func challenge(_ verifier: String) -> String {
        Data(SHA256.hash(data: Data(verifier.utf8))).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing(
            "=", with: "")
    }
}
