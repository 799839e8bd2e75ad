# One word a job; CI runs the same words.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
.PHONY: demo test lint test-slow bench accept docs clean

demo: $(STAMP)
	$(BIN)/freehold demo

test: $(STAMP)
	$(BIN)/pytest -n 2 -m "not slow"

test-slow: $(STAMP)
	$(BIN)/pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)
	for each in bench/*.py; do $(BIN)/python $$each || exit 1; done

accept: $(STAMP)
	for each in acceptance/*.sh; do PATH="$(CURDIR)/$(BIN):$$PATH" bash $$each || exit 1; done

docs: $(STAMP)
	$(BIN)/python docs/write_commands.py

$(STAMP): pyproject.toml constraints.txt
	@echo "installing …"
	@start=$$(date +%s); $(PYTHON) -m venv .venv && \
	  $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]' && \
	  touch $(STAMP) && echo "installing … done ($$(( $$(date +%s) - start )) s)"

clean:
	rm -rf .venv build dist *.egg-info
