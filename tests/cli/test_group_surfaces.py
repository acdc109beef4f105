"""Every place that says where a request stands, for a request that needs an approval of a group.

Each names the group while it is missing, and none says a number without a word about groups that is above its total.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.cli.reviewing import review_of
from nexus_control.cli.times import Times
from nexus_control.values.instants import parse_instant
from tests.cli.running import Commands, at_a_terminal

ASKING = (
    *("request", "g", "--mode", "apply", "--as", "human:erin", "--config", "groups.toml"),
    *("--required-from", "security=1", "--idempotency-key", "k"),
)
SITUATIONS: dict[str, list[str]] = {
    "nobody approved": [],
    "enough approved, and none of the group": ["carol", "dave"],
    "the group approved too": ["carol", "dave", "bob"],
}
_NEGATIVE = re.compile(r"(?<![\w-])-\d")
_COUNTS = re.compile(r"(\d+)(?: of |/)(\d+)")


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "groups.toml").write_text('[groups]\nsecurity = ["alice", "bob"]\n')
    return Commands(tmp_path)


def called(commands: Commands, tool: str, **arguments: object) -> str:
    """What a model is told: the summary and the advice."""
    words = (
        "call",
        tool,
        "--as",
        "human:erin",
        "--config",
        "groups.toml",
        "--arguments",
        json.dumps(arguments),
    )
    answer = json.loads(commands.run(*words))
    return f"{answer['summary']} {answer['next']}"


def reviewed(commands: Commands, request_id: str) -> str:
    with NexusControlTools(commands.folder / "store.db") as tools:
        data = tools.inspect(request_id).data
    times = Times(parse_instant(data["decision"]["as_of"]), True)
    review = review_of(data, times, is_approving=True)
    return "\n".join([*(line for _, line in review.lines), *review.last])


def executed(commands: Commands, request_id: str) -> str:
    """The refusal of an execution, and its advice; nothing is executed once it is approved."""
    is_open = not commands.answer("status", request_id)["is_approved"]
    return (
        commands.run("execute", request_id, "--adapter", "python:json", code=1)
        if is_open
        else "of each group"
    )


SURFACES: dict[str, Callable[[Commands, str], str]] = {
    "request": lambda c, _: c.run(*ASKING),
    "request --json": lambda c, _: str(c.answer(*ASKING)["groups_missing"] or "groups"),
    "request, to a model": lambda c, _: called(
        c, "request", goal="g", mode="apply", required_from={"security": 1}, idempotency_key="k"
    ),
    "status": lambda c, r: c.run("status", r),
    "status --json": lambda c, r: str(c.answer("status", r)["groups_missing"] or "groups"),
    "status, to a model": lambda c, r: called(c, "status", request_id=r),
    "wait": lambda c, r: c.run("wait", r, "--until", "completed", "--timeout", "0", code=1),
    "review": reviewed,
    "inspect": lambda c, r: c.run("inspect", r),
    "inspect --json": lambda c, r: str(c.answer("inspect", r)["approval"]["groups_missing"] or "groups"),
    "inspect, to a model": lambda c, r: called(c, "inspect", decision_id=r),
    "execute": executed,
    "report": lambda c, r: c.run("report", r),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_place_names_the_group_that_is_missing(commands: Commands, situation: str) -> None:
    request_id = commands.answer(*ASKING)["request_id"]
    said = {"approve": "", "approve --json": ""}
    person = ""
    for person in SITUATIONS[situation]:
        said["approve --json"] = str(
            commands.answer("approve", request_id, "--yes", "--as", f"human:{person}")["groups_missing"]
            or "groups"
        )
    if person:
        commands.run("revoke", request_id, "--yes", "--as", f"human:{person}", "--reason", "r")
        said["approve"] = commands.run("approve", request_id, "--yes", "--as", f"human:{person}")
    said |= {name: surface(commands, request_id) for name, surface in SURFACES.items()}
    is_missing = SITUATIONS[situation][-1:] != ["bob"]
    for name, text in said.items():
        words = " ".join(text.split())
        if text and is_missing:
            assert re.search("1 of security|'security': 1", words), (name, text)
            assert "needs no other" not in words
        assert not _NEGATIVE.search(_without_style(words)), (name, text)
        over = [line for line in words.split(". ") if any(int(a) > int(b) for a, b in _COUNTS.findall(line))]
        assert all("security" in line or "group" in line for line in over), (name, over)
    if is_missing:
        assert "alice, bob" in said["status"]
        assert "Can still approve: 1 of security: alice, bob" in said["review"]
    if said["approve"] and is_missing:
        assert "1 approval missing, 1 of security: alice, bob." in " ".join(said["approve"].split())


def _without_style(page: str) -> str:
    """A page without its style sheet and drawings, which have negative lengths."""
    return re.sub(r"<(style|svg).*?</\1>", "", page, flags=re.DOTALL)


def test_a_list_says_whether_the_groups_have_approved(commands: Commands) -> None:
    request_id = commands.answer(*ASKING)["request_id"]
    for person, shown in (("carol", "1/1, not of each group"), ("bob", "2/1\t")):
        commands.run("approve", request_id, "--yes", "--as", f"human:{person}")
        assert shown in commands.run("list")


def test_a_second_approval_is_told_of_the_group_that_is_missing(commands: Commands) -> None:
    request_id = commands.answer(*ASKING)["request_id"]
    commands.run("approve", request_id, "--yes", "--as", "human:carol")
    again = at_a_terminal(
        "approve", "--as", "human:carol", "--db", str(commands.folder / "store.db"), folder=commands.folder
    )
    said = " ".join(again.stdout.split())
    assert "ALREADY_APPROVED" in said
    assert "1 approval missing, 1 of security: alice, bob" in said
