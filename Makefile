# make demo   the whole line on this machine: embedded PACS, node, simulated patient
# make test   lint, types, tests, coverage
# Both create .venv and install what they need.

PYTHON ?= python3.11
BIN := .venv/bin
SOURCES := dicom_node inference training tests

.PHONY: demo test lint types tests clean

demo: .venv/installed
	$(BIN)/strokenode demo

test: lint types tests

lint: .venv/installed-test
	$(BIN)/ruff check --no-cache $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: .venv/installed-test
	$(BIN)/mypy

tests: .venv/installed-test
	sh tests/support/install_tools.sh
	rm -f .coverage .coverage.*
	$(BIN)/pytest --numprocesses 2 --dist worksteal --durations 20 --cov --cov-report=
	$(BIN)/coverage report

.venv/bin/pip:
	$(PYTHON) -m venv .venv || { echo "Python 3.11 with venv is needed: apt-get install python3.11-venv"; exit 1; }

.venv/installed: .venv/bin/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .[test]
	touch $@

clean:
	rm -rf .venv build *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache
