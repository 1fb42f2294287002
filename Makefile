# Two commands matter: `make demo` and `make test`. Each does all set-up by itself.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOWEST := .venv-lowest
HIGHEST := .venv-highest
# The first Python 3.13 that runs: a version manager's may only print an error.
HIGHEST_PYTHON ?= $(firstword $(foreach python,\
  python3.13 $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3),\
  $(if $(shell $(python) -c 'import ensurepip; print(1)' 2>/dev/null),$(python))))
RUN := runs/demo
QUICK := runs/fashion-mnist-student

.DEFAULT_GOAL := help
.PHONY: help setup quick demo test lint pytest docs test-lowest test-highest torture conformance cross-test browser-test bench clean

help:
	@echo 'make quick  the student that ships with STARS: prove it, estimate its energy, report'
	@echo 'make demo   distill the bundled teacher, export it, prove parity, estimate energy, report'
	@echo 'make test   lint, types, import contracts and every test, those in Lava included'
	@echo 'make test-lowest   the tests with the lowest versions that are supported, on Python 3.11'
	@echo 'make test-highest  the tests with the newest versions, on Python 3.13'
	@echo 'make torture  a thousand networks in Lava, malformed files, kills at any moment; 18 minutes'
	@echo 'make setup  only the environments: .venv, and the Python 3.10 one for Lava'
	@echo 'make lint   formatting, lint, types and import contracts'
	@echo 'make cross-test  the C as WebAssembly and as Arm firmware in QEMU, whose tools must be installed'
	@echo 'make browser-test  the pages in a real Chromium, which must be installed'
	@echo 'make docs   the documentation as a site, in site/; fails on a broken link'
	@echo 'make conformance  readers of NIR on the suite, and the table of the documentation'
	@echo 'make bench  the benchmarks whose tables the documentation shows'
	@echo 'make clean  remove the environments but for that of Lava, and caches; runs/ stays'
	@echo 'PYTHON=...  the Python to build .venv with; 3.11 to 3.13 (now: $(PYTHON))'

setup: $(INSTALLED)
	$(BIN)/stars lava setup

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo 'error: $(PYTHON) is not a Python 3.11 to 3.13; use make PYTHON=...' >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo 'installing STARS and torch: 75 s to 3 minutes, 5.6 GB on disk with CUDA'
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --editable '.[dev,lava]' || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,lava]'
	touch $@

# A finished student ships with STARS: this trains nothing, and needs no Lava.
quick: $(INSTALLED)
	$(BIN)/stars parity $(QUICK) --images 1000 $(addprefix --target ,student norse onnx loihi)
	$(BIN)/stars energy $(QUICK) --images 1000
	$(BIN)/stars report $(QUICK)

demo: setup
	$(BIN)/stars distill --out $(RUN) --preset default
	$(BIN)/stars export $(RUN) --target nir
	$(BIN)/stars export $(RUN) --target onnx
	$(BIN)/stars export $(RUN) --target lava
	$(BIN)/stars energy $(RUN) --images 1000
	$(BIN)/stars parity $(RUN) --images 1000
	$(BIN)/stars report $(RUN)

test: setup lint pytest

# The worker is a program of its own, for Lava's Python; Lava has no types to inherit.
lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	cd targets/lava/worker && MYPYPATH=.:$(CURDIR)/export $(CURDIR)/$(BIN)/mypy . \
	  --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache \
	  --python-version 3.10 --explicit-package-bases \
	  --allow-subclassing-any --allow-untyped-decorators
	$(BIN)/lint-imports

# A test that would skip because Lava is missing fails here. Two threads: the tests'
# arrays are small, and the simulators run processes of their own.
pytest: setup
	STARS_REQUIRE_LAVA=1 OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} $(BIN)/pytest

# Of what we ask for ourselves, the lowest version. Old packages may use what newer ones
# below them deprecate: here that is no failure. Two tests that start many processes are
# left out: torch 2.11 compiles anew in each, for minutes.
test-lowest: setup $(LOWEST)/.installed
	$(LOWEST)/bin/stars doctor --load --require onnx --require lava
	STARS_REQUIRE_LAVA=1 OMP_NUM_THREADS=1 $(LOWEST)/bin/pytest --numprocesses 2 \
	  --dist worksteal -W default::DeprecationWarning \
	  --deselect tests/torture/test_kills.py --deselect tests/cli/test_bench_command.py

$(LOWEST)/.installed: pyproject.toml | $(INSTALLED)
	$(BIN)/uv venv --quiet --clear --python python3.11 $(LOWEST)
	$(BIN)/uv pip install --quiet --system-certs --python $(LOWEST) \
	  --resolution lowest-direct --editable '.[dev,lava]'
	touch $@

test-highest: setup $(HIGHEST)/.installed
	$(HIGHEST)/bin/stars doctor --load --require onnx --require lava
	STARS_REQUIRE_LAVA=1 OMP_NUM_THREADS=1 $(HIGHEST)/bin/pytest --numprocesses 2 \
	  --dist worksteal

$(HIGHEST)/.installed: pyproject.toml | $(INSTALLED)
	@test -n '$(HIGHEST_PYTHON)' || \
	  { echo 'error: no Python 3.13 that runs; use make HIGHEST_PYTHON=...' >&2; exit 2; }
	$(BIN)/uv venv --quiet --clear --python $(HIGHEST_PYTHON) $(HIGHEST)
	$(BIN)/uv pip install --quiet --system-certs --python $(HIGHEST) \
	  --upgrade --editable '.[dev,lava]'
	touch $@

# Several at once: most of them wait for other processes.
torture: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[torture]'
	STARS_REQUIRE_LAVA=1 OMP_NUM_THREADS=1 $(BIN)/pytest -m torture tests/torture \
	  --numprocesses 3 --dist worksteal

# In pytest above these skip where there is no Chromium; here that is a failure.
browser-test: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[browser]'
	STARS_REQUIRE_BROWSER=1 $(BIN)/pytest -m browser

# In pytest above these skip where a tool is missing; here that is a failure.
cross-test: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[c]'
	STARS_REQUIRE_CROSS=1 $(BIN)/pytest -m cross

# The pages load nothing from the network; neither does the build.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.docs: pyproject.toml | $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

# Each reader in an environment of its own, from the network. Wrong spikes of others are
# a result; ours must be right.
READERS := norse snntorch spikingjelly sinabs rockpool nirtorch snn-mlir
conformance: setup
	$(BIN)/stars conformance run --cases conformance --reader ours
	-$(BIN)/stars conformance run --cases conformance --markdown \
	  --reader ours $(addprefix --reader ,$(READERS))

bench: setup
	set -e; for script in benchmarks/*.py; do $(BIN)/python $$script; done

clean:
	rm -rf $(VENV) $(LOWEST) $(HIGHEST) dist build site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
