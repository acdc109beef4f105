"""Pages of the database file that are damaged, each table's and each index's.

The store then refuses, or answers what is right, or doctor names the damage: SQLite has no checksum of a page, so an
answer from a page that can still be read may be wrong. Looking at a damaged file leaves it as it is.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.log.upkeep import find_faults
from nexus_control.values.results import ToolResult
from tests.support.amounts import number_of, sample_of
from tests.support.clock import FakeClock
from tests.support.tampering import Victim, busy_store

PAGE = 4096
SQLITE_SCHEMA = "sqlite_schema"
TABLES = (
    SQLITE_SCHEMA,
    "entries",
    "subtrees",
    "projections",
    "approvals",
    "listing",
    "labels",
    "claims",
    "answers",
)
Answers = dict[str, str]


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return busy_store(tmp_path_factory.mktemp("victim"))


def pages_of(path: Path) -> dict[str, list[int]]:
    """The numbers of the pages of each table, with those of its indexes."""
    with closing(sqlite3.connect(path)) as connection:
        if not connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'dbstat'").fetchall():
            pytest.skip("this SQLite was built without dbstat")
        tables = dict(connection.execute("SELECT name, tbl_name FROM sqlite_master WHERE rootpage"))
        pages: dict[str, list[int]] = {}
        for name, number in connection.execute("SELECT name, pageno FROM dbstat ORDER BY pageno"):
            pages.setdefault(tables.get(name, SQLITE_SCHEMA), []).append(number)
    return pages


Damage = Callable[[bytearray, int, Random], None]
"""Changes the content of a file from the beginning of a page."""


def _zeros(content: bytearray, page: int, _: Random) -> None:
    content[page : page + PAGE] = bytes(PAGE)


def _ones(content: bytearray, page: int, _: Random) -> None:
    content[page : page + PAGE] = b"\xff" * PAGE


def _half(content: bytearray, page: int, _: Random) -> None:
    """As a write that was torn."""
    content[page + PAGE // 2 : page + PAGE] = bytes(PAGE // 2)


def _header(content: bytearray, page: int, chance: Random) -> None:
    content[page + chance.randrange(8)] ^= 1 << chance.randrange(8)


def _pointers(content: bytearray, page: int, chance: Random) -> None:
    content[page + 8 + chance.randrange(16)] ^= 1 << chance.randrange(8)


def _content(content: bytearray, page: int, chance: Random) -> None:
    used = [at for at in range(page + 16, page + PAGE) if content[at]]
    content[chance.choice(used or [page])] ^= 1 << chance.randrange(7)


def _another_page(content: bytearray, page: int, chance: Random) -> None:
    other = PAGE * chance.randrange(1, len(content) // PAGE)
    content[page : page + PAGE] = content[other : other + PAGE]


DAMAGES: tuple[Damage, ...] = (_zeros, _ones, _half, _header, _pointers, _content, _content, _another_page)


def answers_of(path: Path, decision_ids: list[str]) -> Answers:
    """What is answered of everything in the store: data, or the code of the refusal."""
    try:
        store = DecisionStore(path, clock=FakeClock())
    except NexusControlError as fault:
        return {"open": fault.code}
    with store:
        return {what: _said(result) for what, result in _asked(NexusControlTools(store), decision_ids)}


def _asked(tools: NexusControlTools, decision_ids: list[str]) -> Iterator[tuple[str, ToolResult[Any]]]:
    for each in decision_ids:
        yield f"status {each}", tools.status(each)
        yield f"inspect {each}", tools.inspect(each)
        yield f"export {each}", tools.export_bundle(each, render=False)
    yield "list", tools.list_requests()
    yield "list by state", tools.list_requests(state="pending_approval")
    yield "list by label", tools.list_requests(label="prod")
    yield "list by requester", tools.list_requests(requester="alice")
    yield "feed", tools.events_since()
    yield "templates", tools.template_list()


def _said(result: ToolResult[Any]) -> str:
    if not result.success:
        return str(result.error_code)
    return re.sub(r'"exported_at": "[^"]*"', "", json.dumps(result.data, sort_keys=True, default=str))


@pytest.mark.sample(3)
@pytest.mark.parametrize("table", TABLES)
def test_a_damaged_page_is_refused_or_answered_rightly_or_named_by_doctor(
    table: str, victim: Victim, tmp_path: Path
) -> None:
    path, chance = victim.copy(tmp_path / "copy.db"), Random(table)
    with DecisionStore(path) as store:
        decision_ids = [decision_id for decision_id, _ in store.list_decisions()]
    right = answers_of(path, decision_ids)
    assert not {ErrorCode.STORE_UNAVAILABLE, ErrorCode.INTERNAL} & set(right.values())
    pages, refused = pages_of(path)[table], 0
    for number in sample_of(pages, 2):
        for damage in DAMAGES * number_of(4, few=1):
            content = bytearray(victim.path.read_bytes())
            damage(content, PAGE * (number - 1), chance)
            victim.copy(path).write_bytes(content)
            answers = answers_of(path, decision_ids)
            faults = faults_of(path)
            differing = {what: said for what, said in answers.items() if said != right.get(what)}
            unnamed = [what for what, said in differing.items() if said != ErrorCode.STORE_UNAVAILABLE]
            assert faults or not unnamed, (number, damage, unnamed)
            assert path.read_bytes() == content, (number, damage)
            refused += bool(differing)
    assert refused


def faults_of(path: Path) -> list[str]:
    try:
        with DecisionStore(path) as store:
            return [fault.code for fault in find_faults(store)]
    except NexusControlError as fault:
        assert fault.code == ErrorCode.STORE_UNAVAILABLE
        assert str(path) in fault.message
        return [fault.code]
