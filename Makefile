# Two commands matter: `make demo` and `make test`. Each does all set-up by itself.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUN := runs/demo

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint pytest torture browser-test bench clean

help:
	@echo 'make demo   distil the bundled teacher, export it, prove parity, estimate energy, report'
	@echo 'make test   lint, types, import contracts and every test, those in Lava included'
	@echo 'make torture  a thousand networks in Lava, malformed files, kills at any moment; many minutes'
	@echo 'make setup  only the environments: .venv, and the Python 3.10 one for Lava'
	@echo 'make lint   formatting, lint, types and import contracts'
	@echo 'make browser-test  the pages in a real Chromium, which must be installed'
	@echo 'make bench  the benchmarks whose tables the documentation shows'
	@echo 'make clean  remove .venv and caches; runs/ stays'
	@echo 'PYTHON=...  the Python to build .venv with; 3.11 to 3.13 (now: $(PYTHON))'

setup: $(INSTALLED)
	$(BIN)/stars lava setup

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo 'error: $(PYTHON) is not a Python 3.11 to 3.13; use make PYTHON=...' >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,lava]'
	touch $@

demo: setup
	$(BIN)/stars distill --out $(RUN) --preset default
	$(BIN)/stars export $(RUN) --target nir
	$(BIN)/stars export $(RUN) --target onnx
	$(BIN)/stars export $(RUN) --target lava
	$(BIN)/stars energy $(RUN)
	$(BIN)/stars parity $(RUN)
	$(BIN)/stars report $(RUN)

test: setup lint pytest

# The worker is a program of its own, for Lava's Python; Lava has no types to inherit.
lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	cd targets/lava/worker && MYPYPATH=. $(CURDIR)/$(BIN)/mypy . \
	  --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache \
	  --python-version 3.10 --explicit-package-bases \
	  --allow-subclassing-any --allow-untyped-decorators
	$(BIN)/lint-imports

# A test that would skip because Lava is missing fails here. Two threads: the tests'
# arrays are small, and the simulators run processes of their own.
pytest: setup
	STARS_REQUIRE_LAVA=1 OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} $(BIN)/pytest

torture: setup
	STARS_REQUIRE_LAVA=1 $(BIN)/pytest -m torture tests/torture

# In pytest above these skip where there is no Chromium; here that is a failure.
browser-test: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[browser]'
	STARS_REQUIRE_BROWSER=1 $(BIN)/pytest -m browser

bench: setup
	set -e; for script in benchmarks/*.py; do $(BIN)/python $$script; done

clean:
	rm -rf $(VENV) dist build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
