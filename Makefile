# The two commands of the README: `make demo` and `make test`. Needs make and Python >= 3.10, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
# One OpenMP thread: the tests' tensors are small, and waiting threads would take the cores from the physics.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ARGS)

.DELETE_ON_ERROR:
.PHONY: help install demo lint test test-fast test-all clean

help:
	@echo "make install    create $(VENV) and install robodistill with everything for training"
	@echo "make demo       train a Go2 teacher, distil a student, export and check policy.onnx"
	@echo "make test       lint, types, import rules and all tests that CI needs"
	@echo "make test-fast  tests of the inner loop only (pytest -m 'not slow')"
	@echo "make test-all   everything, with the long learning tests"
	@echo "                (ARGS='-n 2 -x' hands options to pytest)"
	@echo "make clean      remove $(VENV) and caches; runs/ is left alone"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "robodistill needs Python >= 3.10; name one with make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# A stamp per set of extras: a second run is instant, a changed pyproject or constraints file installs again.
$(VENV)/train.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing robodistill[train] into $(VENV) (a few minutes, once)"
	$(PIP) --editable '.[train]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing robodistill[dev] into $(VENV) (a few minutes, once)"
	$(PIP) --editable '.[dev]'
	@touch $(VENV)/train.stamp $@

install: $(VENV)/train.stamp
	@echo "ready: $(BIN)/robodistill --help"

demo: $(VENV)/train.stamp
	$(BIN)/robodistill pipeline task=go2_flat run=demo
	@echo "report: $(CURDIR)/runs/demo/report.html"
	@echo "policy: $(CURDIR)/runs/demo/policy.onnx"

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check --quiet
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# The fast tests first: what is broken shows within two minutes.
test: lint
	$(PYTEST) -n 2 -m "not slow and not long"
	$(PYTEST) -n 2 -m "slow and not long"

test-fast: $(VENV)/dev.stamp
	$(PYTEST) -m "not slow and not long"

test-all: lint
	$(PYTEST)

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
