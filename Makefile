# Everything in one place: `make help` tells what there is. Every target first makes .venv, once.

VENV := .venv
ifeq ($(OS),Windows_NT)  # in Git Bash
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif
CHAPTERS := $(sort $(wildcard chapters/*.ipynb))
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:  ## Show this list
	@echo "Targets (ARGS='...' adds options to book, lab, train and benchmark; PYTHON=... names a Python, 3.11 or newer):"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s  %s\n", $$1, $$2 }' Makefile

.PHONY: install
install: $(VENV)/installed  ## Only make .venv: every other target does it by itself

# A failed build is forgotten, or else the next one would find nothing to do and call that success.
.PHONY: book
book: $(VENV)/installed  ## Run the notebooks whose results may have changed, and make the pages: _build/html/index.html
	$(BIN)/jupyter-book build -W -n --keep-going . $(ARGS) || { rm -rf _build/.doctrees; exit 1; }

.PHONY: lab
lab: $(VENV)/installed  ## Open the first chapter in JupyterLab
	$(BIN)/jupyter lab $(firstword $(CHAPTERS)) $(ARGS)

.PHONY: train
train: $(VENV)/installed  ## Train a detector on the GPU if there is one, else on the CPU
	$(BIN)/python -m ssd_lite train $(ARGS)

.PHONY: benchmark
benchmark: $(VENV)/installed  ## Measure speed and memory beside torchvision's SSD: figures/records/benchmark_*.json
	$(BIN)/python -m benchmarks $(ARGS)

# One thread for each worker: the workers already fill the cores. The longest test, the book's build, starts first.
# A worker that a hanging test has ended (see pyproject.toml) is replaced once: more would only repeat the wait.
# The chapters run apart, for what they execute does not count as tested; chapter 11 trains a few steps only.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -n logical --maxprocesses 4 --dist loadfile \
	--no-loadscope-reorder --max-worker-restart 1
.PHONY: test
test: lint  ## Check everything: style, package, notebooks (all are run) and the book
	$(PYTEST) tests --cov
	$(PYTEST) chapters -p tests.helpers.short_training --nbval-lax --nbval-current-env --nbval-cell-timeout 1800

# What a second system or another Python could change; the book and its pages are the same everywhere.
.PHONY: check
check: lint  ## Check style and the package, without running the book: minutes
	$(PYTEST) tests --ignore tests/book --ignore tests/chapters --ignore tests/benchmarks

.PHONY: lint
lint: $(VENV)/installed  ## Check style, types, workflows, and that the chapters show the package's own source
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/python -m book.sync --check

.PHONY: sync
sync: $(VENV)/installed  ## Write the package's source into the chapters, and strip their outputs
	$(BIN)/python -m book.sync
	$(if $(CHAPTERS),$(BIN)/nbstripout --keep-id $(CHAPTERS))

.PHONY: figures
figures: $(VENV)/installed  ## Draw the diagrams from the specs: figures/*.svg
	$(BIN)/python -m figures.draw

.PHONY: lock
lock: $(VENV)/pyvenv.cfg  ## Choose the newest versions that requirements.txt allows: requirements.lock
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest \
	  --no-annotate --no-emit-index-url --custom-compile-command "make lock" requirements.txt -o requirements.lock

.PHONY: clean
clean:  ## Remove what was made here, but for .venv, node_modules and trained detectors
	rm -rf _build .coverage .coverage.* .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

$(VENV)/installed: requirements.lock | $(VENV)/pyvenv.cfg
	@echo "Installing what the book needs into $(VENV): once, a few minutes and, with CUDA, about 6 GB"
	$(BIN)/python -m pip install --quiet -r requirements.lock
	@touch $@

$(VENV)/pyvenv.cfg:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "No '$(PYTHON)' here. Install Python 3.11 or newer, or name yours: make ... PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "This is $$($(PYTHON) -V 2>&1); the book needs Python 3.11 or newer." \
	    "Install one and name it: make ... PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
