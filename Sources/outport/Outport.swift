import ArgumentParser
@main struct Outport: AsyncParsableCommand { func run() async throws { print("hi") } }
