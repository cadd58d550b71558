# Two commands: `make run` (a first sweep, half a minute) and `make test` (a few minutes). Each makes
# .venv and installs into it when that has not been done, or when a requirements file has changed.

PYTHON ?= python3
# The index that replaces pip's usual one for torch (and what torch needs), as for the CPU build or another
# CUDA's; all else comes from the usual one. A .venv that has torch already keeps it: `make clean` first.
#   make TORCH_INDEX=https://download.pytorch.org/whl/cpu run
TORCH_INDEX ?=

BIN := .venv/bin
# All cores; a worker that has run out of tests takes some of another's.
PARALLEL := -n logical --dist worksteal
TORCH := $(shell sed -n 's/^torch==/torch==/p' requirements.txt)
SOAK_MINUTES ?= 30
DEPENDENCIES := requirements.txt requirements-hpc.txt setup.py
# The tests of language models need the extra lm. Its packages need a torch, which must not be replaced.
DEV := requirements-dev.txt requirements-lm.txt

.PHONY: run test test-all soak check bench clean

run: .venv/installed
	$(BIN)/python src/experiments/bd_scheduler.py --preset quickstart

test: .venv/installed-dev
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

test-all: .venv/installed-dev
	$(BIN)/python -m pytest $(PARALLEL)

# Runs and sweeps that are killed at random moments: make soak SOAK_MINUTES=5
soak: .venv/installed-dev
	SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python -m pytest -s tests/soak/soak.py tests/soak/tiny.py

check: .venv/installed-dev
	$(BIN)/pre-commit run --all-files --show-diff-on-failure

bench: .venv/installed
	$(BIN)/python benchmarks/run.py

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "distributed_ml needs Python >= 3.11; name one: make PYTHON=python3.12 run"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python $(DEPENDENCIES)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=23.2" "setuptools>=68" wheel
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --index-url $(TORCH_INDEX) $(TORCH))
	@echo "installing into .venv: some minutes, most of it torch"
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv/installed-dev: .venv/installed $(DEV)
	$(BIN)/python -m pip install --quiet $(addprefix -r ,$(DEV)) $(TORCH)
	@touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
