"""A request with an idempotency key is made once, whoever asks again and whatever happened meanwhile."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.log.upkeep import find_faults, rebuild_derived
from nexus_control.tool import NexusControlTools, ToolResult
from nexus_control.usecases.answers import RequestData
from nexus_control.values.actors import Actor
from tests.facade.flow import CAROL, bundle_of, require_refused, state_of
from tests.facade.routers import FakeRouter
from tests.support.clock import FakeClock
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, data_of
from tests.support.places import REPOSITORY

KEY = "ticket-17"


def ask(tools: NexusControlTools, **changes: Any) -> ToolResult[RequestData]:
    given: dict[str, Any] = {"goal": "Rotate", "actor": ALICE, "mode": "apply", "idempotency_key": KEY}
    return tools.request(**(given | changes))


def asked(tools: NexusControlTools, **changes: Any) -> str:
    return data_of(ask(tools, **changes))["request_id"]


def events(tools: NexusControlTools) -> int:
    return len(data_of(tools.events_since())["events"])


def test_the_same_request_again_answers_the_decision_that_is_there(tools: NexusControlTools) -> None:
    first = data_of(ask(tools))
    again = data_of(ask(tools))
    assert first["created"] is True
    assert again == {**first, "created": False}
    assert events(tools) == 2
    assert data_of(tools.status(first["request_id"]))["idempotency_key"] == KEY


def test_requests_without_a_key_are_each_their_own(tools: NexusControlTools) -> None:
    assert len({asked(tools, idempotency_key=None) for _ in range(3)}) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("goal", "Rotate all"),
        ("mode", "dry_run"),
        ("plan", "by hand"),
        ("min_approvals", 2),
        ("max_steps", 3),
        ("labels", ["urgent"]),
        ("approvers", ["bob", "carol"]),
        ("allow_requester_approval", False),
        ("min_assurance", "signed"),
        ("require_adapter_capabilities", ["undo"]),
        ("adapter_id", "python:keys"),
        ("metadata", {"ticket": "17"}),
    ],
)
def test_the_same_key_with_other_content_is_refused_and_names_the_field(
    tools: NexusControlTools, field: str, value: object
) -> None:
    request_id = asked(tools)
    refused = ask(tools, **{field: value})
    require_refused(refused, ErrorCode.IDEMPOTENCY_CONFLICT)
    assert refused.details["request_id"] == request_id
    named = {"mode": "requested_mode"}.get(field, field)
    assert named in refused.details["fields"]
    assert events(tools) == 2


@pytest.mark.parametrize("again", [{"expires_in": "4h"}, {"expires_at": "2027-01-01T00:00:00+00:00"}, {}])
def test_the_expiry_is_no_part_of_the_content(tools: NexusControlTools, again: dict[str, Any]) -> None:
    request_id = asked(tools, expires_in="2h")
    assert asked(tools, **again) == request_id


def test_a_key_belongs_to_its_requester_in_any_case_of_the_id_and_to_the_type(
    tools: NexusControlTools,
) -> None:
    request_id = asked(tools)
    assert asked(tools, actor=Actor("human", "ALICE")) == request_id
    assert asked(tools, actor=Actor("system", "alice")) != request_id
    assert asked(tools, actor=CAROL) != request_id
    assert asked(tools, idempotency_key=KEY.upper()) != request_id


def expired(tools: NexusControlTools, clock: FakeClock, request_id: str) -> str:
    clock.advance(hours=3)
    return "expired"


def approved(tools: NexusControlTools, clock: FakeClock, request_id: str) -> str:
    data_of(tools.approve(request_id, BOB))
    return "approved"


def executed(tools: NexusControlTools, clock: FakeClock, request_id: str) -> str:
    approved(tools, clock, request_id)
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()))
    return "completed"


def denied(tools: NexusControlTools, clock: FakeClock, request_id: str) -> str:
    data_of(tools.deny(request_id, BOB, "no"))
    return "denied"


def withdrawn(tools: NexusControlTools, clock: FakeClock, request_id: str) -> str:
    data_of(tools.withdraw(request_id, ALICE, "no longer"))
    return "withdrawn"


@pytest.mark.parametrize("happened", [expired, approved, executed, denied, withdrawn])
def test_whatever_happened_since_the_same_decision_is_answered(
    tools: NexusControlTools,
    clock: FakeClock,
    happened: Callable[[NexusControlTools, FakeClock, str], str],
) -> None:
    request_id = asked(tools, expires_in="2h")
    state = happened(tools, clock, request_id)
    again = data_of(ask(tools, expires_in="2h"))
    assert (again["request_id"], again["state"], again["created"]) == (request_id, state, False)


def test_a_checker_that_no_longer_takes_the_plan_does_not_hide_the_decision(clock: FakeClock) -> None:
    class Checker:
        knows = True

        def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None:
            if not self.knows:
                raise NexusControlError(ErrorCode.ADAPTER_UNKNOWN, "it was taken away")

        def adapter_digest(self, adapter_id: str) -> str | None:
            return None

    checker = Checker()
    with NexusControlTools(plan_checker=checker, clock=clock) as tools:
        request_id = asked(tools, adapter_id=ADAPTER)
        checker.knows = False
        assert asked(tools, adapter_id=ADAPTER) == request_id
        require_refused(ask(tools, adapter_id=ADAPTER, idempotency_key="new"), ErrorCode.ADAPTER_UNKNOWN)


def test_the_content_with_a_template_is_compared_too(tools: NexusControlTools) -> None:
    data_of(tools.template_create("two", ALICE, min_approvals=2, allowed_modes=["apply"]))
    request_id = asked(tools, template_name="two")
    again = data_of(ask(tools, template_name="two"))
    assert (again["request_id"], again["template_name"]) == (request_id, "two")
    require_refused(ask(tools), ErrorCode.IDEMPOTENCY_CONFLICT)


def test_eight_threads_with_one_key_make_one_decision(tmp_path: Path) -> None:
    with NexusControlTools(tmp_path / "store.db") as tools, ThreadPoolExecutor(8) as threads:
        answers = [data_of(each) for each in threads.map(ask, [tools] * 8)]
        assert len({answer["request_id"] for answer in answers}) == 1
        assert sum(answer["created"] for answer in answers) == 1
        assert events(tools) == 2


_ASK = """
import sys
from nexus_control import NexusControlTools
asked = NexusControlTools(sys.argv[1]).request(
    "Rotate", {"type": "human", "id": "alice"}, mode="apply", idempotency_key=sys.argv[2])
print(asked.data["request_id"], asked.data["created"])
"""


def test_processes_with_one_key_make_one_decision(tmp_path: Path) -> None:
    words = [sys.executable, "-c", _ASK, str(tmp_path / "store.db"), KEY]
    processes = [subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=240)[0].split() for process in processes]
    assert len({request_id for request_id, _ in said}) == 1
    assert sorted(created for _, created in said) == ["False", "False", "False", "True"]


def test_a_decision_that_was_imported_is_not_found_by_its_key(tools: NexusControlTools) -> None:
    request_id = asked(tools)
    with NexusControlTools() as elsewhere:
        data_of(elsewhere.import_bundle(bundle_of(tools, request_id)))
        made = data_of(ask(elsewhere))
        assert made["created"] is True
        assert made["request_id"] != request_id
        rebuild_derived(elsewhere.store)
        assert asked(elsewhere) == made["request_id"]


def test_the_key_is_found_after_the_projections_were_rebuilt(tools: NexusControlTools) -> None:
    request_id = asked(tools)
    rebuild_derived(tools.store)
    assert asked(tools) == request_id
    assert find_faults(tools.store) == []


def test_a_request_that_supersedes_an_open_one_withdraws_it_in_the_same_transaction(
    tools: NexusControlTools,
) -> None:
    older = asked(tools)
    newer = asked(tools, idempotency_key=None, supersedes=older)
    assert state_of(tools, older) == "withdrawn"
    assert data_of(tools.status(newer))["supersedes"] == older
    feed = data_of(tools.events_since())["events"]
    assert [(each["event_type"], each["request_id"]) for each in feed[2:]] == [
        ("DECISION_CREATED", newer),
        ("POLICY_ATTACHED", newer),
        ("DECISION_WITHDRAWN", older),
    ]
    assert len({each["ts"] for each in feed[2:]}) == 1


def test_asking_again_for_what_supersedes_withdraws_nothing_again(tools: NexusControlTools) -> None:
    older = asked(tools)
    newer = asked(tools, idempotency_key="newer", supersedes=older)
    before = events(tools)
    assert asked(tools, idempotency_key="newer", supersedes=older) == newer
    assert events(tools) == before


def test_only_its_own_requester_may_supersede_a_request(tools: NexusControlTools) -> None:
    older = asked(tools)
    require_refused(ask(tools, actor=CAROL, supersedes=older), ErrorCode.NOT_REQUESTER)
    require_refused(ask(tools, idempotency_key="x", supersedes="nowhere"), ErrorCode.DECISION_NOT_FOUND)
    assert (state_of(tools, older), events(tools)) == ("pending_approval", 2)


def test_a_request_that_is_being_executed_is_not_superseded(tools: NexusControlTools) -> None:
    older = asked(tools)
    data_of(tools.approve(older, BOB))
    refused: list[ToolResult[RequestData]] = []

    def supersede() -> object:
        refused.append(ask(tools, idempotency_key="newer", supersedes=older))
        return {"run_id": "r", "status": "completed"}

    data_of(tools.execute(older, ADAPTER, SCHEDULER, FakeRouter(supersede)))
    require_refused(refused[0], ErrorCode.INVALID_STATE)
    assert state_of(tools, older) == "completed"


def test_a_request_that_has_ended_is_left_as_it_is(tools: NexusControlTools) -> None:
    older = asked(tools)
    data_of(tools.deny(older, BOB, "no"))
    asked(tools, idempotency_key="newer", supersedes=older)
    assert state_of(tools, older) == "denied"


@pytest.mark.parametrize(
    "metadata",
    [
        {f"n{number}": "" for number in range(33)},
        {"n": "x" * 4096},
        {"n": "é" * 2048},
        {"": "x"},
        {"n": 1},
        {"n": "a\x00"},
    ],
    ids=["33 names", "a byte too long", "bytes, not characters", "no name", "no text", "NUL"],
)
def test_metadata_has_limits(tools: NexusControlTools, metadata: dict[str, Any]) -> None:
    require_refused(ask(tools, metadata=metadata), ErrorCode.INVALID_ARGUMENT)


def test_metadata_comes_back_in_every_view(tools: NexusControlTools) -> None:
    metadata = {"ticket": "OPS-17", "n": "x" * (4096 - 13)}
    request_id = asked(tools, metadata=metadata)
    assert data_of(tools.status(request_id))["metadata"] == metadata
    assert data_of(tools.inspect(request_id))["decision"]["metadata"] == metadata


@pytest.mark.parametrize(
    ("given", "hours"), [("4h", 4), ("90m", 1.5), ("2d", 48), ("1h30m", 1.5), (timedelta(hours=5), 5)]
)
def test_a_request_expires_in_the_time_that_was_given(
    tools: NexusControlTools, clock: FakeClock, given: object, hours: float
) -> None:
    expected = (clock.now() + timedelta(hours=hours)).isoformat(timespec="microseconds")
    assert data_of(tools.status(asked(tools, expires_in=given)))["expires_at"] == expected


@pytest.mark.parametrize("given", ["", "4", "soon", "0h", "-1h", timedelta(), "99999d", 14400])
def test_what_names_no_time_to_come_is_refused(tools: NexusControlTools, given: object) -> None:
    require_refused(ask(tools, expires_in=given), ErrorCode.INVALID_ARGUMENT)


def test_a_request_has_one_expiry(tools: NexusControlTools) -> None:
    both = {"expires_in": "4h", "expires_at": "2027-01-01T00:00:00+00:00"}
    require_refused(ask(tools, **both), ErrorCode.INVALID_ARGUMENT)
