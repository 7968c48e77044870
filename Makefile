# Each target sets up what it needs; only python3 and make are assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP = $(@D)/bin/python -m pip install --quiet --disable-pip-version-check
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url
FEED := sample-feed

.DEFAULT_GOAL := help
.PHONY: help setup sync test test-warehouses test-walks test-examples soak lint bench lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 17

setup: $(VENV)/dev ## install headrace and the tools for its development into .venv

$(VENV)/ready: requirements.lock
$(VENV)-warehouses/ready: requirements-warehouses.lock
$(VENV)/ready $(VENV)-warehouses/ready: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(PIP) --no-deps --require-hashes -r $(filter %.lock,$^)
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/dev: requirements-dev.lock $(VENV)/ready
	$(PIP) --no-deps --require-hashes -r $<
	touch $@

sync: $(VENV)/ready ## make a sample feed, load it hour by hour, build, show what is there, and write report.html
	@test -e $(FEED)/done || for hour in 1 2 3 4 5 6; do \
		$(BIN)/headrace sample $(FEED) --hours $$hour && $(BIN)/headrace sync $(FEED) --no-build || exit 1; done
	@touch $(FEED)/done
	@grep -qs ^headrace: profiles.yml ~/.dbt/profiles.yml || test -n "$$DBT_PROFILES_DIR" || cp -n profiles.example.yml profiles.yml
	$(BIN)/headrace sync $(FEED)
	@$(BIN)/headrace show
	@$(BIN)/headrace report

test: setup ## run the tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-warehouses: $(VENV)-warehouses/ready ## run the tests on PostgreSQL, and on stand-ins for BigQuery, Snowflake and Redshift
	$(VENV)-warehouses/bin/python -m pytest -m "warehouses and not soak" tests/test_warehouses.py --numprocesses 2 --dist worksteal

test-walks: setup ## do with the wheel what people do in their first days, and open the report in Debian's chromium
	$(BIN)/python -m pytest -m "examples and not soak" tests/test_walks.py tests/test_report.py --numprocesses 2 --dist loadgroup

test-examples: setup $(VENV)-airflow/ready $(VENV)-dagster/ready $(VENV)-metricflow/ready $(VENV)-spark/ready ## run what examples/ has for cron, systemd, GitHub Actions, Airflow, Dagster and Docker, ask MetricFlow for metrics, and read tables by Spark
	$(BIN)/python -m pytest -m examples tests/test_examples.py tests/test_lake.py

$(VENV)-airflow/ready: PACKAGES = 'apache-airflow>=3,<4'
$(VENV)-dagster/ready: PACKAGES = dagster dagster-dbt .
$(VENV)-metricflow/ready: PACKAGES = 'dbt-metricflow>=0.15,<0.16' 'dbt-duckdb>=1.10,<2'
$(VENV)-spark/ready: PACKAGES = 'pysail>=0.7,<0.8' 'pyspark-client>=4,<5'
$(VENV)-airflow/ready $(VENV)-dagster/ready $(VENV)-metricflow/ready $(VENV)-spark/ready:
	$(PYTHON) -m venv $(@D)
	$(PIP) $(PACKAGES)
	touch $@

soak: setup $(VENV)-warehouses/ready ## run the property and kill tests for hours rather than minutes, and walks and upgrades under all that is here
	HEADRACE_KILLS=300 HEADRACE_HISTORIES=1000 HEADRACE_TEST_SEEDS="1 2 3 4 5 6 7 8" \
		$(BIN)/python -m pytest -m "not warehouses and (soak or not examples)"
	HEADRACE_ALL_STEPS=1 $(VENV)-warehouses/bin/python -m pytest -m warehouses tests/test_warehouses.py --numprocesses 2 --dist worksteal

lint: setup ## check style and types of Python and SQL
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	mkdir -p .headrace/lint && cp profiles.example.yml .headrace/lint/profiles.yml
	DBT_PROFILES_DIR=.headrace/lint HEADRACE_DUCKDB=:memory: $(BIN)/sqlfluff lint models

bench: setup $(VENV)-warehouses/ready ## measure the loader against the floor and plain dlt, and what an hour costs
	$(BIN)/python tests/bench.py
	$(VENV)-warehouses/bin/python tests/bill.py

lock: ## pin what pyproject.toml asks for, for every Python and platform it allows
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(LOCK) --group checkout pyproject.toml -o requirements.lock
	$(LOCK) --constraint requirements.lock --group dev pyproject.toml -o requirements-dev.lock
	$(LOCK) --group warehouses --extra bigquery --extra postgres --extra redshift --extra snowflake pyproject.toml -o requirements-warehouses.lock

clean: ## remove what the targets made
	rm -rf $(VENV) $(VENV)-* .standins $(FEED) .headrace target logs headrace.duckdb* report.html
