"""Which request a person means: by the beginning of its id, or without an id."""

import json
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.cli import naming
from nexus_control.errors import NexusControlError
from nexus_control.store import DecisionStore
from nexus_control.values.actors import Actor
from tests.cli.running import Commands
from tests.facade.routers import FakeRouter
from tests.support.clock import FakeClock
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of

IDS = ("aaaa1111-x", "aaaa1111-y", "aaaa2222", "bbbbbbbbbbbb", "bbbbbbbbbbbb-later", "ccc")


class Named(FakeClock):
    """Gives these ids, in their order."""

    def __init__(self, *ids: str) -> None:
        super().__init__()
        self._left = iter(ids)

    def new_id(self) -> str:
        return next(self._left)


@pytest.fixture
def store(tmp_path: Path) -> Commands:
    with DecisionStore(tmp_path / "store.db", clock=Named(*IDS)) as opened:
        tools = NexusControlTools(opened)
        for decision_id in IDS:
            data_of(tools.request(f"Goal of {decision_id}", ALICE))
    return Commands(tmp_path)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("aaaa1111-x", "aaaa1111-x"),
        ("aaaa2", "aaaa2222"),
        ("bbbbbbbbbbbb-", "bbbbbbbbbbbb-later"),
        ("ccc", "ccc"),  # an id may be shorter than 4 characters, if it is whole
    ],
)
@pytest.mark.parametrize("command", ["status", "inspect", "export"])
def test_the_beginning_of_an_id_is_enough_where_no_other_id_begins_so(
    given: str, meant: str, command: str, store: Commands
) -> None:
    assert f'"{meant}"' in store.run(command, given, "--json")


@pytest.mark.parametrize("given", ["aaa", "bb", "cc", "aaaa3", "aaaa2222-", "AAAA2222", "x" * 200])
def test_no_decision_is_found_by_fewer_than_4_characters_or_by_others(given: str, store: Commands) -> None:
    assert store.answer("status", given, code=1)["code"] == "DECISION_NOT_FOUND"


@pytest.mark.parametrize("given", ["aaa", "bb", "cc"])
def test_a_beginning_that_is_too_short_is_told_how_long_it_must_be(given: str, store: Commands) -> None:
    assert "at least its first 4 characters" in store.answer("status", given, code=1)["message"]


@pytest.mark.parametrize("given", ["", "x" * 300])
def test_what_no_id_can_be_is_refused_as_an_argument(given: str, store: Commands) -> None:
    assert store.answer("status", given, code=2)["code"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("given", "candidates", "shown"),
    [
        ("aaaa", ["aaaa1111-x", "aaaa1111-y", "aaaa2222"], "aaaa1111-x"),
        ("aaaa1111", ["aaaa1111-x", "aaaa1111-y"], "aaaa1111-x"),
        (
            "bbbbbbbbbbbb",
            ["bbbbbbbbbbbb", "bbbbbbbbbbbb-later"],
            "bbbbbbbbbbbb",
        ),  # an id, and the beginning of another
    ],
)
def test_an_ambiguous_id_is_refused_with_its_candidates(
    given: str, candidates: list[str], shown: str, store: Commands
) -> None:
    refused = store.answer("status", given, code=2)
    assert refused["code"] == "AMBIGUOUS_ID"
    assert [each["request_id"] for each in refused["details"]["candidates"]] == candidates
    assert refused["details"]["candidates"][0] == {
        "request_id": candidates[0],
        "short_id": shown,
        "state": "pending_approval",
        "mode": "dry_run",
        "created_at": refused["details"]["candidates"][0]["created_at"],
        "goal": f"Goal of {candidates[0]}",
    }


def test_ten_candidates_are_shown_and_then_said_to_be_more(tmp_path: Path) -> None:
    ids = [f"same-{number}" for number in range(10, 22)]
    with DecisionStore(tmp_path / "store.db", clock=Named(*ids)) as opened:
        for _ in ids:
            data_of(NexusControlTools(opened).request("g", ALICE))
    details = Commands(tmp_path).answer("status", "same", code=2)["details"]
    assert [each["request_id"] for each in details["candidates"]] == ids[:10]
    assert details["truncated"]


@pytest.mark.parametrize(
    ("whole", "shown"),
    [
        ("aaaa1111-x", "aaaa1111-x"),
        ("aaaa2222", "aaaa2222"),
        ("bbbbbbbbbbbb", "bbbbbbbbbbbb"),
        ("bbbbbbbbbbbb-later", "bbbbbbbbbbbb-"),
        ("ccc", "ccc"),
    ],
)
def test_people_are_shown_as_much_of_an_id_as_makes_it_unique(
    whole: str, shown: str, tmp_path: Path, store: Commands
) -> None:
    with DecisionStore(tmp_path / "store.db") as opened:
        assert naming.short(opened, whole) == shown


def test_a_short_id_has_8_characters_among_random_ones(tmp_path: Path) -> None:
    with DecisionStore(tmp_path / "store.db") as opened:
        tools = NexusControlTools(opened)
        ids = [data_of(tools.request("g", ALICE))["request_id"] for _ in range(50)]
        shown = [naming.short(opened, each) for each in ids]
        assert [naming.whole(opened, each) for each in shown] == ids
    assert {len(each) for each in shown} == {8}


def test_an_id_may_be_left_out_where_there_is_one_request(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    request_id = commands.answer("request", "g")["request_id"]
    assert commands.answer("status")["request_id"] == request_id
    other = commands.answer("request", "g")["request_id"]
    refused = commands.answer("status", code=2)
    assert refused["code"] == "AMBIGUOUS_ID"
    assert [each["request_id"] for each in refused["details"]["candidates"]] == [other, request_id]


def test_an_id_cannot_be_left_out_where_no_request_fits(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    commands.run("request", "g")
    refused = commands.answer("audit", code=1)
    assert refused["code"] == "DECISION_NOT_FOUND"
    assert "There is no request that was executed" in refused["message"]


class Desk:
    """A request in each state that a command is for, and others."""

    def __init__(self, store: DecisionStore) -> None:
        tools = NexusControlTools(store)
        self.pending = data_of(tools.request("g", ALICE, approvers=["bob"]))["request_id"]
        self.approved = approved(tools)
        self.completed = approved(tools)
        data_of(tools.execute(self.completed, ADAPTER, SCHEDULER, FakeRouter()))
        self.withdrawn = data_of(tools.request("g", ALICE))["request_id"]
        data_of(tools.withdraw(self.withdrawn, ALICE, "no"))


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        (naming.any_request(), ["pending", "approved", "completed", "withdrawn"]),
        (naming.awaiting(BOB), ["pending"]),
        (naming.awaiting(Actor("human", "carol")), []),
        (naming.approved_by(BOB), ["approved"]),
        (naming.approved_by(ALICE), []),
        (naming.requested_by(ALICE), ["pending", "approved"]),
        (naming.requested_by(Actor("system", ALICE.id)), []),
        (naming.executable(), ["approved"]),
        (naming.executed(), ["completed"]),
        (naming.unfinished(None), ["pending"]),
        (naming.unsettled(), []),
    ],
    ids=lambda value: value.which or "any" if isinstance(value, naming.Fit) else None,
)
def test_a_command_without_an_id_is_for_the_requests_that_fit_it(
    fit: naming.Fit, expected: list[str]
) -> None:
    with DecisionStore(":memory:") as store:
        desk = Desk(store)
        found = {line["request_id"] for line in fit.lines(store)}
        assert found == {getattr(desk, name) for name in expected}


def test_without_a_request_that_can_be_executed_the_only_one_under_way_is_refused_with_its_reasons(
    tmp_path: Path,
) -> None:
    commands = Commands(tmp_path)
    commands.run("request", "g", "--mode", "apply")
    refused = commands.answer(
        "execute", "--router", "tests.facade.routers:FakeRouter", "--adapter", "x", code=1
    )
    assert [each["code"] for each in refused["details"]["reasons"]] == ["MISSING_APPROVALS"]
    commands.run("request", "another", "--mode", "apply")
    assert commands.answer("execute", code=1)["code"] == "DECISION_NOT_FOUND"


def test_a_wait_without_an_id_finds_the_only_request_once_it_is_what_was_waited_for(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    request_id = commands.answer("request", "g")["request_id"]
    commands.run("withdraw", request_id, "--reason", "no", "--yes")
    answer = commands.answer("wait")
    assert (answer["state"], answer["timed_out"]) == ("withdrawn", False)
    assert commands.answer("wait", "--until", "withdrawn")["state"] == "withdrawn"
    assert commands.answer("wait", "--until", "approved", code=1)["code"] == "DECISION_NOT_FOUND"
    commands.run("withdraw", commands.answer("request", "g")["request_id"], "--reason", "no", "--yes")
    assert commands.answer("wait", code=1)["code"] == "DECISION_NOT_FOUND"


def test_an_id_is_never_left_out_with_yes() -> None:
    with DecisionStore(":memory:") as store:
        data_of(NexusControlTools(store).request("g", ALICE))
        with pytest.raises(NexusControlError) as refused:
            naming.chosen(store, None, naming.awaiting(BOB), yes=True)
    assert refused.value.code == "INVALID_ARGUMENT"


def test_documents_and_pipes_get_whole_ids(store: Commands) -> None:
    answers: list[dict[str, Any]] = [
        json.loads(store.run(c, "aaaa2", "--json")) for c in ("status", "export")
    ]
    assert answers[0]["request_id"] == answers[1]["bundle"]["decision"]["decision_id"] == "aaaa2222"
