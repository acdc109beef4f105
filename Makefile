# The checks and generated files of the project, with whatever Python is active (make PYTHON=... to choose).

PYTHON ?= python

.PHONY: check static quick test guards joints soak bench bench-smoke format schemas reference goldens

check: static test

static:
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m ruff check
	$(PYTHON) -m pyright --pythonpath "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	PYTHONPATH=. $(PYTHON) -c 'from importlinter.cli import lint_imports_command; lint_imports_command(["--no-cache"])'

test:
	$(PYTHON) -m pytest

# The domain, its values and its documents, in one process. Without the comparison with ICU, the longest of them.
quick:
	$(PYTHON) -m pytest --numprocesses=0 tests/domain tests/foundation tests/artifacts \
		--deselect=tests/domain/test_lookalikes.py::test_the_tables_are_those_of_unicode

# The guards of agent frameworks: pip install -e ".[guards-test]" brings the frameworks.
guards:
	$(PYTHON) -m pyright --pythonpath "$$($(PYTHON) -c 'import sys; print(sys.executable)')" -p tests/guards/frameworks
	$(PYTHON) -c 'import agents, langchain, langgraph, pydantic_ai'
	$(PYTHON) -m pytest tests/guards/frameworks

# All of what pytest samples: every round, table, byte and real host of each file that takes a sample.
joints:
	TESTS_IN_FULL=1 $(PYTHON) -m pytest tests/joints \
		$$(grep -rlE 'support\.amounts import|mark\.sample\(' --include='test_*.py' --exclude-dir=joints tests)

# Writers that are killed all the time, on SQLite and then on PostgreSQL: for each of the two ten minutes and up to five
# for the last look, about half an hour in all. SECONDS=60 for less.
SECONDS ?= 600
soak:
	$(PYTHON) -m tests.soak --seconds $(SECONDS)

# What the store costs, beside what this machine can do, and beside an earlier checkout: make bench AGAINST=../earlier.
# It writes docs/performance.md, its plots and docs/performance/results.json.
bench:
	$(PYTHON) -m benchmarks $(if $(AGAINST),--against $(AGAINST)) --out bench.json
	$(PYTHON) -m benchmarks --report bench.json

# Small sizes, and no time is judged: only whether nothing is lost, doubled or wrong.
bench-smoke:
	$(PYTHON) -m benchmarks --smoke

format:
	$(PYTHON) -m ruff check --select I --fix
	$(PYTHON) -m ruff format

schemas:
	$(PYTHON) -m tests.support.schemas schemas

# The generated parts of docs/reference.
reference:
	$(PYTHON) -m tests.support.reference

# The golden screens, as the commands show them now. Look at each in the diff.
goldens:
	NEXUS_CONTROL_GOLDEN=write $(PYTHON) -m pytest -q tests/cli/screens
