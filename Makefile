# The tasks of a developer; `make` alone lists them. `.ci/run` is `make lint` and `make test` on a bare machine.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test test-hermetic test-live test-browser test-faults test-interop test-deploy lint bench soak bench-check bench-record dist install up down clean

CARGO_DENY_VERSION := 0.20.2
DATA_DIR ?= ./userpipe-data
PREFIX ?= /usr/local
DESTDIR ?=
BINARY ?= target/release/userpipe
export PREFIX DESTDIR BINARY

# Services without containers, on the ports that people expect; the environment moves them, as it does in compose.yaml.
UP = SERVICES='cassandra kafka postgres registry' BACKEND=jars VAR='$(CURDIR)/target/services' \
	KAFKA_PORT="$${KAFKA_PORT:-9092}" CASS_PORT="$${CASS_PORT:-9042}" CASS_STORAGE_PORT="$${CASS_STORAGE_PORT:-7000}" \
	POSTGRES_PORT="$${POSTGRES_PORT:-5432}" REGISTRY_PORT="$${REGISTRY_PORT:-8081}" tests/services/services.sh
ENGINE = command -v docker >/dev/null && docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Send 200 users through the embedded bus into SQLite (./userpipe-data); nothing to install
	@cargo build
	@target/debug/userpipe run --once --count 200 --source auto --data-dir '$(DATA_DIR)'

test: ## Run all tests: hermetic ones, those on real services, which are started for them, in a browser, and the main faults
	@tests/run.sh all

test-hermetic: ## Run the tests that need no services
	@tests/run.sh hermetic

test-live: ## Run the tests on a real Kafka, Cassandra and PostgreSQL
	@tests/run.sh live

test-browser: ## Run the tests of the dashboard in a headless Chromium; screenshots are left in target/browser
	@tests/run.sh browser

test-faults: ## Run every fault on real services and print a table; CASE=name runs one, USERPIPE_TEST_SEED=N repeats it
	@CASE='$(CASE)' tests/run.sh faults

test-interop: ## Run the clients that others use (Spark, Confluent's, kafka-python, the console tools) on our topic and table
	@tests/interop/run.sh

test-deploy: ## Check compose.yaml and deploy/ with the tools that read them: kubernetes-validate, docker-compose, systemd-analyze
	@tests/deploy/run.sh

lint: ## Check the format, clippy's lints, the shell scripts, and the licences and sources of dependencies
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --features failpoints -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck -x .ci/run benches/*.sh benches/instructions/*.sh benches/compare/*.sh benches/compare/peers/*/*.sh tests/run.sh tests/deploy/*.sh tests/interop/*.sh deploy/*.sh tests/services/*.sh tests/services/*/*.sh; \
		else echo 'shellcheck is not installed: the shell scripts are unchecked'; fi
	@cargo deny --version 2>/dev/null | grep -qF ' $(CARGO_DENY_VERSION)' || cargo install --locked cargo-deny@$(CARGO_DENY_VERSION)
	cargo deny --log-level error check licenses bans sources

bench: ## Run the micro-benchmarks, and compare with peers on real services; results are kept in benches/runs/. PEERS=none is quick
	@[[ '$(PEERS)' == none ]] || benches/run.sh
	@PEERS='$(or $(PEERS),all)' benches/compare/run.sh

soak: ## Send 5 million records (RECORDS) through produce and consume on real services; RSS, lag and CPU are plotted into benches/runs/
	@benches/soak.sh

bench-check: ## Count the instructions of the hot path (valgrind), and fail for over 5 % more than recorded
	@benches/instructions/check.sh check

bench-record: ## Make today's counts those that `make bench-check` compares with
	@benches/instructions/check.sh record

target/release/userpipe: Cargo.toml Cargo.lock $(shell find src -type f)
	cargo build --release --locked
	@touch $@

install: $(BINARY) ## Install the program, man pages, completions and systemd units below DESTDIR and PREFIX (/usr/local)
	@deploy/install.sh

dist: $(BINARY) ## Make target/dist/userpipe-VERSION-MACHINE.tar.gz: everything that `install` installs, below /usr
	@rm -rf target/dist
	@DESTDIR=target/dist/root PREFIX=/usr deploy/install.sh
	@name="userpipe-$$($(BINARY) --version | cut -d ' ' -f 2)-$$(uname -m)"; \
		tar --sort=name --owner=0 --group=0 --numeric-owner -czf "target/dist/$$name.tar.gz" -C target/dist/root usr; \
		echo "target/dist/$$name.tar.gz"

up: ## Start everything on its usual port: compose.yaml where Docker runs, else the same services from their jars
	@if $(ENGINE); then \
		echo 'Docker: starting compose.yaml, userpipe included'; \
		docker compose up --detach --build; \
	else \
		echo 'No Docker engine: starting Kafka, Cassandra, PostgreSQL and a schema registry from their jars and packages'; \
		$(UP) up; \
		echo "Now: userpipe run --interval 1m --brokers localhost:$${KAFKA_PORT:-9092} --cassandra localhost:$${CASS_PORT:-9042}"; \
		echo "     (and PGPASSWORD=userpipe with --postgres postgres://userpipe@localhost:$${POSTGRES_PORT:-5432}/userpipe)"; \
	fi

down: ## Stop what `make up` started, and keep its data
	@if $(ENGINE); then docker compose down; fi
	@if [ -d target/services ]; then $(UP) down; fi

clean: ## Stop what `make up` started, and remove its data and everything that was built
	@if $(ENGINE); then docker compose down --volumes; fi
	@if [ -d target/services ]; then $(UP) wipe; fi
	cargo clean
	rm -rf tests/services/target tests/services/var
