SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
CHART := charts/supercheck-operator
IMAGE ?= localhost/supercheck-operator:0.1.0

.PHONY: help
help: ## Explain the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/installed: requirements/dev.txt pyproject.toml e2e/cluster/pyproject.toml
	@echo "installing into .venv (about a minute)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e e2e/cluster
	@touch $@

.PHONY: install
install: .venv/installed ## Make .venv with the operator, its tools and the test cluster command

.PHONY: fmt
fmt: install ## Format the code, generate CRDs, dashboard, references of values and CLI, install.yaml
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format --quiet .
	$(BIN)/supercheck-operator crds --write crds
	$(BIN)/supercheck-operator crds --write $(CHART)/files/crds
	$(BIN)/python -m charts.generate
	$(BIN)/python -m supercheck_operator.cli.reference docs/cli.md

.PHONY: lint
lint: install ## Style, layers, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports
	$(BIN)/supercheck-operator crds --check crds
	$(BIN)/supercheck-operator crds --check $(CHART)/files/crds
	$(BIN)/python -m charts.generate --check

.PHONY: type
type: install ## mypy, strict
	$(BIN)/mypy operator tests e2e benchmarks charts

.PHONY: test
test: install ## Everything: lint, types, unit, contract, simulation, chart, integration and chaos on a real API server, e2e on a real node
	$(MAKE) lint type
	$(BIN)/python -m pytest tests/unit tests/contract --cov --cov-report=term:skip-covered
	PYTHONHASHSEED=0 $(BIN)/python -m pytest tests/simulation
	$(BIN)/python -m pytest tests/chart
	$(BIN)/python -m pytest tests/integration
	$(BIN)/python -m pytest tests/chaos
	$(BIN)/python -m pytest e2e

.PHONY: test-unit
test-unit: install ## The pure decisions and the ledger contract: seconds
	$(BIN)/python -m pytest tests/unit tests/contract

.PHONY: test-integration
test-integration: install ## On a real API server with fake nodes: minutes
	$(BIN)/python -m pytest tests/integration

.PHONY: chaos
chaos: install ## Faults at random: SECONDS=300 of them, SEED=... again, KINDS="replica frozen,..." only
	CHAOS_KINDS="$(KINDS)" CHAOS_SECONDS=$(or $(filter-out 0,$(SECONDS)),300) CHAOS_SEED=$(or $(SEED),$$RANDOM) $(BIN)/python -m pytest tests/chaos/test_chaos.py

.PHONY: failover
failover: install ## FAILOVERS=24 leaders go, one after the other: how long nothing is launched
	CHAOS_FAILOVERS=$(or $(FAILOVERS),24) $(BIN)/python -m pytest tests/chaos/test_failover.py

.PHONY: demo
demo: install ## Real test containers, five at a time, watched live in the terminal
	$(BIN)/python e2e/demo/demo.py

.PHONY: bench
bench: install ## How long a slot stays empty, beside an ideal loop; all benchmarks, and what each takes: docs/benchmarks.md
	$(BIN)/python -m benchmarks.handoff --capacities 5 --durations 0 --contenders ideal operator

.PHONY: image
image: install ## Build the operator's image; BASE=... for another base than python:3.13-slim
	$(BIN)/kindless build image --tag $(IMAGE) $(if $(BASE),--build-arg BASE=$(BASE)) --build-arg REVISION=$$(git rev-parse HEAD) .

# With extras: pip takes the newest, not the pinned one, of what is asked for with an extra only.
.PHONY: lock
lock: install ## Pin every dependency again (requirements/*.txt)
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --generate-hashes --no-header --no-strip-extras --quiet --upgrade -o requirements/dev.txt
	$(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-header --no-strip-extras --quiet --upgrade -o requirements/runtime.txt
	$(BIN)/uv pip compile --group build --universal --generate-hashes --no-header --no-strip-extras --quiet --upgrade -c requirements/dev.txt -o requirements/build.txt

.PHONY: clean
clean: ## Remove .venv, caches and the clusters of this checkout
	@if [ -x $(BIN)/kindless ]; then for name in $$($(BIN)/kindless get clusters 2>/dev/null | grep '^supercheck' || true); do $(BIN)/kindless delete cluster --name $$name; done; fi
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage dist build logs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
