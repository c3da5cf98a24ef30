// The least severity that is logged, changed while the process runs: operators set it at the parent.

internal import Logging
internal import Synchronization

/// A level that loggers ask for with each line.
final class LogLevelSwitch: Sendable {
    private let current: Mutex<Logger.Level>

    init(_ level: Logger.Level) { self.current = Mutex(level) }

    var level: Logger.Level { self.current.withLock { $0 } }

    /// - Parameter name: as connected registries have it: Debug, Information, Warning, Error, None.
    func set(_ name: String) {
        let level: Logger.Level? =
            switch name {
            case "Debug": .debug
            case "Information": .info
            case "Warning": .warning
            case "Error": .error
            // Only what ends the process.
            case "None": .critical
            default: nil
            }
        if let level { self.current.withLock { $0 = level } }
    }

    /// Logs to standard error, one line an event, at the level of the moment.
    func logger(_ label: String) -> Logger {
        Logger(label: label) { SwitchedLogHandler(base: StreamLogHandler.standardError(label: $0), level: self) }
    }
}

private struct SwitchedLogHandler: LogHandler {
    var base: StreamLogHandler
    let level: LogLevelSwitch

    var logLevel: Logger.Level {
        get { self.level.level }
        set {}
    }

    var metadata: Logger.Metadata {
        get { self.base.metadata }
        set { self.base.metadata = newValue }
    }

    var metadataProvider: Logger.MetadataProvider? {
        get { self.base.metadataProvider }
        set { self.base.metadataProvider = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.base[metadataKey: key] }
        set { self.base[metadataKey: key] = newValue }
    }

    func log(event: LogEvent) { self.base.log(event: event) }
}
