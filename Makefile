# `make demo` and `make test` do everything on a fresh Debian or Ubuntu machine. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE
export LITELLM_LOCAL_MODEL_COST_MAP := True

.DEFAULT_GOAL := help
.PHONY: help venv setup demo check static unit test bench soak format lock wheel clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "dep-mcp needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing Debian's python3-venv" >&2; apt-get -qq update && apt-get -qq install -y python3-venv >/dev/null; \
	  else echo "Python's venv module is missing: sudo apt-get install python3-venv" >&2; exit 2; fi; }
	@echo "making the virtual environment .venv" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

venv: .venv/ready ## make the virtual environment

setup: venv ## make a container engine and a base image available
	@$(BIN)/dep-mcp setup

demo: setup ## evaluate a real small model on a sealed benchmark
	@$(BIN)/dep-mcp run -b reasoning_gym -m smollm2-135m --limit 24

static: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m dep_mcp.protocol.schemas --check docs/schemas

unit: venv
	$(BIN)/pytest -q -m "not docker and not model and not data and not soak"

check: static unit ## format, lint, types, arrows, schemas, unit tests: no engine, network or key

test: setup static ## everything, with containers and the real model
	$(BIN)/pytest -q -m "not soak" --cov --cov-report=term:skip-covered

bench: setup ## measure speed and memory against bare loops and peers (an hour)
	$(BIN)/python -m bench

soak: setup ## the long fault and attack runs at full counts
	DEP_MCP_SOAK=1 $(BIN)/pytest -q -m "not model and not data" tests/e2e/test_kills.py tests/e2e/test_engine_kills.py \
	  tests/e2e/test_attacks*.py tests/e2e/test_verify_seal.py tests/e2e/test_full_disk.py tests/containers tests/scoring tests/server tests/results \
	  tests/models tests/metrics tests/protocol tests/fuzz

format: venv ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m dep_mcp.protocol.schemas docs/schemas

UV := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
      --no-emit-find-links --no-header --no-annotate
lock: ## lock all dependencies anew
	@test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet uv; }
	$(UV) pyproject.toml --extra dev --extra local build-requirements.in -o requirements.lock
	$(UV) -c requirements.lock images/benchmark/requirements.in -o images/benchmark/requirements.txt
	$(UV) -c images/benchmark/requirements.txt --no-emit-package pycosat --prerelease allow \
	  benchmark_servers/reasoning_gym/requirements.in -o benchmark_servers/reasoning_gym/requirements.txt

wheel: venv ## build the wheel
	$(BIN)/python -m build --no-isolation --outdir dist .

clean: ## remove what these targets made (not the store, images or engine)
	rm -rf .venv dist .pytest_cache .ruff_cache .mypy_cache .coverage .hypothesis
