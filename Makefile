# tamperlab: every target sets up what it needs first, and does nothing at all the second time.
# The work is done by scripts/setup.sh (machine) and tamperlab (lab); this file only names it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

SETUP := scripts/setup.sh
BIN := .venv/bin
# More workers than two cores: a lab waits for its own links; with many more they wait for one another.
WORKERS ?= 4

.PHONY: help setup setup-servers scenarios test test-deep test-values lint bench shell doctor clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z%<>-]+:.*## / { sub(/%/, "<name>", $$1); printf "  make %-18s %s\n", $$1, $$2 }' Makefile

setup: ## install what scenarios need (system packages, .venv)
	@$(SETUP) core

setup-servers: ## install the real servers and clients too (Postfix, Dovecot, nginx, OpenSSH ...), none left running
	@$(SETUP) core servers

scenario-%: ## run one scenario: build the network, run, explain
	@scripts/known-scenario.sh '$*'
	@$(SETUP) core
	@exec $(BIN)/tamperlab run '$*' $(ARGS)

scenarios: ## list the scenarios
	@$(SETUP) core
	@exec $(BIN)/tamperlab list $(ARGS)

test: ## every test but the deep ones: unit, property, emulation, end to end
	@$(SETUP) core servers test
	@exec scripts/reachable.sh $(BIN)/pytest -n $(WORKERS) --dist worksteal -m 'not deep' $(ARGS)

test-deep: ## the long ones: hundreds of thousands of generated packets
	@$(SETUP) core servers test
	@exec scripts/reachable.sh $(BIN)/pytest -n $(WORKERS) --dist worksteal -m deep $(ARGS)

test-values: ## half an hour: change each value that has a source; does a capture show it? (ARGS=gfw-2010: of one profile)
	@$(SETUP) core servers test
	@exec scripts/reachable.sh $(BIN)/python scripts/mutate_profiles.py $(ARGS)

lint: ## style, types, who imports whom, sizes
	@$(SETUP) core dev
	@failed=0; \
	$(BIN)/ruff check --output-format concise . || failed=1; \
	$(BIN)/ruff format --check . || failed=1; \
	$(BIN)/mypy || failed=1; \
	$(BIN)/lint-imports --no-logo || failed=1; \
	$(BIN)/python scripts/check_sizes.py || failed=1; \
	exit $$failed

bench: ## throughput, connections a second, reaction time, as ratios of plain forwarding
	@$(SETUP) core servers bench
	@exec $(BIN)/python -m scenarios.bench $(ARGS)

shell: ## a prompt inside a running network: make shell SCENARIO=starttls-block
	@[ -n '$(SCENARIO)' ] || { echo "expected SCENARIO=<name>, got nothing; see 'make scenarios'" >&2; exit 2; }
	@$(SETUP) core
	@exec $(BIN)/tamperlab shell '$(SCENARIO)'

doctor: ## is this machine ready? if not, the command that makes it so
	@$(SETUP) core
	@exec $(BIN)/tamperlab doctor $(ARGS)

clean: ## remove .venv and caches (runs/ holds your captures and stays)
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@for room in middlebox lab scenarios tests scripts; do \
	    [ ! -d "$$room" ] || find "$$room" -name __pycache__ -type d -prune -exec rm -rf {} +; done
