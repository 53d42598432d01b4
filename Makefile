# All tasks of the project; `make` alone lists them. A single profile (release), so that RocksDB is
# compiled once. CARGO_TARGET_DIR is honoured; ARGS="…" is passed to the program.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

ARGS ?=
CASES ?= 2000
CARGO_RUN := cargo run --release --locked --quiet --bin ghpulse --

.PHONY: help
help: ## lists these tasks
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

.PHONY: run
run: build ## installs what is missing, builds, and runs the demo, or config/config.yaml if it exists
	@if [ -e config.yaml ] || [ -e config/config.yaml ]; then \
	    exec $(CARGO_RUN) run $(ARGS); \
	fi; \
	echo "This is the demo, on a simulated GitHub, because there is no config/config.yaml. To follow the real one:"; \
	echo "  make config    # writes config/config.yaml: put tokens under github.tokens (without: anonymous, slow)"; \
	echo "  make run       # again"; \
	exec $(CARGO_RUN) demo $(ARGS)

.PHONY: build
build: setup ## builds the binary: target/release/ghpulse
	@cargo build --release --locked --bin ghpulse

.PHONY: config
config: build ## writes config/config.yaml: all keys, explained, at their defaults; never overwrites
	@if [ -e config/config.yaml ]; then echo "config/config.yaml is there already"; exit 1; fi
	@umask 077; $(CARGO_RUN) config default > config/config.yaml.new
	@mv config/config.yaml.new config/config.yaml; echo "wrote config/config.yaml"

.PHONY: test
test: ## installs what the tests need and runs format, clippy, docs and all tests
	@.ci/setup test
	@.ci/test

.PHONY: test-tidb
test-tidb: setup ## runs the history tests with a real TiDB, built once from its Go module (12 minutes)
	@server=$$(.ci/tidb) && GHPULSE_TEST_TIDB=$$server cargo test --release --locked --test it -- history::

.PHONY: test-properties
test-properties: setup ## runs the property tests with random inputs, CASES=2000 each
	@PROPTEST_CASES=$(CASES) cargo test --release --locked --lib -- $(ARGS)

# Long runs take a fresh seed, and end with a report: to repeat a failure, run what it printed.

.PHONY: kills
kills: N ?= 10000
kills: setup ## kills with -9 at N=10000 seeded moments; nothing may be lost or counted twice
	@.ci/setup test
	@.ci/seeded "make kills N=$(N)" TEST_KILLS=$(N) TEST_KILLS_SEED \
	    crash::kills amqp::kills servers::processes::nodes_killed

.PHONY: cuts
cuts: N ?= 1000
cuts: setup ## cuts the power at N=1000 seeded moments; what was synced must survive
	@.ci/setup test
	@.ci/seeded "make cuts N=$(N)" TEST_CUTS=$(N) TEST_CUTS_SEED crash::cuts

.PHONY: write-errors
write-errors: N ?= 45
write-errors: setup ## injects ENOSPC and EIO at each of the first N=45 writes and syncs of every thread
	@.ci/setup test
	@.ci/seeded "make write-errors N=$(N)" TEST_ERRORS=$(N) TEST_ERRORS_SEED crash::errors

.PHONY: fuzz
fuzz: SECONDS ?= 60
fuzz: setup ## fuzzes each target with libFuzzer for SECONDS=60; TARGET=name selects one
	@.ci/setup test
	@.ci/fuzz $(SECONDS) $(TARGET)

.PHONY: mutants
mutants: setup ## builds small deliberate bugs, each of which its test must find; ONLY='gap|claim' selects
	@.ci/setup test
	@.ci/mutants

.PHONY: mutants-model
mutants-model: setup ## runs cargo-mutants on the module `model`; SHARD=0/15 selects a part
	@.ci/mutants-model

.PHONY: soak
soak: MINUTES ?= 20
soak: setup ## runs one appliance with all parts while everything around it fails, for MINUTES=20
	@.ci/setup test
	@.ci/seeded "make soak MINUTES=$(MINUTES)" TEST_SOAK_MINUTES=$(MINUTES) TEST_SOAK_SEED soak::

.PHONY: suites
suites: MINUTES ?= 20
suites: setup ## runs all seeded suites with fresh seeds, in parallel, for MINUTES=20
	@.ci/setup test
	@MINUTES=$(MINUTES) .ci/suites

.PHONY: autobahn
autobahn: setup ## runs Autobahn's WebSocket suite, 517 cases; needs Python 2.7; ONLY="1.*" selects
	@.ci/autobahn

.PHONY: bench
bench: setup ## benchmarks beside other servers on an idle machine: target/bench/report.md; ARGS=growth selects
	@cargo bench --locked --bench load $(if $(ARGS),-- $(ARGS))

.PHONY: bench-servers
bench-servers: ## benchmarks collector, edge and a real Pulsar; ARGS="outage=10": seconds without the broker
	@.ci/setup test
	@cargo bench --locked --bench servers $(if $(ARGS),-- $(ARGS))

.PHONY: package
package: build ## builds the release tarball for this architecture, in target/package
	@.ci/package "$${CARGO_TARGET_DIR:-target}/package"

.PHONY: deb
deb: build ## builds the Debian package for this architecture, in target/package
	@.ci/deb "$${CARGO_TARGET_DIR:-target}/package"

.PHONY: test-deb
test-deb: build ## installs, runs, upgrades and removes the package in a clean Debian root; needs root
	@.ci/setup deb
	@.ci/deb-test "$${CARGO_TARGET_DIR:-target}/package"

.PHONY: picture
picture: setup ## takes the pictures of the README and the manual anew
	@.ci/setup test
	@cargo test --release --locked --test it -- browser::picture browser::manual
	@cp "$${CARGO_TARGET_DIR:-target}/tmp/wall.webp" .github/wall.webp
	@cd "$${CARGO_TARGET_DIR:-target}/tmp" && cp list.webp audit.webp archive.webp stars.svg \
	"$(CURDIR)/src/manual/pictures"

.PHONY: documents
documents: build ## regenerates the Grafana dashboard and the Prometheus rules in config/
	@$(CARGO_RUN) documents target/package/documents
	@cp target/package/documents/config/* config/

.PHONY: audit
audit: setup ## checks licences, sources, bans and known vulnerabilities of the dependencies
	@.ci/audit

.PHONY: reproduce
reproduce: setup ## builds the release twice in two directories and compares the binaries
	@.ci/reproduce

.PHONY: setup
setup: ## installs what is missing to build (Debian, Ubuntu)
	@.ci/setup build
