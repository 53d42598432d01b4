# What there is to do here; `make` alone lists it. One profile (release) for all, so that RocksDB is
# compiled once. CARGO_TARGET_DIR is honoured; ARGS="…" goes to the program that is started.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

ARGS ?=
CASES ?= 2000
CARGO_RUN := cargo run --release --locked --quiet --bin ghpulse --

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

.PHONY: run
run: build ## installs what is missing, builds, runs: the demo, or config/config.yaml when it is there
	@if [ -e config.yaml ] || [ -e config/config.yaml ]; then \
	    exec $(CARGO_RUN) run $(ARGS); \
	fi; \
	echo "This is the demo, on a simulated GitHub, because there is no config/config.yaml. To follow the real one:"; \
	echo "  make config    # writes config/config.yaml: put tokens under github.tokens (without: anonymous, slow)"; \
	echo "  make run       # again"; \
	exec $(CARGO_RUN) demo $(ARGS)

.PHONY: build
build: setup ## the binary alone: target/release/ghpulse
	@cargo build --release --locked --bin ghpulse

.PHONY: config
config: build ## writes config/config.yaml, every key explained, with its default; never over an old one
	@if [ -e config/config.yaml ]; then echo "config/config.yaml is there already"; exit 1; fi
	@umask 077; $(CARGO_RUN) config default > config/config.yaml.new
	@mv config/config.yaml.new config/config.yaml; echo "wrote config/config.yaml"

.PHONY: test
test: ## installs what the tests need and runs all of them: format, clippy, docs, tests
	@.ci/setup test
	@.ci/test

.PHONY: test-tidb
test-tidb: setup ## the tests of the history against a real TiDB, built once from its Go module (12 minutes)
	@server=$$(.ci/tidb) && GHPULSE_TEST_TIDB=$$server cargo test --release --locked --test it -- history::

.PHONY: test-properties
test-properties: setup ## the properties with inputs that no run had before, CASES=2000 each
	@PROPTEST_CASES=$(CASES) cargo test --release --locked --lib -- $(ARGS)

# A number of a run, fresh unless it is given: what failed is repeated with the one that it printed.
fresh = $(or $(1),$(shell echo $$((RANDOM * 32768 + RANDOM))))
IT := cargo test --release --locked --test it --

.PHONY: kills
kills: N ?= 10000
kills: setup ## kill -9 at seeded moments, N=10000 times; nothing may be lost or counted twice
	@TEST_KILLS=$(N) TEST_KILLS_SEED=$(call fresh,$(TEST_KILLS_SEED)) $(IT) --show-output crash::kills

.PHONY: cuts
cuts: N ?= 1000
cuts: setup ## power cuts at seeded moments, N=1000: only what was synced survives
	@.ci/setup test
	@TEST_CUTS=$(N) TEST_CUTS_SEED=$(call fresh,$(TEST_CUTS_SEED)) $(IT) --show-output crash::cuts

.PHONY: write-errors
write-errors: N ?= 45
write-errors: setup ## ENOSPC and EIO at each of the first N=45 writes and syncs of every thread
	@.ci/setup test
	@TEST_ERRORS=$(N) TEST_ERRORS_SEED=$(call fresh,$(TEST_ERRORS_SEED)) $(IT) --show-output crash::errors

.PHONY: fuzz
fuzz: SECONDS ?= 60
fuzz: setup ## inputs that nobody thought of, SECONDS=60 for each target; TARGET=name for one of them
	@TEST_FUZZ_SECONDS=$(SECONDS) TEST_FUZZ_SEED=$(call fresh,$(TEST_FUZZ_SEED)) \
	    $(IT) --show-output $(if $(TARGET),$(TARGET),fuzz::)

.PHONY: mutants
mutants: setup ## small deliberate bugs, each built and shown to its test, which must find it; ONLY=word
	@.ci/mutants

.PHONY: soak
soak: MINUTES ?= 20
soak: setup ## all seeded suites with fresh seeds, side by side, for MINUTES=20
	@.ci/setup test
	@MINUTES=$(MINUTES) .ci/soak

.PHONY: bench
bench: setup ## measures all of it beside other servers: target/bench/report.md; takes the machine for itself
	@cargo bench --locked --bench load $(if $(ARGS),-- $(ARGS))

.PHONY: bench-servers
bench-servers: ## measures collector, edge and a real Pulsar; ARGS="outage=10": seconds that it is away
	@.ci/setup test
	@cargo bench --locked --bench servers $(if $(ARGS),-- $(ARGS))

.PHONY: package
package: build ## the release tarball of this machine's kind, in target/package
	@.ci/package "$${CARGO_TARGET_DIR:-target}/package"

.PHONY: deb
deb: build ## the Debian package of this machine's kind, in target/package
	@.ci/deb "$${CARGO_TARGET_DIR:-target}/package"

.PHONY: test-deb
test-deb: build ## installs, runs, upgrades and removes the package in a clean Debian root; as root
	@.ci/setup deb
	@.ci/deb-test "$${CARGO_TARGET_DIR:-target}/package"

.PHONY: documents
documents: build ## writes the Grafana dashboard and the Prometheus rules in config/ anew
	@$(CARGO_RUN) documents target/package/documents
	@cp target/package/documents/config/* config/

.PHONY: audit
audit: setup ## licences, sources, bans and known vulnerabilities of the dependencies, by .cargo/deny.toml
	@.ci/audit

.PHONY: reproduce
reproduce: setup ## builds the release twice in two directories and compares the binaries (an hour)
	@.ci/reproduce

.PHONY: setup
setup: ## installs what is missing to build (Debian, Ubuntu)
	@.ci/setup build
