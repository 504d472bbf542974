PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Each program that a target starts would compile the whole project again, a third of a short command's time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo real format lint types layers words check test test-fast test-portable coverage snapshots screens \
	bench hooks clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

DEMO := out/demo
demo: $(STAMP)  ## train on small corpora made by rules, check, time, compose and report (about three minutes)
	test -f $(DEMO)/datasets/config.toml || \
		{ rm -rf $(DEMO)/datasets && $(BIN)/kelly-core datasets demo $(DEMO)/datasets; }
	$(BIN)/kelly-core train --config $(DEMO)/datasets/config.toml --datasets-dir $(DEMO)/datasets --output $(DEMO)
	$(BIN)/kelly-core validate $(DEMO)/*.json --check-specs
	-$(BIN)/kelly-core bench $(DEMO)
	$(BIN)/kelly-core generate $(DEMO)/datasets/deam/audio/2.wav --models $(DEMO) --bars 16 -o $(DEMO)/tune.mid --plot $(DEMO)/tune.png
	$(BIN)/kelly-core report $(DEMO)
	@echo
	@echo "What to look at:"
	@echo "  $(DEMO)/report.html   how good, how fast and how large the five models are"
	@echo "  $(DEMO)/tune.mid      the music that they make of $(DEMO)/datasets/deam/audio/2.wav"
	@echo "  $(DEMO)/tune.png      what they heard and what they made of it"
	@echo
	@echo "The demo corpora are made by rules ($(DEMO)/datasets/README.md): the figures show that the program works, and"
	@echo "nothing about real music. Next, with real music:"
	@echo "  make real                                  all of it with the public corpora (3 GB)"
	@echo "or step by step:"
	@echo "  source $(VENV)/bin/activate"
	@echo "  kelly-core datasets get --all              download the public corpora into datasets/"
	@echo "  kelly-core train --epochs 30 --output models"
	@echo "  kelly-tui                                  runs, models and corpora in a terminal"
	@echo "README.md has a tour of all commands."

REAL := out/real
real: $(STAMP)  ## download the public corpora (3 GB), train on them, check and report; YES=--yes agrees to their licences
	$(BIN)/kelly-core datasets get --all $(YES)
	$(BIN)/kelly-core train --output $(REAL)
	$(BIN)/kelly-core validate $(REAL) --check-specs
	$(BIN)/kelly-core report $(REAL)

format: $(STAMP)  ## format the code and sort imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --select I --fix .

lint: $(STAMP)  ## check format, lint rules and spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell

types: $(STAMP)  ## check types
	$(BIN)/mypy

layers: $(STAMP)  ## check that modules import only from lower layers
	$(BIN)/lint-imports

words: $(STAMP)  ## check texts against the word list
	$(BIN)/python tools/check_words.py

check: lint types layers words  ## run all checks but the tests

test: $(STAMP)  ## run the whole test suite on three processes, which wait a quarter of the time
	$(BIN)/python -m pytest -n 3 --dist worksteal

test-fast: $(STAMP)  ## run the tests that are not marked as slow
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow"

test-portable: $(STAMP)  ## run the numeric tests under other instruction sets, threads and seeds; QUICK=--quick for a part
	$(BIN)/python -m tests.portable $(QUICK)

coverage: $(STAMP)  ## run the test suite and write its coverage to out/coverage
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term --cov-report=html:out/coverage

snapshots: $(STAMP)  ## accept changed screens as snapshots; look at each SVG before committing it
	$(BIN)/python -m pytest tests/tui/test_snapshots.py --snapshot-update
	git status --short tests/tui/__snapshots__

screens: $(STAMP)  ## draw each screen at several sizes as SVG in out/screens
	$(BIN)/python tools/draw_screens.py out/screens

bench: $(STAMP)  ## measure speed, beside plain alternatives
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,bench]"
	$(BIN)/python -m benchmarks

hooks: $(STAMP)  ## check the files of each commit with pre-commit
	$(BIN)/pre-commit install

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:  ## remove the virtual environment and everything that was built
	rm -rf $(VENV) out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
