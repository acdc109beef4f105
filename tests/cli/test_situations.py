"""What people see on a terminal of a decision, in every situation."""

from pathlib import Path

import pytest

from nexus_control.store import DecisionStore
from tests.cli.running import Commands
from tests.support.clock import FakeClock
from tests.support.situations import SITUATIONS, Two


def built(folder: Path, name: str) -> tuple[Commands, str]:
    """The situation in a file. It is looked at with the clock of this machine: later than any end in it."""
    commands, clock = Commands(folder), FakeClock()
    with DecisionStore(folder / commands.database, clock=clock) as store:
        return commands, SITUATIONS[name].build(Two(store, clock))


@pytest.mark.sample(8)
@pytest.mark.parametrize("name", SITUATIONS)
def test_status_inspect_and_list_say_the_same(tmp_path: Path, name: str) -> None:
    situation = SITUATIONS[name]
    commands, request_id = built(tmp_path, name)
    current, required = situation.approvals
    status, page = commands.run("status", request_id), commands.run("inspect", request_id)
    lines = status.splitlines()
    approved_yet_blocked = situation.state == "approved" and not situation.executable
    mark = "approved, not executable" if approved_yet_blocked else situation.state
    assert status.startswith((f"{mark} ", f"{mark}\n"))
    assert required == 0 or ["approvals", *f"{current} of {required}".split()] in [
        line.split() for line in lines
    ]
    reasons = commands.answer("status", request_id)["blocking_reasons"]
    assert [reason["code"] for reason in reasons] == list(situation.reasons)
    assert page.startswith(situation.verdict)
    if situation.state == "draft":
        return
    (record,) = [line.split("\t") for line in commands.run("list").splitlines()]
    assert record[2:4] == [situation.state, f"{current}/{required}"]
    assert record[7] == ("yes" if situation.executable else "no")
    assert commands.run("list", "--state", situation.state)
    others = {"approved", "pending_approval", "expired"} - {situation.state}
    assert not any(commands.run("list", "--state", other) for other in others)
    assert bool(commands.run("list", "--awaiting", "dave")) == situation.waits


def test_the_answers_of_approve_and_revoke_say_how_many_approvals_count(tmp_path: Path) -> None:
    commands, request_id = built(tmp_path, "approved elsewhere by one of two")
    approved = commands.run("approve", request_id, "--yes", "--as", "human:carol")
    assert f"{request_id} is pending_approval: 1 of 2 approvals." in " ".join(approved.split())
    revoked = commands.run("revoke", request_id, "--yes", "--as", "human:bob", "--reason", "given elsewhere")
    assert "is pending_approval: 1 of 2 approvals." in " ".join(revoked.split())
    denied = commands.run("deny", request_id, "--yes", "--as", "human:dave", "--reason", "no")
    assert f"{request_id} is denied." in " ".join(denied.split())


def test_an_expired_request_is_not_approved_and_is_still_ended(tmp_path: Path) -> None:
    commands, request_id = built(tmp_path, "a request that expired approved")
    refused = commands.run("approve", request_id, "--yes", "--as", "human:carol", "--json", code=1)
    assert "expired" in refused
    commands.run("revoke", request_id, "--yes", "--as", "human:bob", "--reason", "too late")
    commands.run("withdraw", request_id, "--yes", "--as", "human:alice", "--reason", "too late")
    assert commands.answer("status", request_id)["state"] == "withdrawn"
