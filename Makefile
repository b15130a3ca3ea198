# Everything runs in .venv, which is made on the first use from the pins of constraints.txt.
# A bare machine needs Python 3.11 or later with venv, git and make; no Redis.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
# Tests often wait for a process: one more at a time than there are cores.
JOBS    ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 1)))
ARGS    ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_REQUIRE_VIRTUALENV := 1

.DEFAULT_GOAL := help
.PHONY: help install test lint types imports format unit demo soak matrix bench docs pins clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv with the pinned versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or later is needed, and '$(PYTHON)' is not: install it, or say which: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' has no venv module: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV) from constraints.txt …"
	@$(BIN)/python -c "" 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet -r constraints.txt
	@$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	@$(BIN)/python -m pip check --quiet
	@touch $@

test: lint types imports ## everything that CI checks: lint, types, import rules, the whole suite
	$(BIN)/pytest -n $(JOBS) $(ARGS)

lint: $(STAMP) ## style and mistakes (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## strict type check (mypy)
	$(BIN)/mypy

imports: $(STAMP) ## the arrows between the rooms (import-linter)
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## put the code into its form (ruff)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

unit: $(STAMP) ## the fast tests: no server, no process
	$(BIN)/pytest -m "not slow" tests/unit $(ARGS)

demo: $(STAMP) ## a release check by four teams on this repository (ARGS=PATH for another)
	$(BIN)/coord demo $(ARGS)

soak: $(STAMP) ## every promise under faults, about an hour; writes docs/reliability.md
	$(BIN)/python -m tests.faults --write $(ARGS)

matrix: $(STAMP) ## the whole suite on each server that is installed; writes docs/reliability.md
	$(BIN)/python -m tests.faults.matrix --write $(ARGS)

bench: $(STAMP) ## measure, beside raw redis-py on the same server
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(STAMP) ## write docs/reference.md from the commands' own help
	$(BIN)/python -m cli.reference docs/reference.md

pins: $(STAMP) ## work out constraints.txt anew; a pin that is there stays, a missing one becomes the newest
	@{ sed -n '/^#/p' constraints.txt; \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-header --no-annotate \
	    -c constraints.txt pyproject.toml; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## remove .venv and everything that was made
	rm -rf $(VENV) build dist demo-output *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
