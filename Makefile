# Each target sets up what it needs; only python3 and make are assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FEED := sample-feed

.DEFAULT_GOAL := help
.PHONY: help setup sync test lint bench lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(VENV)/ready ## install headrace and its tools into .venv, at the versions of requirements.lock

$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

sync: setup ## make a sample feed, load it hour by hour, build, and show what is there
	$(BIN)/headrace sample $(FEED) --hours 3
	$(BIN)/headrace sync $(FEED)
	for hour in 4 5 6; do $(BIN)/headrace sample $(FEED) --hours $$hour && $(BIN)/headrace sync $(FEED) --no-build || exit 1; done
	$(BIN)/headrace sync $(FEED)
	$(BIN)/headrace show

test: setup ## run the tests
	$(BIN)/python -m pytest

lint: setup ## check style and types of Python and SQL
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint --processes 2 models macros

bench: setup ## measure the loader against the floor and against plain dlt
	$(BIN)/python tests/bench.py

lock: ## pin what pyproject.toml asks for, for every Python and platform it allows
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --group dev pyproject.toml -o requirements.lock

clean: ## remove what the targets made
	rm -rf $(VENV) $(FEED) .headrace target logs headrace.duckdb*
