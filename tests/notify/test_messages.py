"""Which events are told, in which words, and what never goes out."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nexus_control import Actor, DecisionStore, NexusControlTools, RouterOutcomeUnknown
from nexus_control.notify.messages import LONGEST_GOAL, Replays, is_told, message_id_of, message_of
from nexus_control.notify.programs import Command
from nexus_control.notify.sinks import EVERYTHING, Message, Sink
from tests.facade.test_rehearsals import Place
from tests.support.clock import FakeClock
from tests.support.governed import ALICE, BOB, SCHEDULER, data_of, overwritten
from tests.support.routers import ScriptedRouter, good_answer

CAROL = Actor("human", "carol")
INBOX = "https://approve.example.org"


@pytest.fixture
def tools() -> NexusControlTools:
    return NexusControlTools(":memory:", clock=FakeClock())


def sink(**changes: Any) -> Sink:
    given: dict[str, Any] = {"name": "chat", "events": EVERYTHING, "labels": (), "goal": False}
    everything: dict[str, Any] = {**given, "target": Command(("true",), Path()), **changes}
    return Sink(**everything)


def told(tools: NexusControlTools, to: Sink | None = None, inbox: str | None = INBOX) -> list[Message]:
    to, replays = to or sink(), Replays()
    with tools.store.reading() as session:
        messages = [
            message_of(tools.store, session, placed, to, inbox, replays)
            for placed in session.rows.log()
            if is_told(placed, to)
        ]
    return [message for message in messages if message is not None]


def words(tools: NexusControlTools) -> list[tuple[str, int, str | None]]:
    """What was said to have happened, how many approvals are missing then, and who decided."""
    data = [message.document["data"] for message in told(tools)]
    return [(each["what"], each["missing_approvals"], each["decided_by"]) for each in data]


def asked(tools: NexusControlTools, **request: Any) -> str:
    given: dict[str, Any] = {"goal": "Rotate the keys", "actor": ALICE, "mode": "apply", **request}
    return data_of(tools.request(**given))["request_id"]


def test_the_whole_way_of_a_request_is_told(tools: NexusControlTools) -> None:
    request_id = asked(tools, min_approvals=2)
    data_of(tools.approve(request_id, BOB, comment="s3cret comment"))
    data_of(tools.approve(request_id, CAROL))
    data_of(tools.revoke_approval(request_id, CAROL, reason="s3cret reason"))
    data_of(tools.approve(request_id, CAROL))
    data_of(tools.execute(request_id, "python:keys", SCHEDULER, ScriptedRouter(good_answer)))
    assert words(tools) == [
        ("pending", 2, None),
        ("pending", 1, "human:bob"),
        ("approved", 0, "human:carol"),
        ("pending", 1, "human:carol"),
        ("approved", 0, "human:carol"),
        ("executed", 0, None),
    ]
    first = told(tools)[0]
    assert first.document == {
        "type": "pending",
        "timestamp": "2026-01-02T03:04:05.000006+00:00",
        "data": {
            "event_id": f"evt_{request_id}_1",
            "what": "pending",
            "request_id": request_id,
            "requester": "human:alice",
            "decided_by": None,
            "missing_approvals": 2,
            "link": f"{INBOX}/requests/{request_id}",
        },
    }
    assert first.message_id == f"evt_{request_id}_1"
    assert first.title == f"Request {request_id[:8]} waits for approval"
    assert first.text == (f"Asked by human:alice. 2 approvals missing. {INBOX}/requests/{request_id}")


def denied(tools: NexusControlTools, request_id: str) -> None:
    data_of(tools.deny(request_id, BOB, "no"))


def withdrawn(tools: NexusControlTools, request_id: str) -> None:
    data_of(tools.withdraw(request_id, ALICE, "no"))


def lose() -> None:
    raise RouterOutcomeUnknown("the line was cut")


def unknown_then_failed(tools: NexusControlTools, request_id: str) -> None:
    data_of(tools.approve(request_id, BOB))
    tools.execute(request_id, "python:keys", SCHEDULER, ScriptedRouter(lose))
    data_of(tools.reconcile(request_id, BOB, outcome="failed", evidence="looked"))


@pytest.mark.parametrize(
    ("happens", "expected"),
    [
        (denied, [("denied", 0, "human:bob")]),
        (withdrawn, []),
        (
            unknown_then_failed,
            [("approved", 0, "human:bob"), ("unknown", 0, None), ("failed", 0, "human:bob")],
        ),
    ],
)
def test_each_end_is_told_in_its_word(
    tools: NexusControlTools,
    happens: Callable[[NexusControlTools, str], None],
    expected: list[tuple[str, int, str | None]],
) -> None:
    happens(tools, asked(tools))
    assert words(tools) == [("pending", 1, None), *expected]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, FakeClock())
    yield made
    made.tools.close()
    made.router.close()


def test_a_required_rehearsal_is_told_as_pending_and_nothing_before_it_is(place: Place) -> None:
    request_id = place.asked()
    assert words(place.tools) == []
    digest = place.rehearsed(request_id)["digest"]
    assert words(place.tools) == [("pending", 1, None)]
    data_of(place.tools.approve(request_id, BOB, rehearsal_digest=digest))
    place.rehearsed(request_id)  # it gave back the same
    assert [what for what, *_ in words(place.tools)] == ["pending", "approved"]
    place.source("two\n")
    place.rehearsed(request_id)
    assert words(place.tools)[2:] == [("pending", 1, None)]
    assert told(place.tools, sink(events=("pending",)))[1:] == told(place.tools)[2:]


def test_a_required_rehearsal_that_failed_or_is_old_makes_nothing_pending(place: Place) -> None:
    request_id = place.asked(min_approvals=2)
    (place.folder / "source.txt").unlink()
    place.execute(request_id, dry_run=True)
    assert words(place.tools) == []
    place.source("one\n")
    digest = place.rehearsed(request_id)["digest"]
    data_of(place.tools.approve(request_id, BOB, rehearsal_digest=digest))
    place.clock.advance(seconds=601)
    data_of(place.tools.revoke_approval(request_id, BOB, reason="r"))
    assert words(place.tools) == [("pending", 2, None), ("pending", 1, "human:bob")]
    place.rehearsed(request_id)
    assert words(place.tools)[2:] == [("pending", 2, None)]


def test_a_rehearsal_is_not_told(tools: NexusControlTools) -> None:
    request_id = asked(tools, min_approvals=1)
    data_of(tools.approve(request_id, BOB))
    data_of(tools.execute(request_id, "python:keys", SCHEDULER, ScriptedRouter(good_answer), dry_run=True))
    assert [what for what, *_ in words(tools)] == ["pending", "approved"]


def test_an_event_that_is_illegal_where_it_stands_is_not_told(tools: NexusControlTools) -> None:
    request_id = asked(tools)
    data_of(tools.deny(request_id, BOB, "no"))
    for name in ("APPROVAL_GRANTED", "APPROVAL_DENIED"):
        payload = {"comment": None} if name == "APPROVAL_GRANTED" else {"reason": "again"}
        tools.store.append_event(request_id, name, CAROL, payload)
    assert [what for what, *_ in words(tools)] == ["pending", "denied"]


def test_a_sink_is_told_of_its_events_and_of_requests_with_all_its_labels(tools: NexusControlTools) -> None:
    both, one = asked(tools, labels=["prod", "eu"]), asked(tools, labels=["prod"])
    for request_id in (both, one):
        data_of(tools.approve(request_id, BOB))
    narrow = sink(events=("approved",), labels=("eu", "prod"))
    assert [message.message_id for message in told(tools, narrow)] == [f"evt_{both}_2"]
    assert len(told(tools, sink(labels=("prod",)))) == 4
    assert told(tools, sink(labels=("PROD",))) == []


def test_what_came_with_an_import_is_not_told_and_what_happens_to_it_is(tools: NexusControlTools) -> None:
    request_id = asked(tools)
    data_of(tools.approve(request_id, BOB))
    bundle = data_of(tools.export_bundle(request_id))["bundle"]
    other = NexusControlTools(":memory:", clock=FakeClock())
    data_of(other.import_bundle(bundle))
    assert told(other) == []
    data_of(other.approve(request_id, CAROL))
    assert words(other) == [("approved", 0, "human:carol")]
    data_of(other.revoke_approval(request_id, CAROL, reason="r"))
    assert words(other)[1:] == [("pending", 1, "human:carol")]


def test_each_look_at_an_event_gives_the_same_in_whatever_order(tools: NexusControlTools) -> None:
    requests = [asked(tools, min_approvals=2) for _ in range(2)]
    for person in (BOB, CAROL):
        for request_id in requests:
            data_of(tools.approve(request_id, person))
    to, replays = sink(), Replays()
    with tools.store.reading() as session:
        placed = [each for each in session.rows.log() if is_told(each, to)]
        fresh = [message_of(tools.store, session, each, to, INBOX) for each in placed]
        for chosen in (placed, placed[::-1], [*placed, *placed]):
            for each in chosen:
                known = message_of(tools.store, session, each, to, INBOX, replays)
                assert known == fresh[placed.index(each)]


def test_slots_of_groups_count_among_the_missing_approvals(tmp_path: Path) -> None:
    with DecisionStore(tmp_path / "g.db", groups={"security": ["carol"]}) as store:
        tools = NexusControlTools(store)
        data_of(tools.approve(asked(tools, required_from={"security": 1}), BOB))
        assert words(tools) == [("pending", 1, None), ("pending", 1, "human:bob")]


def test_an_import_that_begins_the_numbers_again_gives_other_ids(tools: NexusControlTools) -> None:
    request_id = asked(tools, min_approvals=2)
    assert overwritten(tools, request_id).success
    data_of(tools.approve(request_id, BOB))
    assert [message.message_id for message in told(tools)] == [f"evt_{request_id}_1", f"evt_{request_id}_2_1"]


@pytest.mark.parametrize("decision_id", ["a b", "a\r\nx: y", "é", "a/../b?c#d", "%2F"])
def test_an_id_is_a_header_and_a_part_of_a_path_whatever_it_holds(decision_id: str) -> None:
    written = message_id_of(decision_id, 1, 0)
    assert written.isascii()
    assert not set(written) & set(" \r\n/?#")


def test_no_plan_argument_output_comment_or_reason_goes_out(tools: NexusControlTools) -> None:
    plan = [
        {"step_id": "s1", "intent": "s3cret", "call": {"tool": "t", "method": "m", "args": {"a": "s3cret"}}}
    ]
    request_id = asked(tools, goal="s3cret", plan=plan, metadata={"a": "s3cret"})
    data_of(tools.approve(request_id, BOB, comment="s3cret"))
    data_of(tools.revoke_approval(request_id, BOB, reason="s3cret"))
    data_of(tools.deny(request_id, CAROL, "s3cret"))
    messages = told(tools)
    assert len(messages) == 4
    for message in messages:
        assert "s3cret" not in f"{message.to_bytes().decode()}{message.title}{message.text}"


@pytest.mark.parametrize(
    ("goal", "line"),
    [
        ("Rotate the keys", "Rotate the keys"),
        ("one\r\ntwo\t\x1b[31m three\u202e", "one two [31m three"),
        ("x" * 500, "x" * (LONGEST_GOAL - 1) + "…"),
    ],
)
def test_a_goal_goes_out_as_one_line_where_the_sink_says_so(
    tools: NexusControlTools, goal: str, line: str
) -> None:
    asked(tools, goal=goal)
    (message,) = told(tools, sink(goal=True))
    assert message.document["data"]["goal"] == line
    assert (f"Goal: {line}" in message.text, "\n" in message.text) == (True, False)


def test_without_an_inbox_there_is_no_link(tools: NexusControlTools) -> None:
    asked(tools)
    (message,) = told(tools, inbox=None)
    assert message.document["data"]["link"] is None
    assert "http" not in message.text


def test_the_same_event_says_the_same_later(tools: NexusControlTools) -> None:
    request_id = asked(tools, min_approvals=1, expires_in="1h")
    before = [message.to_bytes() for message in told(tools)]
    assert isinstance(tools.store.clock, FakeClock)
    tools.store.clock.advance(days=2)
    tools.deny(request_id, BOB, "late")
    assert [message.to_bytes() for message in told(tools)][:1] == before
    assert json.loads(before[0])["type"] == "pending"
