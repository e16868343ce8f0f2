# What a newcomer, a developer and CI type. Needs make and Python 3.11 or newer; everything else goes into .venv and build/.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
NAMES := build/names/flagback

.PHONY: help setup demo test lint tools acceptance docs catalogue constraints screenshots clean

help:
	@echo "make demo        install, then the whole loop on the embedded model: prints an address and two sign-ins"
	@echo "make setup       install into .venv only"
	@echo "make test        linters, types, layers and the test suite, real browser and real PostgreSQL included"
	@echo "make acceptance  the longer runs with real processes"
	@echo "make catalogue   brings the catalogue of words (review_app/locales) in line with the code"
	@echo "make screenshots pictures of every screen in every state, on one page: build/screenshots/index.html"
	@echo "make docs        writes docs/cli.md, docs/access.md and docs/suites.md from the code"

setup: $(READY)

# The links give type checkers the installed names (flagback.storage, ...) without an installed package in the way.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V). Name another: make PYTHON=python3.12 setup" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@mkdir -p $(NAMES)
	@for name in storage model review_app; do ln -sfn ../../../$$name $(NAMES)/$$name; done
	@touch $(READY)

demo: setup
	@exec $(BIN)/flagback demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --diff .; exit 1; }
	$(BIN)/mypy $(NAMES) tests $(wildcard benchmarks/*.py) .ci/pins.py .ci/exceptions.py
	$(BIN)/lint-imports
	$(BIN)/python .ci/exceptions.py

test: lint tools
	$(BIN)/pytest -m "not acceptance" -n 2 --dist loadfile

acceptance: setup tools
	$(BIN)/pytest -m acceptance -n 2 --dist loadfile

# PostgreSQL and Chromium for the tests: as root on Debian they are fetched, elsewhere what is there is used and the rest is named.
tools: setup
	@.ci/tools

# Every screen in every state, into one page; the home shown is made the first time (two minutes) and kept beside the pictures.
screenshots: setup tools
	$(BIN)/python -m tests.gallery build/screenshots

docs: setup
	$(BIN)/python -m flagback.review_app.reference docs

catalogue: setup
	$(BIN)/python -m flagback.review_app.catalogue

constraints: setup
	$(BIN)/python .ci/pins.py

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
