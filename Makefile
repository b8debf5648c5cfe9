# Everything runs in a .venv of its own; a machine needs Python 3.10 or later and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo test check clean

demo: $(VENV)/.installed
	$(BIN)/python -m examples.demo $(ARGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto $(ARGS)

clean:
	rm -rf $(VENV) dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[all]" --group test --group check
	touch $@
