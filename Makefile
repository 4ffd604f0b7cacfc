# Keepstone's commands. `make` alone lists them. Everything they make stands in .venv and in the home folder (README).

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
BIN := .venv/bin
KEEPSTONE := $(BIN)/keepstone
PINS := $(wildcard constraints/*.txt)
BOOTSTRAP := scripts/bootstrap.py scripts/debian.py
# Unit tests before the slow end-to-end ones: what fails, fails early.
TESTS := $(filter-out tests/e2e,$(patsubst %/,%,$(sort $(wildcard tests/*/)))) $(wildcard tests/test_*.py) tests/e2e
BENCHMARKS := $(filter-out smoke,$(basename $(notdir $(shell grep -l '^if __name__' benchmarks/*.py))))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help up down install install-dev engine test lint types format smoke bench pins docs clean

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

# Installing talks on stderr: what `smoke` and `bench` print on stdout is JSON alone.
.venv/.installed: pyproject.toml $(PINS) $(BOOTSTRAP)
	@$(PYTHON) scripts/bootstrap.py >&2
	@touch $@

.venv/.installed-dev: pyproject.toml $(PINS) $(BOOTSTRAP)
	@$(PYTHON) scripts/bootstrap.py --dev >&2
	@touch .venv/.installed $@

install: .venv/.installed ## Install Keepstone into .venv
install-dev: .venv/.installed-dev ## Install Keepstone and what its tests and checks need

engine: .venv/.installed ## Install vLLM, the language model's server, into an environment of its own
	@$(KEEPSTONE) engine install >&2

up: .venv/.installed ## Install all, fetch the starter models, read the examples, start; prints the URL
	@$(KEEPSTONE) up --detach --examples examples/documents

down: .venv/.installed ## Stop what `make up` started
	@$(KEEPSTONE) down

test: .venv/.installed-dev engine ## Run all tests; those of the real engine and browser come last
	@$(BIN)/python scripts/debian.py tests
	$(BIN)/pytest $(TESTS) $(ARGS)

lint: .venv/.installed-dev ## Check style, layering and layout
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/test_layout.py

types: .venv/.installed-dev ## Check types
	$(BIN)/mypy
	$(BIN)/mypy -p benchmarks
	MYPYPATH=scripts $(BIN)/mypy scripts/*.py

format: .venv/.installed-dev ## Put the code into its standard form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

smoke: .venv/.installed-dev engine ## Do the main job headless, with the real engine, in a scratch folder
	@$(BIN)/python -m benchmarks.smoke

bench: .venv/.installed-dev engine ## Run every benchmark; JSON on stdout, tables on stderr
	@$(foreach name,$(BENCHMARKS),$(BIN)/python -m benchmarks.$(name) --json &&) true

pins: .venv/.installed-dev ## Write constraints/ from the versions in .venv
	$(BIN)/python scripts/pins.py

docs: .venv/.installed-dev ## Write the generated pages of docs/
	$(BIN)/python scripts/reference.py

clean: ## Delete .venv and every cache; your documents and models stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build scratch
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
