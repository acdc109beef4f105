import json
import subprocess
import sys

from tests.support.places import REPOSITORY

PROBE = """
import json, sys
before = set(sys.modules)
import nexus_control
print(json.dumps(sorted(set(sys.modules) - before)))
"""
MOST_MODULES = 60
HEAVY = {"click", "cryptography", "mcp", "psycopg", "pydantic", "pydantic_core", "rich", "starlette", "typer"}


def imported_by_a_fresh_interpreter() -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(ran.stdout)


def test_importing_the_package_imports_no_optional_or_heavy_library() -> None:
    modules = imported_by_a_fresh_interpreter()
    assert "nexus_control" in modules
    assert HEAVY.isdisjoint(module.partition(".")[0] for module in modules)


def test_importing_the_package_loads_few_modules() -> None:
    # How long that takes is measured by `python -m tests.bench.start_cost`.
    assert len(imported_by_a_fresh_interpreter()) <= MOST_MODULES
