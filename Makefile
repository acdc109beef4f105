# The checks and generated files of the project, with whatever Python is active (make PYTHON=... to choose).

PYTHON ?= python

.PHONY: check static test joints format schemas

check: static test

static:
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m ruff check
	$(PYTHON) -m pyright --pythonpath "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	PYTHONPATH=. $(PYTHON) -c 'from importlinter.cli import lint_imports_command; lint_imports_command(["--no-cache"])'

test:
	$(PYTHON) -m pytest

# The races where two features, processes or users meet, in full: pytest runs 20 rounds of each.
joints:
	JOINTS_ROUNDS=300 $(PYTHON) -m pytest tests/joints

format:
	$(PYTHON) -m ruff check --select I --fix
	$(PYTHON) -m ruff format

schemas:
	$(PYTHON) -m tests.support.schemas schemas

.PHONY: reference
# The generated parts of docs/reference.
reference:
	$(PYTHON) -m tests.support.reference
