# make help explains the rest.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo run test bench lint format clean

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

lint: $(VENV)/tests ## Check style and types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy .

format: $(VENV)/tests ## Put the code in the house style
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

clean: ## Remove the virtual environment and caches; data stays
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/service: requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is %s. Name another with: make PYTHON=python3.12" % sys.version.split()[0])'
	@echo "Installing into $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/tests: $(VENV)/service requirements-dev.txt
	@echo "Installing what the tests need (once) ..."
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
