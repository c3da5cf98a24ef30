import Testing
@Test func smoke() async throws {
    try await withSandbox { box in
        let p = try await BackgroundProcess.start("sleep", ["100"], log: box.path("log"))
        #expect(try await p.stop() == -15)
        #expect(try await command("echo", ["a"]).trimmed == "a")
        print(Program.outport, Program.package)
    }
}
