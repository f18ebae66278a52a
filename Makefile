# `make report` and `make test` set up everything they need; `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

.DEFAULT_GOAL := help
.PHONY: help setup report smoke test lint format lab gauntlet proving worlds accuracy other-days chaos mutations bench hostile pins clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(READY) ## the environment in .venv, and nothing else

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "slotfill needs Python 3.11 or newer, and $(PYTHON) is older: run make with PYTHON=python3.12, say" >&2; exit 2; }
	@echo "Setting up $(VENV) (about a minute, once)"
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "$(PYTHON) cannot make a virtual environment: install its venv package (python3-venv on Debian)" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

report: $(READY) ## the main job on the embedded platform, with the plan's parameters, and a test of its verdict
	@$(BIN)/slotfill run -f params/base.yaml --prove

smoke: $(READY) ## the main job, small
	@$(BIN)/slotfill run -f params/smoke.yaml

test: $(READY) ## all tests
	@$(BIN)/python -m pytest -n 3 --dist loadfile

lint: $(READY) ## style, types, and notebooks without outputs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/nbstripout --verify --keep-id $(NOTEBOOKS)

format: $(READY) ## rewrite the code in its one style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/nbstripout --keep-id $(NOTEBOOKS)

lab: $(READY) ## JupyterLab on the notebooks
	@PYTHONSAFEPATH=1 $(BIN)/jupyter lab --notebook-dir=.

gauntlet: $(READY) ## plant every cause and see whether the write-up names it (half an hour)
	@$(BIN)/python tests/gauntlet.py --seeds 3

proving: $(READY) ## plant causes, and see whether prove confirms right verdicts and refutes wrong ones (an hour)
	@$(BIN)/python tests/proving.py --seeds 3

worlds: $(READY) ## judge the verdict and the intervals on simulated platforms with a known truth (20 minutes)
	@$(BIN)/python tests/worlds/interval_coverage.py
	@$(BIN)/python tests/worlds/judge.py

coherence: $(READY) ## render the reports of a hundred simulated platforms and look for what contradicts itself (20 minutes)
	@$(BIN)/python tests/worlds/coherence.py --worlds 50

aa: $(READY) ## compare unchanged runs, simulated and driven, and count what is called a change (a quarter of an hour)
	@$(BIN)/python tests/aa.py worlds --pairs 40
	@$(BIN)/python tests/aa.py runs --pairs 8

accuracy: $(READY) ## plant known costs and see how right the figures are, on a machine that does nothing else (half an hour)
	@$(BIN)/python tests/accuracy.py sensitivity
	@$(BIN)/python tests/accuracy.py prediction
	@$(BIN)/python tests/accuracy.py sampling

other-days: $(READY) ## all tests on six other days, with shifted clocks (an hour)
	@$(BIN)/python tests/other_days.py

chaos: $(READY) ## kill, stop, tear, move and fill up parts of two hundred runs, resume them, count what was lost (two hours)
	@$(BIN)/python tests/chaos.py --runs 200

mutations: $(READY) ## read 100,000 damaged logs, each with both readers (an hour)
	@SLOTFILL_MUTATIONS=50000 $(BIN)/python -m pytest -n 2 --timeout 0 tests/read/test_mutations.py tests/read/test_regular.py

bench: $(READY) ## ours and its peers in turn, docs/benchmarks.md, in some twelve minutes (a part: BENCH="--repeats 1 logs"); then the integrity check by size
	@$(BIN)/python bench $(BENCH)
	@$(BIN)/python bench/integrity.py

hostile: $(READY) ## give every kind of hostile answer to every request of the driver (some minutes)
	@$(BIN)/python tests/hostile.py

pins: $(READY) ## pin every package anew
	@$(BIN)/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[dev]'
	@{ echo "# Every package of the environment, pinned. Made by \`make pins\` from pyproject.toml; do not edit."; \
		$(BIN)/python -m pip freeze --exclude-editable; } > requirements.txt

clean: ## remove the environment and the caches; what was measured stays in artifacts/
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis lib/*.egg-info
