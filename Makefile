PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo real test test-portable check bench clean

# From small corpora made by rules to five checked exports, music out of them, and a report on it all.
DEMO := out/demo
demo: $(STAMP)
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

# Downloads the public corpora (3 GB), trains all five models on them, checks and reports; YES=--yes agrees to their licences.
REAL := out/real
real: $(STAMP)
	$(BIN)/kelly-core datasets get --all $(YES)
	$(BIN)/kelly-core train --output $(REAL)
	$(BIN)/kelly-core validate $(REAL) --check-specs
	$(BIN)/kelly-core report $(REAL)

test: $(STAMP)
	$(BIN)/python -m pytest -n 2

# The numeric tests under other instruction sets, thread counts and seeds; QUICK=--quick for the part that CI runs.
test-portable: $(STAMP)
	$(BIN)/python -m tests.portable $(QUICK)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_words.py

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,bench]"
	$(BIN)/python -m benchmarks

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
