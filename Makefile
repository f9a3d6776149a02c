# The environment of the project in .venv, and what one does in it. Any Python from 3.11 on: make PYTHON=python3.13 test
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.made

# What flake8-async knows and ruff does not. Left out: ASYNC109 (timeouts in seconds are parameters of the documented
# API); ASYNC102 and ASYNC120 (they know aclose(), but not our kill() and a nursery closed by hand, which end at once
# when cancelled, too); ASYNC114 and ASYNC128 (they suspect every function that only passes its task_status on).
FLAKE8_ASYNC := $(BIN)/flake8-async --enable ASYNC1 --disable ASYNC102,ASYNC109,ASYNC114,ASYNC120,ASYNC128

.PHONY: test lint peers demo bench bench-quick bench-scale compliance clean help

help:
	@echo "make test         lint, then all tests (PYTEST_ARGS='-k text -x' passes options on)"
	@echo "make lint         ruff, mypy, import contracts, flake8-async"
	@echo "make demo         a server and two clients exchange messages"
	@echo "make bench        CPU per message against other servers, 12 minutes (bench-quick: one short round, 3 minutes)"
	@echo "make bench-scale  how the cost of a message grows, with pictures"
	@echo "make compliance   the Autobahn WebSocket suite against server and client"
	@echo "make clean        remove .venv, .peers and caches"

test: lint peers
	@$(BIN)/python -m tests $(PYTEST_ARGS)

lint: $(STAMP)
	@echo "lint: ruff"; $(BIN)/ruff check --quiet .
	@out=$$($(BIN)/ruff format --check . 2>&1) || { echo "$$out"; exit 1; }
	@echo "lint: mypy"; $(BIN)/mypy --no-error-summary
	@echo "lint: import contracts"; out=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$out"; exit 1; }
	@echo "lint: flake8-async"; find maim_trio -name '*.py' -exec $(FLAKE8_ASYNC) {} +

# The programs that the interop tests talk to. Without one of them its tests are skipped (in CI: they fail).
peers: $(STAMP)
	@$(BIN)/python -m tests.peers

demo: $(STAMP)
	@$(BIN)/python examples/demo.py

bench: $(STAMP) peers
	@$(BIN)/python -m benchmarks.run --json bench.json
	@$(BIN)/python -m benchmarks.startup

bench-quick: $(STAMP) peers
	@$(BIN)/python -m benchmarks.run --quick

bench-scale: $(STAMP) peers
	@$(BIN)/python -m benchmarks.scale --json bench-scale.json --pictures docs/images --write docs/benchmarks.md

compliance: $(STAMP)
	@$(BIN)/python tests/compliance/run.py

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "maim_trio needs Python 3.11 or newer, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." \
			"Name another one: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "setting up .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable '.[speed,tcp]' --group test --group lint --group bench
	@touch $@

clean:
	@rm -rf .venv .peers .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
