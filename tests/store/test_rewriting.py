"""A history that the owner of file and key wrote anew, with everything that hangs on it computed and signed again, has
no fault that the store could know of. A checkpoint that was saved elsewhere before finds it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from nexus_control import DecisionStore
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.log.checkpoints import publish, require_continued
from nexus_control.log.upkeep import find_faults
from nexus_control.storage.contract import Entry
from tests.cli.running import Commands, nexus_control
from tests.support.tampering import Victim, busy_store, forged

History: TypeAlias = list[Entry]
Rewrite: TypeAlias = Callable[[History, int], History]


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return busy_store(tmp_path_factory.mktemp("victim"))


def history_of(victim: Victim) -> History:
    return [entry for _, entry in victim.log]


def with_payload(history: History, position: int) -> History:
    content = {**json.loads(history[position].payload), "remark": "as agreed"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return replaced(history, position, history[position]._replace(payload=text))


def with_actor(history: History, position: int) -> History:
    return replaced(history, position, history[position]._replace(actor_id="mallory"))


def with_time(history: History, position: int) -> History:
    return replaced(history, position, history[position]._replace(ts="2026-01-02T03:04:05.999999+00:00"))


def replaced(history: History, position: int, *entries: Entry) -> History:
    """The history with these in the place of one entry."""
    return [*history[:position], *entries, *history[position + 1 :]]


def without(history: History, position: int) -> History:
    return replaced(history, position)


def with_another(history: History, position: int) -> History:
    there = history[position]
    approval = there._replace(
        event_type="APPROVAL_GRANTED", actor_id="mallory", payload='{"comment":"Fine","expires_at":null}'
    )
    return replaced(history, position, approval, there)


def swapped(history: History, position: int) -> History:
    first, second = history[position], history[position + 1]
    return [*history[:position], second, first, *history[position + 2 :]]


def truncated(history: History, position: int) -> History:
    """Cut off, but for the record of the key that is to sign it."""
    return [*history[:position], *(entry for entry in history[position:] if entry.kind == "key")]


REWRITES: dict[str, Rewrite] = {
    "a changed payload": with_payload,
    "a changed actor": with_actor,
    "a changed time": with_time,
    "a deleted event": without,
    "an inserted event": with_another,
    "two swapped events": swapped,
    "a truncated log": truncated,
}
LOCAL_EVENTS = range(2, 16)
"""Positions of events, each followed by an event, in decisions that were made here."""


@pytest.mark.sample(2)
@pytest.mark.parametrize("what", REWRITES)
def test_a_log_rewritten_with_its_own_key_is_found_only_by_a_checkpoint_kept_elsewhere(
    what: str, victim: Victim, tmp_path: Path
) -> None:
    for position in LOCAL_EVENTS:
        path = forged(victim, tmp_path / "copy.db", REWRITES[what](history_of(victim), position))
        with DecisionStore(path) as store:
            assert find_faults(store) == []
            with pytest.raises(NexusControlError) as caught:
                require_continued(store, victim.note)
        assert caught.value.code == ErrorCode.LOG_INCONSISTENT, position


@pytest.mark.parametrize("what", REWRITES)
def test_doctor_finds_nothing_and_log_consistency_ends_with_3(
    what: str, victim: Victim, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    saved.write_text(victim.note, encoding="utf-8")
    victim.copy(tmp_path / "store.db")
    commands = Commands(tmp_path)
    assert commands.answer("log", "consistency", str(saved))["checkpoint"]["size"] == victim.saved
    forged(victim, tmp_path / "store.db", REWRITES[what](history_of(victim), 9))
    examined = commands.answer("doctor")
    assert (examined["ok"], examined["faults"]) == (True, [])
    refused = commands.answer("log", "consistency", str(saved), code=3)
    assert refused["code"] == "LOG_INCONSISTENT"


def test_the_program_itself_ends_with_3(victim: Victim, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    saved.write_text(victim.note, encoding="utf-8")
    path = forged(victim, tmp_path / "store.db", with_actor(history_of(victim), 9))
    ran = nexus_control("log", "consistency", str(saved), "--db", str(path), "--json")
    assert (ran.returncode, json.loads(ran.stdout)["code"]) == (3, "LOG_INCONSISTENT")


@pytest.mark.parametrize(
    "what", ["a changed payload", "a changed actor", "a changed time", "a deleted event"]
)
def test_the_tail_that_no_checkpoint_left_with_can_still_be_rewritten(
    what: str, victim: Victim, tmp_path: Path
) -> None:
    """What a checkpoint does not cover yet, it cannot keep."""
    path = forged(victim, tmp_path / "copy.db", REWRITES[what](history_of(victim), victim.saved))
    with DecisionStore(path) as store:
        assert find_faults(store) == []
        assert require_continued(store, victim.note).earlier.size == victim.saved
        publish(store)
