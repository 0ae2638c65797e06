# Every target sets up its own .venv; Python 3.11+, make and git are all a machine needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
UV     := 0.13.9
# More than most machines have cores: the end-to-end tests, which begin first, mostly wait.
WORKERS ?= 5
# Extra arguments for pytest, e.g. make test ARGS="tests/test_reconcile.py -x"
ARGS   ?=

.PHONY: help setup demo test fuzz check format lock docs clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## create .venv with everything pinned in requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "qrie needs Python 3.11 or newer: no '$(PYTHON)' on this machine. Install it, or say PYTHON=/path/to/python3."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "qrie needs Python 3.11 or newer: '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Say PYTHON=/path/to/a/newer/python3."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "qrie needs Python's venv module: on Debian or Ubuntu, install the package python3-venv."; exit 1; }
	@test -x $(BIN)/python || { echo "Creating $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@test "$$($(BIN)/uv --version 2>/dev/null | cut -d' ' -f2)" = $(UV) || { echo "Fetching the installer ..."; $(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV); }
	@echo "Installing the pinned packages ..."
	@# Compiled once, not by each of the many processes that begin with them.
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install -q --compile-bytecode --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install -q --no-deps -e .
	@touch $@

demo: $(STAMP)  ## run qrie on an emulated organisation (ONCE=1: unattended, checks the result and exits)
	@$(BIN)/qrie demo run $(if $(ONCE),--once)

test: $(STAMP)  ## run all tests
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: $(STAMP)  ## the loop under faults, many more examples than in 'make test' (EXAMPLES=50000)
	FUZZ_EXAMPLES=$(or $(EXAMPLES),50000) $(BIN)/pytest tests/model $(ARGS)

check: $(STAMP)  ## formatting, lint, strict types, generated docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m qrie_dagster.docs --check

format: $(STAMP)  ## format and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)  ## regenerate the generated parts of docs/
	$(BIN)/python -m qrie_dagster.docs

lock: $(STAMP)  ## resolve the versions again after a change of pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate --extra dev --extra production pyproject.toml -o requirements.lock

clean:  ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .qrie
