import json
import subprocess
import sys

from tests.support.places import REPOSITORY

PROBE = """
import json, sys
before = set(sys.modules)
{statement}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
EVIDENCE = """
import importlib, pathlib
from nexus_control import Trust, verify_bundle, verify_evidence
for path in sorted(pathlib.Path("nexus_control/evidence").rglob("*.py")):
    importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
"""
LIST = """
from nexus_control import NexusControlTools
with NexusControlTools() as tools:
    assert tools.list_requests(state="approved", label="prod", since="2026-01-02T03:04:05Z")
    assert not tools.list_requests(limit=0)
"""
JUDGING = """
import pathlib, tempfile
from nexus_control.configuration import look
from nexus_control.rules.book import Call
from nexus_control.rules.reading import rule_book
with tempfile.NamedTemporaryFile("w") as file:
    file.write('default = "deny"')
    file.flush()
    book = rule_book(look(pathlib.Path(file.name)))
assert book.judge(Call(tool="t", arguments={}, mode="apply", requester="system:a")).verdict == "deny"
"""
HOOK = """
import json, pathlib, tempfile
from nexus_control.guards import hook_process
from nexus_control.guards.hook import Places, reply
given = {{"hook_event_name": "PreToolUse", "session_id": "s", "cwd": "/", "tool_name": "Bash", "tool_input": {{}},
    "tool_use_id": "t"}}
with tempfile.NamedTemporaryFile("w") as file:
    file.write('{book}')
    file.flush()
    said = reply(json.dumps(given).encode(), Places(config=pathlib.Path(file.name), database="/nowhere/missing.db"))
assert said.verdict == {verdict!r}, said
"""
MOST_MODULES = 60
HEAVY = {"click", "cryptography", "mcp", "psycopg", "pydantic", "pydantic_core", "rich", "starlette", "typer"}


def imported_by_a_fresh_interpreter(statement: str = "import nexus_control") -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", PROBE.format(statement=statement)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(ran.stdout)


def test_importing_the_package_imports_no_optional_or_heavy_library() -> None:
    modules = imported_by_a_fresh_interpreter()
    assert "nexus_control" in modules
    assert HEAVY.isdisjoint(module.partition(".")[0] for module in modules)


def test_importing_the_package_loads_few_modules() -> None:
    # How long that takes is measured by `python -m tests.bench.start_cost`.
    assert len(imported_by_a_fresh_interpreter()) <= MOST_MODULES


def test_verifying_loads_cryptography_and_neither_pydantic_nor_a_store() -> None:
    modules = imported_by_a_fresh_interpreter(EVIDENCE)
    assert "nexus_control.evidence.formats.timestamp" in modules
    assert {module.partition(".")[0] for module in modules} & HEAVY == {"cryptography"}
    assert {"sqlite3", "nexus_control.store", "nexus_control.usecases"}.isdisjoint(modules)


def test_listing_loads_neither_pydantic_nor_cryptography() -> None:
    # What they load stays in memory: some 14 MiB of a process that only lists.
    modules = imported_by_a_fresh_interpreter(LIST)
    assert "nexus_control.usecases.listing" in modules
    assert HEAVY.isdisjoint(module.partition(".")[0] for module in modules)


def test_judging_a_call_loads_neither_a_heavy_library_nor_a_store() -> None:
    # A hook does it at each call of a tool.
    modules = imported_by_a_fresh_interpreter(JUDGING)
    assert "nexus_control.rules.conditions" in modules
    assert HEAVY.isdisjoint(module.partition(".")[0] for module in modules)
    assert {"sqlite3", "nexus_control.store", "nexus_control.usecases"}.isdisjoint(modules)


def test_a_hook_that_lets_a_call_pass_loads_neither_a_heavy_library_nor_a_store() -> None:
    modules = imported_by_a_fresh_interpreter(HOOK.format(book='default = "allow"', verdict=None))
    assert HEAVY.isdisjoint(module.partition(".")[0] for module in modules)
    assert {"sqlite3", "nexus_control.store", "nexus_control.usecases"}.isdisjoint(modules)


def test_a_hook_that_asks_for_a_call_loads_no_command_line() -> None:
    book = 'default = "deny"\\n[[rules]]\\ntool = "*"\\ntemplate = "one"'
    modules = imported_by_a_fresh_interpreter(HOOK.format(book=book, verdict="deny"))
    assert "nexus_control.guards.hook_asking" in modules
    assert {"click", "mcp", "rich", "starlette", "typer"}.isdisjoint(
        module.partition(".")[0] for module in modules
    )
