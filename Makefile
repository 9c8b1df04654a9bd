# Every target sets up what it needs from nothing: a virtual environment in .venv, filled by pip.
# PYTHON names the interpreter to build it with:  make demo PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: help demo test lint format bench bench-compiled bench-ops bench-check api peers-suites clean

help:
	@echo "make demo    gradients by hand, by differences and by pullback, on real data; writes to out/"
	@echo "make test    all tests, comparisons with PyTorch, JAX and TensorFlow included"
	@echo "make lint    ruff and mypy"
	@echo "make format  rewrite the sources as lint wants them"
	@echo "make bench   timings against PyTorch"
	@echo "make bench-compiled  compiled programs against JAX and PyTorch, and the distance to the hardware"
	@echo "make bench-ops  every op, forward and backward, against its NumPy evaluation"
	@echo "make bench-check  gradient checkers on a corpus of planted faults"
	@echo "make api     docs/api.md: every function, its modes and dtypes"
	@echo "make peers-suites DIR=...  the test suites of HIPS/autograd and MyGrad, checkouts in DIR, on pullback"
	@echo "make clean   remove .venv, out and caches"

demo: $(READY)-demo
	$(PY) -m pullback.demo

test: $(READY)-test
	$(PY) -m pytest -n 2

lint: $(READY)-lint
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

format: $(READY)-lint
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

bench: $(READY)-test
	$(PY) -m benchmarks.eager

bench-compiled: $(READY)-test
	$(PY) -m benchmarks.compiled

bench-ops: $(READY)-test
	$(PY) -m benchmarks.ops

bench-check: $(READY)-test
	$(PY) -m benchmarks.check --peers

api: $(READY)-test
	$(PY) docs/make_api.py

peers-suites: $(READY)-test
	@test -n "$(DIR)" || { echo "Name the directory that holds the checkouts:  make peers-suites DIR=..."; exit 1; } >&2
	$(PY) tests/suites/run.py $(DIR)

clean:
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# A stamp for each set of extras; a changed pyproject.toml makes them all stale.
$(READY)-demo: EXTRAS := demo
$(READY)-lint: EXTRAS := dev
$(READY)-test: EXTRAS := dev,demo,peers

$(READY)-demo $(READY)-lint $(READY)-test: pyproject.toml | $(READY)
	@echo "Installing pullback[$(EXTRAS)] into $(VENV) ..."
	@$(PY) -m pip --disable-pip-version-check --quiet install --editable '.[$(EXTRAS)]'
	@touch $@

$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "pullback needs Python 3.11 or newer, but $(PYTHON) is: $$($(PYTHON) --version 2>&1)."; \
		echo "Name a newer one:  make $(or $(MAKECMDGOALS),demo) PYTHON=python3.12"; \
		exit 1; } >&2
	@$(PYTHON) -m venv $(VENV)
	@touch $@
