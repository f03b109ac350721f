# make help explains the rest.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check
UV := uv==0.13.9
# For every Python from 3.11 and every platform; what is pinned stays, unless ARGS say otherwise.
LOCK = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(ARGS)
# Large, and of no use to a type checker: our code imports none of them.
UNTYPED := httptools psycopg2-binary pygments tzdata uvloop

.DEFAULT_GOAL := help
.PHONY: help demo run test bench lint format lock clean

help: ## Show what make can do here
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/service ## Try everything without an OpenAI key: a stand-in answers, on SQLite
	@$(RUN) -m tests.demo

run: $(VENV)/service ## Serve for real, with the OpenAI key and the database of .env
	@$(RUN) main.py

test: $(VENV)/tests ## Run all tests, on SQLite and on a real PostgreSQL
	@$(RUN) -m pytest -n 3 --dist worksteal $(ARGS)

bench: $(VENV)/tests ## Measure generation beside a bare and a naive handler (about 5 minutes)
	@$(RUN) -m bench $(ARGS)

lint: $(VENV)/lint ## Check style and types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy .

format: $(VENV)/lint ## Put the code in the house style
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

lock: $(VENV)/made ## Pin what the requirements*.in list (ARGS=--upgrade: at its newest)
	@$(INSTALL) $(UV)
	@$(LOCK) requirements.in -o requirements.txt
	@$(LOCK) requirements-lint.in -o requirements-lint.txt $(UNTYPED:%=--no-emit-package %)
	@$(LOCK) requirements-test.in -o requirements-test.txt

clean: ## Remove the virtual environment and caches; data stays
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is %s. Name another with: make PYTHON=python3.12" % sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/service: requirements.txt | $(VENV)/made
	@echo "Installing into $(VENV) (once) ..."
	@$(INSTALL) -r requirements.txt
	@touch $@

$(VENV)/tests: requirements-test.txt | $(VENV)/made
	@echo "Installing what the tests need (once) ..."
	@$(INSTALL) -r requirements-test.txt
	@touch $@ $(VENV)/service  # which is among it

# To be read, not to be run: without bytecode, and without what UNTYPED leaves out.
$(VENV)/lint: requirements-lint.txt | $(VENV)/made
	@echo "Installing what checks the code (once) ..."
	@$(INSTALL) --no-compile --no-deps -r requirements-lint.txt
	@touch $@
