# Everything a developer types. Each target works from a fresh clone without another step before it.

.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-unit test-helm test-bucket test-console test-faults test-runbooks test-traces it fuzz schemathesis lint fmt servers stop status bench bench-line bench-guard bench-clients bench-console chaos clean-dev

# rustup puts cargo there, and a shell that was open before does not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

# One profile and one target directory for everything, so that nothing is compiled twice.
CARGO_FLAGS := --release --locked

# A test that talks to servers waits for most of its time, so two share a core.
TEST_THREADS := $(shell echo $$((2 * $$(nproc))))

# What breaks exactly-once delivery in every test run; `make chaos` has all faults.
SHORT_FAULTS := member_kill,member_zombie,member_leave,server_kill,server_freeze,insert_cut_upload,insert_cut_after_request,insert_cut_answer,insert_late,insert_lost_answer_timeout,crash_at_intent_commit_sent,crash_at_intent_committed,crash_at_insert_answered,crash_at_batch_settled,crash_at_recommitted,broker_kill
CHAOS_OPTIONS := SEEDS MODE ENGINE FAULT SECONDS BROKERS SELFTEST KEEP PLAN LIST

help: ## Print this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing on Debian, fetch the development servers (1 min the first time).
	@dev/setup

build: setup ## Compile target/release/penstock (8 min the first time on 2 cores).
	cargo build $(CARGO_FLAGS)

demo: build ## Three million flights through Kafka into ClickHouse, then the proof that all arrived.
	@dev/demo

test: lint build ## Every test, those against real servers too (48 min from a fresh clone on 2 cores).
	RUST_TEST_THREADS=$(TEST_THREADS) PENSTOCK_CHAOS_SEEDS=2..3 PENSTOCK_CHAOS_SECONDS=30 PENSTOCK_CHAOS_SELFTEST=1 \
	dev/servers with --clickhouse 1 --kafka 1 -- cargo test $(CARGO_FLAGS)
	cargo test $(CARGO_FLAGS) --test chaos -- SEEDS=1..3 MODE=exactly_once SECONDS=25 FAULT=$(SHORT_FAULTS)
	dev/bench-guard
	dev/schemathesis
	dev/test-bucket
	dev/test-console
	dev/setup-helm
	dev/test-helm
	dev/test-faults

test-unit: setup ## The tests beside the code; no servers.
	cargo test $(CARGO_FLAGS) --lib

test-helm: build ## The chart, its rules and the image, without a cluster (4 min the first time, then 2 min).
	@dev/setup-helm
	@dev/test-helm

test-bucket: build ## Backups into an S3 bucket that moto serves: made, verified, restored, damaged and found out (10 s).
	@dev/test-bucket

test-console: build ## The console's page in a browser without a screen, against real processes (3 min): docs/console.md.
	@dev/test-console

test-faults: build ## Eight faults in running processes, each told of by exactly one alert (SCALE=20; FAULTS="disk parts"; 4 min).
	@dev/setup-helm
	@dev/test-faults --scale $(or $(SCALE),20) $(FAULTS)

test-runbooks: build ## The rarer faults, and the steps of their runbooks, which is not part of `make test` (22 min).
	@dev/setup-helm
	@dev/test-faults --all --scale $(or $(SCALE),20) $(FAULTS)

test-traces: build ## Spans of a real run in the OpenTelemetry Collector, which is built the first time (minutes).
	@dev/test-traces

it: setup ## Integration tests whose name contains T, with servers: make it T=name
	dev/servers with --clickhouse 1 --kafka 1 -- cargo test $(CARGO_FLAGS) --test it -- $(T)

fuzz: setup ## Look for inputs that break a target: make fuzz TARGET=decoder|table|config|ledger SECONDS=60
	@dev/fuzz $(or $(TARGET),decoder) $(or $(SECONDS),60)

schemathesis: build ## Try the REST interface by its own description, with 2,000 requests and more (1 min): docs/testing.md.
	@dev/schemathesis

lint: setup ## Formatting and clippy, warnings denied, where the toolchain has them.
	@if cargo fmt --version >/dev/null 2>&1; then cargo fmt --all --check; \
	else echo "lint: this toolchain has no rustfmt (rustup component add rustfmt)"; fi
	@if cargo clippy --version >/dev/null 2>&1; then cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings; \
	else echo "lint: this toolchain has no clippy (rustup component add clippy)"; fi

fmt: setup ## Format the code.
	cargo fmt --all

servers: setup ## Start a ClickHouse and a Kafka to work with; their addresses are printed.
	@dev/servers start

stop: ## Stop what `make servers` or `make demo` started; the data stays.
	@dev/servers stop --name dev
	@dev/servers stop --name demo

status: ## Print the development servers and their addresses.
	@dev/servers status

bench: setup ## Everything that is measured, judged by its goals (25 min on 2 cores; QUICK=1 3 min), of the build that is shipped.
	cargo build --profile dist --locked
	cargo bench --profile dist --locked --bench micro -- $(if $(QUICK),--warm-up-time 0.2 --measurement-time 0.5 --sample-size 10)
	@PENSTOCK_BENCH_PROFILE=dist dev/bench $(if $(QUICK),--quick)

bench-line: build ## The whole line over a prepared topic: rows/s, MB/s, CPU per event. N=3000000
	@dev/bench-line --count $(or $(N),3000000)

bench-guard: build ## Fail when an event has become clearly dearer, by ratios within one short run (1 min).
	@dev/bench-guard

bench-console: build ## How soon metrics and the console answer while the line reads as fast as it can (2 min): p99 within 200 ms.
	@dev/bench-console

bench-clients: build ## The line with and without 100 clients of the admin interface, in turn (5 min): at most 5 % apart.
	@dev/bench-clients

chaos: build ## Break everything and count: SEEDS=1..5 MODE=exactly_once ENGINE=plain FAULT=a,b (docs/chaos.md).
	cargo test $(CARGO_FLAGS) --test chaos -- $(foreach name,$(CHAOS_OPTIONS),$(if $($(name)),$(name)=$($(name))))

clean-dev: ## Stop every development server of this checkout and remove their data; downloads stay.
	@dev/servers stop --all --purge
	rm -rf .dev/run .dev/logs
