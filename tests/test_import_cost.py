import json
import subprocess
import sys
from typing import Any

from tests.support.places import REPOSITORY

PROBE = """
import json, sys, time
before = set(sys.modules)
started = time.perf_counter()
import nexus_control
elapsed = time.perf_counter() - started
print(json.dumps({"milliseconds": elapsed * 1000, "modules": sorted(set(sys.modules) - before)}))
"""
HEAVY = {"click", "cryptography", "mcp", "psycopg", "pydantic", "pydantic_core", "rich", "starlette", "typer"}


def import_in_a_fresh_interpreter() -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(ran.stdout)


def test_importing_the_package_imports_no_optional_or_heavy_library() -> None:
    modules: list[str] = import_in_a_fresh_interpreter()["modules"]
    assert "nexus_control" in modules
    assert HEAVY.isdisjoint(module.partition(".")[0] for module in modules)


def test_importing_the_package_takes_at_most_60_ms() -> None:
    # The shortest of several runs: noise of a busy machine only ever adds.
    assert min(import_in_a_fresh_interpreter()["milliseconds"] for _ in range(7)) <= 60
