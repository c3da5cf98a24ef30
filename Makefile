# Everything a contributor types. CONTRIBUTING.md says when.
SHELL := /bin/bash
SOURCES := Package.swift Sources Tests

# A crash in a service must not spend seconds of every core on symbols.
export SWIFT_BACKTRACE := enable=no

.PHONY: help build release test demo kills bench bench-edge bench-quick test-kubernetes crash simulate fuzz format lint clean

help:
	@echo "make build     debug build"
	@echo "make release   optimised build, .build/release/outport"
	@echo "make test      installs the clients that are missing, builds, runs every test"
	@echo "make test-kubernetes  builds a real Kubernetes once, and proves the extension on it"
	@echo "make demo      from a push at the parent to a pull at the edge, unattended"
	@echo "make bench     measures beside docker-registry and nginx, and a site beside a pull-through cache; BENCH= EDGE="
	@echo "make crash     cuts the power 10,000 times; SEED= IMAGES= STRIDE= JOBS=, MUTATE=no-fsync takes flushes out"
	@echo "make simulate  whole families in virtual time over links that fail; SEED= SEEDS= TRACE=1, SABOTAGE=1 puts a bug in"
	@echo "make kills     1 GiB to a connected registry that is killed 50 times on the way"
	@echo "make fuzz      feeds every parser from outside; SEED= SECONDS_EACH= TARGET="
	@echo "make format    formats the Swift sources in place"
	@echo "make lint      fails where 'make format' would change something"
	@echo "make clean     removes what was built"

build:
	@Scripts/install-clients build
	swift build

release:
	@Scripts/install-clients build
	swift build -c release --static-swift-stdlib --product outport

# The tests with real clients come after the others: they measure time and memory. A run that hangs ends with its log.
# All tests at once would starve each other on two cores: a few at a time.
test:
	@Scripts/install-clients build test
	swift build --build-tests
	SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=8 Scripts/run-tests 20m --skip EndToEndTests
	Scripts/run-tests 40m --filter EndToEndTests

test-kubernetes: build
	@Scripts/install-clients kubernetes
	Scripts/kubernetes-build
	OUTPORT_BIN=$$(swift build --show-bin-path)/outport Scripts/test-kubernetes

demo:
	@Scripts/install-clients build demo
	Scripts/demo

bench: release
	@Scripts/install-clients bench
	Benchmarks/run $(BENCH)
	Benchmarks/edge $(EDGE)

bench-edge: release
	@Scripts/install-clients bench
	Benchmarks/edge $(EDGE)

bench-quick: release
	@Scripts/install-clients bench
	Benchmarks/run --quick $(BENCH)

# With MUTATE the run succeeds when what was taken out is noticed.
crash:
	@Scripts/install-clients build
	swift build --product outport-crash
	.build/debug/outport-crash

# With SABOTAGE the run succeeds when the bug is found.
simulate:
	@Scripts/install-clients build
	swift build --product outport-simulate
	.build/debug/outport-simulate

fuzz:
	@Scripts/install-clients build
	swift build --product outport-fuzz
	.build/debug/outport-fuzz

kills:
	@Scripts/install-clients build test
	swift build --build-tests
	OUTPORT_TRANSFER_MIB=1024 OUTPORT_TRANSFER_KILLS=50 swift test --skip-build --disable-xctest --filter 'EndToEndTests.TransferTests/interruptedTransfer'

format:
	swift format format --in-place --recursive --parallel $(SOURCES)

lint:
	swift format lint --strict --recursive --parallel $(SOURCES)

clean:
	swift package clean
	rm -rf .build/bench Benchmarks/results.md Benchmarks/results.json
