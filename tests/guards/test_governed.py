"""Governed functions: what is proposed, who may run it, and that it runs once."""

import asyncio
import contextvars
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal, assert_type

import pytest
from pydantic import BaseModel

from nexus_control import LocalRouter, NexusControlTools, PythonAdapter
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.guards import AsyncProposal, Governed, Proposal, governed
from nexus_control.guards.guard import Asking
from nexus_control.tool.proposing import Proposed
from tests.support.clock import FakeClock
from tests.support.governed import BOB, data_of
from tests.support.places import REPOSITORY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tools(path: Path, clock: FakeClock) -> Iterator[NexusControlTools]:
    with NexusControlTools(path, clock=clock) as opened:
        yield opened


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True)
class Receipt:
    service: str
    on: date
    cost: Decimal


class Window(BaseModel):
    start: date
    hours: int = 1


done: list[object] = []


@pytest.fixture(autouse=True)
def nothing_ran_before() -> None:
    done.clear()


def rotate(service: str, keep: int = 1) -> Receipt:
    done.append((service, keep))
    return Receipt(service, date(2026, 11, 27), Decimal("1.50"))


async def arotate(service: str, keep: int = 1) -> Receipt:
    await asyncio.sleep(0)
    return rotate(service, keep)


def approve(tools: NexusControlTools, proposal: Proposed) -> None:
    data_of(tools.approve(proposal.request_id, BOB))


def state_of(tools: NexusControlTools, proposal: Proposed) -> str:
    return data_of(tools.status(proposal.request_id))["state"]


def arguments_of(tools: NexusControlTools, proposal: Proposed) -> object:
    return json.loads(data_of(tools.status(proposal.request_id))["plan"])["arguments"]


def code_of(action: Callable[[], object]) -> ErrorCode:
    return fault_of(action).code


def fault_of(action: Callable[[], object]) -> NexusControlError:
    with pytest.raises(NexusControlError) as raised:
        action()
    return raised.value


def written(tools: NexusControlTools) -> int:
    return data_of(tools.events_since())["cursor"]


# --- proposing -----------------------------------------------------------------------------------------------------


def test_people_see_the_function_and_each_argument_by_name_with_its_default(tools: NexusControlTools) -> None:
    proposal = governed(tools, min_approvals=2)(rotate).propose("billing")
    status = data_of(tools.status(proposal.request_id))
    named = f"{__name__}.rotate"
    assert json.loads(status["plan"]) == {"tool": named, "arguments": {"service": "billing", "keep": 1}}
    assert status["goal"] == f'{named}(service="billing", keep=1)'
    assert status["adapter_id"] == f"function:{named}"
    assert (status["requested_mode"], status["required_approvals"]) == ("apply", 2)
    assert status["requester"]["type"] == "system"
    assert done == []


def test_a_template_and_an_actor_are_given_by_keyword(tools: NexusControlTools) -> None:
    data_of(tools.template_create("prod", BOB, min_approvals=3, allowed_modes=["apply"]))
    proposal = governed(tools, template="prod", actor=BOB, name="rotating")(rotate).propose("billing")
    status = data_of(tools.status(proposal.request_id))
    assert (status["required_approvals"], status["template_name"]) == (3, "prod")
    assert (status["requester"]["id"], status["adapter_id"]) == ("bob", "function:rotating")


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "missing a required argument: 'service'"),
        (("billing",), {"kep": 2}, "unexpected keyword argument 'kep'"),
        (("billing", 1, 2), {}, "too many positional"),
        ((5,), {}, "service should be a valid string"),
        (("billing", "2"), {}, "keep should be a valid integer"),
        (("billing", True), {}, "keep should be a valid integer"),
        (("\ud800",), {}, "service"),
        (("billing", 2**70), {}, "keep cannot be shown"),
        (("x" * 300_000,), {}, "plan"),
    ],
)
def test_arguments_that_do_not_fit_raise_before_anything_is_requested(
    args: tuple[Any, ...], kwargs: dict[str, Any], said: str, tools: NexusControlTools
) -> None:
    before = written(tools)
    fault = fault_of(lambda: governed(tools)(rotate).propose(*args, **kwargs))
    assert fault.code == ErrorCode.INVALID_ARGUMENT
    assert said in fault.message
    assert written(tools) == before


def echo(value: Any) -> Any:
    done.append(value)
    return value


class Odd:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __hash__ = None  # type: ignore[assignment]  # it is not compared


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1, 2},
        date(2026, 1, 1),
        Size.SMALL,
        float("nan"),
        float("inf"),
        object(),
        Odd(),
        {1: "a"},
        [date(2026, 1, 1)],
        nested(63),
        nested(5000),
    ],
    ids=[
        "tuple",
        "set",
        "date",
        "enum",
        "nan",
        "inf",
        "object",
        "odd",
        "key",
        "in a list",
        "deep",
        "too deep",
    ],
)
def test_a_value_that_json_would_change_is_not_proposed_without_an_annotation(
    value: object, tools: NexusControlTools
) -> None:
    before = written(tools)
    assert code_of(lambda: governed(tools)(echo).propose(value)) in ("INVALID_ARGUMENT", "PLAN_INVALID")
    assert written(tools) == before


def everything(
    when: date,
    size: Size,
    receipt: Receipt,
    window: Window,
    how: Literal["fast", "slow"],
    wait: timedelta | None,
    tags: frozenset[str],
    pair: tuple[int, float],
    /,
    *more: Decimal,
    note: str = "",
    **extra: date,
) -> tuple[object, ...]:
    done.append((when, size, receipt, window, how, wait, tags, pair, more, note, extra))
    return (when, size, more)


def test_arguments_are_bound_back_by_their_annotations(tools: NexusControlTools) -> None:
    given = (
        date(2026, 1, 2),
        Size.LARGE,
        Receipt("billing", date(2026, 3, 4), Decimal("0.10")),
        Window(start=date(2026, 5, 6)),
        "slow",
        None,
        frozenset({"a"}),
        (1, 0.1),
    )
    proposal = governed(tools)(everything).propose(
        *given, Decimal("1.0"), Decimal("2"), first=date(2026, 7, 8)
    )
    assert arguments_of(tools, proposal) == {
        "when": "2026-01-02",
        "size": "large",
        "receipt": {"service": "billing", "on": "2026-03-04", "cost": "0.10"},
        "window": {"start": "2026-05-06", "hours": 1},
        "how": "slow",
        "wait": None,
        "tags": ["a"],
        "pair": [1, 0.1],
        "more": ["1.0", "2"],
        "note": "",
        "extra": {"first": "2026-07-08"},
    }
    approve(tools, proposal)
    proposal.execute()
    (called,) = done
    assert called == (*given, (Decimal("1.0"), Decimal("2")), "", {"first": date(2026, 7, 8)})


def test_what_a_caller_changes_after_proposing_does_not_run(tools: NexusControlTools) -> None:
    services = ["billing"]
    proposal = governed(tools)(echo).propose(services)
    services.append("everything")
    approve(tools, proposal)
    assert proposal.execute() == ["billing"]


def test_each_propose_is_a_new_request_and_a_key_makes_one(tools: NexusControlTools) -> None:
    asking = governed(tools)(rotate)
    assert asking.propose("billing").request_id != asking.propose("billing").request_id
    keyed = asking.keyed(idempotency_key="billing, November")
    once = keyed.propose("billing")
    assert keyed.propose("billing").request_id == once.request_id
    before = written(tools)
    assert code_of(lambda: keyed.propose("mail")) == "IDEMPOTENCY_CONFLICT"
    assert written(tools) == before
    approve(tools, once)
    once.execute()
    assert code_of(keyed.propose("billing").execute) == "ALREADY_EXECUTED"


def test_a_parameter_may_be_called_as_the_key_is(tools: NexusControlTools) -> None:
    def pay(idempotency_key: str) -> str:
        return idempotency_key

    proposal = governed(tools, name="pay")(pay).propose(idempotency_key="theirs")
    approve(tools, proposal)
    assert proposal.execute() == "theirs"


def test_the_policy_is_given_by_the_fields_of_a_guard(tools: NexusControlTools) -> None:
    fields = {"template" if name == "template_name" else name for name in Asking.__annotations__}
    assert set(inspect.signature(governed).parameters) - {"tools", "name", "actor"} == fields


# --- which functions -----------------------------------------------------------------------------------------------


class Keys:
    def rotate(self, service: str) -> None:
        """A method."""


def generate() -> Iterator[int]:
    yield 1


async def agenerate() -> Any:
    yield 1


@pytest.mark.parametrize(
    "function",
    [Keys, Keys().rotate, Keys.rotate, len, generate, agenerate, Odd()],
    ids=["class", "bound method", "method", "builtin", "generator", "async generator", "object"],
)
def test_what_no_other_process_could_run_alike_is_not_governed(
    function: Callable[..., Any], tools: NexusControlTools
) -> None:
    assert code_of(lambda: governed(tools, name="it")(function)) == "INVALID_ARGUMENT"


def test_a_function_inside_another_one_needs_a_name(tools: NexusControlTools) -> None:
    def local() -> int:
        return 5

    assert "give a name" in str(fault_of(lambda: governed(tools)(local)))
    assert governed(tools, name="five")(local).propose().request_id


def test_two_functions_of_one_name_are_refused_and_a_reloaded_one_takes_its_place(
    tools: NexusControlTools,
) -> None:
    governed(tools, name="rotate")(rotate)
    assert code_of(lambda: governed(tools, name="rotate")(echo)) == "INVALID_ARGUMENT"
    governed(tools, name="rotate")(rotate)


def unknown_type(value: object) -> None:
    """Its annotation leads nowhere."""


unknown_type.__annotations__["value"] = "Nowhere"


def unusable_type(value: Odd) -> None:
    """Its annotation cannot be checked."""


@pytest.mark.parametrize("function", [unknown_type, unusable_type])
def test_an_annotation_that_cannot_be_checked_is_refused_when_it_is_proposed(
    function: Callable[[Any], None], tools: NexusControlTools
) -> None:
    asking = governed(tools)(function)
    assert code_of(lambda: asking.propose(5)) == "INVALID_ARGUMENT"
    assert data_of(tools.list_requests())["count"] == 0


def test_calling_a_governed_function_runs_nothing_and_requests_nothing(tools: NexusControlTools) -> None:
    asking: Any = governed(tools)(rotate)
    assert "propose" in fault_of(lambda: asking("billing")).next
    assert (done, data_of(tools.list_requests())["count"]) == ([], 0)


def test_the_tools_may_have_a_plan_checker(path: Path, tmp_path: Path) -> None:
    with (
        LocalRouter([PythonAdapter("keys", {"rotate": rotate})], tmp_path / "runs.db") as router,
        NexusControlTools(path, plan_checker=router) as tools,
    ):
        proposal = governed(tools)(rotate).propose("billing")
        approve(tools, proposal)
        assert proposal.execute().service == "billing"


# --- types ---------------------------------------------------------------------------------------------------------


def test_a_type_checker_knows_the_parameters_and_the_returned_value(tools: NexusControlTools) -> None:
    asking = governed(tools)(rotate)
    proposal = asking.propose("billing", keep=2)
    assert_type(proposal, Proposal[Receipt])
    asynchronous = governed(tools)(arotate).propose(service="billing")
    assert_type(asynchronous, AsyncProposal[Receipt])
    if False:
        assert_type(proposal.execute(), Receipt)
        assert_type(proposal.result(), Receipt)
        assert_type(asynchronous.result(), Receipt)
        assert_type(asyncio.run(asynchronous.wait()), bool)
        assert_type(asyncio.run(asyncio.wait_for(asynchronous.execute(), 5)), Receipt)
        asking.propose(5)  # pyright: ignore[reportArgumentType] - refused, or this remark would be one too many
        asking("billing")  # pyright: ignore[reportCallIssue] - likewise
    assert isinstance(asking, Governed)


# --- executing -----------------------------------------------------------------------------------------------------


def test_an_approved_proposal_runs_once_and_gives_the_functions_own_value(tools: NexusControlTools) -> None:
    proposal = governed(tools)(rotate).propose("billing", keep=3)
    approve(tools, proposal)
    assert proposal.wait(0)
    receipt = Receipt("billing", date(2026, 11, 27), Decimal("1.50"))
    assert proposal.execute() == receipt
    before = written(tools)
    fault = fault_of(proposal.execute)
    assert (fault.code, fault.details["reasons"][0]["code"]) == ("ALREADY_EXECUTED", "ALREADY_EXECUTED")  # type: ignore[index]
    assert written(tools) == before
    assert done == [("billing", 3)]
    assert proposal.result() == receipt
    assert state_of(tools, proposal) == "completed"


def test_a_pending_proposal_names_the_command_that_a_person_runs(
    tools: NexusControlTools, path: Path
) -> None:
    proposal = governed(tools)(rotate).propose("billing")
    before = written(tools)
    fault = fault_of(proposal.execute)
    assert fault.code == "POLICY_NOT_SATISFIED"
    assert f"nexus-control approve {proposal.request_id} --db {path}" in fault.message
    assert fault.details["command"] == f"nexus-control approve {proposal.request_id} --db {path}"
    assert not proposal.wait(0)
    assert code_of(proposal.result) == "INVALID_STATE"
    assert (done, written(tools)) == ([], before)


def deny(tools: NexusControlTools, proposal: Proposed, clock: FakeClock) -> None:
    data_of(tools.deny(proposal.request_id, BOB, "not on a Friday"))


def withdraw(tools: NexusControlTools, proposal: Proposed, clock: FakeClock) -> None:
    requester = data_of(tools.status(proposal.request_id))["requester"]
    data_of(tools.withdraw(proposal.request_id, requester, "no longer wanted"))


def expire(tools: NexusControlTools, proposal: Proposed, clock: FakeClock) -> None:
    clock.advance(hours=2)


@pytest.mark.parametrize("approved_first", [False, True])
@pytest.mark.parametrize(
    ("end", "said"), [(deny, "not on a Friday"), (withdraw, "no longer wanted"), (expire, "expired")]
)
def test_a_request_that_has_ended_does_not_run_and_says_why(
    end: Callable[..., None], said: str, approved_first: bool, tools: NexusControlTools, clock: FakeClock
) -> None:
    proposal = governed(tools, expires_in="1h")(rotate).propose("billing")
    if approved_first:
        approve(tools, proposal)
    end(tools, proposal, clock)
    before = written(tools)
    for refused in (proposal.execute, proposal.wait):
        fault = fault_of(refused)
        assert fault.code == "POLICY_NOT_SATISFIED"
        assert said in fault.message
    assert (done, written(tools)) == ([], before)


def test_a_wait_ends_when_somebody_approves(path: Path, tools: NexusControlTools) -> None:
    proposal = governed(tools)(rotate).propose("billing")
    agreed: list[bool] = []
    waiting = threading.Thread(target=lambda: agreed.append(proposal.wait()))
    waiting.start()
    approve(tools, proposal)
    waiting.join(60)
    assert agreed == [True]


def failing(kind: str) -> None:
    done.append(kind)
    raise RAISED[kind]


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it cannot be shown")


RAISED: dict[str, BaseException] = {
    "value": ValueError("no such key"),
    "odd": OddError(),
    "own": NexusControlError(ErrorCode.POLICY_NOT_SATISFIED, "of another store"),
    "timeout": TimeoutError("too slow"),
    "interrupt": KeyboardInterrupt(),
    "exit": SystemExit(1),
    "cancelled": asyncio.CancelledError(),
}


@pytest.mark.parametrize("kind", RAISED)
def test_an_exception_of_the_function_is_recorded_and_raised_again(
    kind: str, tools: NexusControlTools
) -> None:
    proposal = governed(tools)(failing).propose(kind)
    approve(tools, proposal)
    with pytest.raises(type(RAISED[kind])) as raised:
        proposal.execute()
    assert raised.value is RAISED[kind]
    is_failure = kind in ("value", "odd", "own")
    assert state_of(tools, proposal) == ("failed" if is_failure else "outcome_unknown")
    assert code_of(proposal.execute) == ("ALREADY_EXECUTED" if is_failure else "OUTCOME_UNKNOWN")
    assert code_of(proposal.result) == ("ROUTER_ERROR" if is_failure else "OUTCOME_UNKNOWN")
    assert done == [kind]


def generator_of(value: int) -> object:
    return (each for each in range(value))


def coroutine_of(value: int) -> object:
    return arotate(str(value))


@pytest.mark.parametrize("function", [generator_of, coroutine_of])
def test_unfinished_work_that_is_returned_is_a_failure(
    function: Callable[[int], object], tools: NexusControlTools
) -> None:
    proposal = governed(tools)(function).propose(3)
    approve(tools, proposal)
    with pytest.raises(TypeError, match="which was not run"):
        proposal.execute()
    assert state_of(tools, proposal) == "failed"


def odd() -> Odd:
    return Odd()


def wrongly_annotated() -> int:
    return Size.SMALL  # type: ignore[return-value] # pyright: ignore[reportReturnType] - the case


def large() -> str:
    return "x" * 2_000_000


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("function", [odd, wrongly_annotated, large, cyclic])
def test_a_value_that_cannot_be_kept_is_returned_and_its_result_says_so(
    function: Callable[[], object], tools: NexusControlTools
) -> None:
    proposal = governed(tools)(function).propose()
    approve(tools, proposal)
    assert type(proposal.execute()) is type(function())
    assert state_of(tools, proposal) == "completed"
    assert code_of(proposal.result) in ("INVALID_STATE", "INVALID_ARGUMENT")


def test_a_result_that_a_person_settled_has_no_value(tools: NexusControlTools) -> None:
    proposal = governed(tools)(failing).propose("timeout")
    approve(tools, proposal)
    with pytest.raises(TimeoutError):
        proposal.execute()
    data_of(tools.reconcile(proposal.request_id, BOB, "completed", "the new key is there"))
    assert code_of(proposal.result) == "INVALID_STATE"
    assert code_of(proposal.execute) == "ALREADY_EXECUTED"


def test_parallel_executes_in_threads_run_it_once(tools: NexusControlTools) -> None:
    asking = governed(tools)(rotate)
    proposal = asking.propose("billing")
    approve(tools, proposal)
    codes: list[str] = []

    def execute() -> None:
        try:
            asking.proposal(proposal.request_id).execute()
        except NexusControlError as fault:
            codes.append(fault.code)

    threads = [threading.Thread(target=execute) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert done == [("billing", 1)]
    assert len(codes) == 5
    assert set(codes) <= {"ALREADY_EXECUTED", "EXECUTING"}


# --- what was approved is what runs --------------------------------------------------------------------------------


def test_a_request_that_was_replaced_is_a_conflict(path: Path, tools: NexusControlTools) -> None:
    asking = governed(tools, name="rotate")(rotate)
    proposal = asking.propose("billing")
    approve(tools, proposal)
    with NexusControlTools() as elsewhere:
        other = governed(elsewhere, name="rotate")(rotate).propose("everything")
        bundle = data_of(elsewhere.export_bundle(other.request_id))["bundle"]
    text = json.dumps(bundle).replace(other.request_id, proposal.request_id)
    data_of(tools.import_bundle(text, conflict_mode="overwrite", allow_rollback=True, verify_digest=False))
    assert code_of(proposal.execute) == "BASIS_CHANGED"
    assert done == []


def test_a_request_of_another_function_is_refused(tools: NexusControlTools) -> None:
    proposal = governed(tools)(rotate).propose("billing")
    other = governed(tools)(echo)
    assert code_of(lambda: other.proposal(proposal.request_id)) == "INVALID_ARGUMENT"
    assert code_of(lambda: other.proposal("nowhere")) == "DECISION_NOT_FOUND"


@pytest.mark.parametrize(
    "plan",
    [
        None,
        "rotate",
        "[]",
        "{}",
        '{"tool": "rotate", "arguments": {}}',
        '{"tool": "other", "arguments": {"service": "billing", "keep": 1}}',
        '{"tool": "rotate", "arguments": {"service": "billing", "keep": "1"}}',
        '{"tool": "rotate", "arguments": {"service": "billing", "keep": 1, "more": 1}}',
        '{"tool": "rotate", "arguments": {"service": "billing", "keep": 1}, "more": 1}',
        '{"tool": "rotate", "arguments": {"service": "a", "service": "billing", "keep": 1}}',
        '{"tool": "rotate", "arguments": ["billing", 1]}',
    ],
)
def test_a_plan_that_is_not_a_call_of_the_function_does_not_run(
    plan: str | None, tools: NexusControlTools
) -> None:
    asking = governed(tools, name="rotate")(rotate)
    request_id = data_of(tools.request("g", BOB, mode="apply", plan=plan, adapter_id="function:rotate"))[
        "request_id"
    ]
    assert code_of(lambda: asking.proposal(request_id)) == "PLAN_INVALID"
    assert code_of(lambda: tools.proposal(request_id)) == "PLAN_INVALID"


def test_a_request_for_a_rehearsal_does_not_run_the_function(tools: NexusControlTools) -> None:
    asking = governed(tools, name="rotate")(rotate)
    plan = '{"tool": "rotate", "arguments": {"service": "billing", "keep": 1}}'
    asked = data_of(tools.request("g", BOB, plan=plan, adapter_id="function:rotate"))
    proposal = asking.proposal(asked["request_id"])
    data_of(tools.approve(proposal.request_id, {"type": "human", "id": "carol"}))
    assert code_of(proposal.execute) == "POLICY_NOT_SATISFIED"
    assert done == []


MODULE = """
import os, signal, sys
from nexus_control import NexusControlTools
from nexus_control.guards import governed

tools = NexusControlTools(sys.argv[1])

@governed(tools)
def act(path: str, {parameters}) -> dict[str, int]:
    with open(path, "a") as file:
        file.write(f"{{share}}\\n")
    {then}
    return {{"share": share}}
"""
PROPOSES = "from deploy import *; print(act.propose(sys.argv[2]).request_id)"
EXECUTES = "from deploy import *; print(tools.proposal(sys.argv[2]).execute())"


def in_a_process(code: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def define(folder: Path, parameters: str = "share: int = 1", then: str = "pass") -> None:
    (folder / "deploy.py").write_text(MODULE.format(parameters=parameters, then=then))


def proposed_elsewhere(path: Path, folder: Path) -> str:
    """The request of a process that has ended, approved by `nexus-control` in another one."""
    ran = in_a_process(PROPOSES, path, folder / "effects", folder=folder)
    assert ran.returncode == 0, ran.stderr
    request_id = ran.stdout.strip()
    approving = [sys.executable, "-m", "nexus_control", "approve", request_id, "--db", str(path), "--yes"]
    subprocess.run([*approving, "--as", "human:bob"], check=True, capture_output=True, cwd=REPOSITORY)
    return request_id


def test_it_is_proposed_approved_and_executed_in_three_processes_once(path: Path, tmp_path: Path) -> None:
    define(tmp_path)
    request_id = proposed_elsewhere(path, tmp_path)
    first = in_a_process(EXECUTES, path, request_id, folder=tmp_path)
    assert first.stdout == "{'share': 1}\n", first.stderr
    second = in_a_process(EXECUTES, path, request_id, folder=tmp_path)
    assert "NexusControlError: ALREADY_EXECUTED" in second.stderr
    assert (tmp_path / "effects").read_text() == "1\n"


def test_of_four_processes_one_runs_it(path: Path, tmp_path: Path) -> None:
    define(tmp_path)
    request_id = proposed_elsewhere(path, tmp_path)
    runs: list[subprocess.CompletedProcess[str]] = []
    racing = [
        threading.Thread(
            target=lambda: runs.append(in_a_process(EXECUTES, path, request_id, folder=tmp_path))
        )
        for _ in range(4)
    ]
    for each in racing:
        each.start()
    for each in racing:
        each.join()
    assert sorted(run.returncode for run in runs) == [0, 1, 1, 1]
    assert (tmp_path / "effects").read_text() == "1\n"


def test_another_default_does_not_change_what_was_approved(path: Path, tmp_path: Path) -> None:
    define(tmp_path)
    request_id = proposed_elsewhere(path, tmp_path)
    define(tmp_path, "share: int = 100")
    assert in_a_process(EXECUTES, path, request_id, folder=tmp_path).stdout == "{'share': 1}\n"


@pytest.mark.parametrize(
    "parameters", ["share: int = 1, force: bool = True", "share: str = '1'", "*, share=1, of: int"]
)
def test_another_signature_is_refused_and_nothing_is_written(
    parameters: str, path: Path, tmp_path: Path
) -> None:
    define(tmp_path)
    request_id = proposed_elsewhere(path, tmp_path)
    define(tmp_path, parameters)
    with NexusControlTools(path) as tools:
        before = written(tools)
        ran = in_a_process(EXECUTES, path, request_id, folder=tmp_path)
        assert "PLAN_INVALID: The approved arguments do not fit act()" in ran.stderr
        assert written(tools) == before
    assert not (tmp_path / "effects").exists()


def test_a_function_that_is_not_defined_here_is_named_with_its_module(path: Path, tmp_path: Path) -> None:
    define(tmp_path)
    request_id = proposed_elsewhere(path, tmp_path)
    with NexusControlTools(path) as tools:
        fault = fault_of(lambda: tools.proposal(request_id))
        assert (fault.code, fault.details["function"]) == ("ADAPTER_UNKNOWN", "deploy.act")
        assert "Import the module that defines deploy.act" in fault.next
        other = data_of(tools.request("g", BOB))["request_id"]
        assert code_of(lambda: tools.proposal(other)) == "INVALID_ARGUMENT"
        assert code_of(lambda: tools.proposal("nowhere")) == "DECISION_NOT_FOUND"


@pytest.mark.parametrize("command", [["deploy.py"], ["-m", "deploy"]])
def test_a_program_and_its_import_mean_the_same_function(
    command: Sequence[str], path: Path, tmp_path: Path
) -> None:
    define(tmp_path)
    program = tmp_path / "deploy.py"
    program.write_text(program.read_text() + "\nprint(act.propose(sys.argv[2]).request_id)\n")
    ran = subprocess.run(
        [sys.executable, *command, str(path), "effects"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    with NexusControlTools(path) as tools:
        assert data_of(tools.status(ran.stdout.strip()))["adapter_id"] == "function:deploy.act"


def test_a_process_that_is_killed_in_mid_run_leaves_the_outcome_unknown(path: Path, tmp_path: Path) -> None:
    define(tmp_path, then="os.kill(os.getpid(), signal.SIGKILL)")
    request_id = proposed_elsewhere(path, tmp_path)
    assert in_a_process(EXECUTES, path, request_id, folder=tmp_path).returncode == -signal.SIGKILL
    for _ in range(2):
        again = in_a_process(EXECUTES, path, request_id, folder=tmp_path)
        assert "NexusControlError: OUTCOME_UNKNOWN" in again.stderr
    assert (tmp_path / "effects").read_text() == "1\n"
    with NexusControlTools(path) as tools:
        assert data_of(tools.status(request_id))["state"] == "outcome_unknown"


# --- a store that is away ------------------------------------------------------------------------------------------


def test_without_its_store_nothing_is_proposed_or_run(tools: NexusControlTools) -> None:
    asking = governed(tools)(rotate)
    proposal = asking.propose("billing")
    approve(tools, proposal)
    tools.close()
    for refused in (proposal.execute, proposal.wait, proposal.result, lambda: asking.propose("billing")):
        assert code_of(refused).startswith("STORE_")
    assert done == []


def test_a_value_whose_record_is_lost_is_returned_and_it_is_not_run_again(
    path: Path, tools: NexusControlTools
) -> None:
    def closes() -> str:
        tools.close()
        return "done"

    proposal = governed(tools, name="closes")(closes).propose()
    approve(tools, proposal)
    assert proposal.execute() == "done"
    with NexusControlTools(path) as later:
        again = governed(later, name="closes")(closes).proposal(proposal.request_id)
        assert code_of(again.execute) == "EXECUTING"
        assert code_of(again.result) == "EXECUTING"


# --- async functions -----------------------------------------------------------------------------------------------

WHERE = contextvars.ContextVar("WHERE", default="nowhere")


async def where(then: str) -> str:
    done.append(then)
    before = WHERE.get()
    WHERE.set(then)
    return before


def test_an_async_function_runs_in_the_callers_context(tools: NexusControlTools) -> None:
    async def main() -> None:
        WHERE.set("here")
        proposal = governed(tools)(where).propose("there")
        assert not await proposal.wait(0)
        approve(tools, proposal)
        assert await proposal.wait()
        assert await proposal.execute() == "here"
        assert WHERE.get() == "there"
        assert proposal.result() == "here"

    asyncio.run(main())


def test_an_async_function_runs_once_among_parallel_tasks(tools: NexusControlTools) -> None:
    async def main() -> list[Any]:
        proposal = governed(tools)(arotate).propose("billing")
        approve(tools, proposal)
        return await asyncio.gather(*(proposal.execute() for _ in range(5)), return_exceptions=True)

    answers = asyncio.run(main())
    assert sum(isinstance(each, Receipt) for each in answers) == 1
    faults = [each for each in answers if isinstance(each, NexusControlError)]
    assert {fault.code for fault in faults} <= {"ALREADY_EXECUTED", "EXECUTING"}
    assert len(faults) == 4
    assert done == [("billing", 1)]


STARTED = asyncio.Event()


async def never() -> None:
    STARTED.set()
    await asyncio.Event().wait()


def test_a_cancellation_leaves_the_outcome_unknown(tools: NexusControlTools) -> None:
    proposal = governed(tools)(never).propose()
    approve(tools, proposal)

    async def main() -> None:
        task = asyncio.create_task(proposal.execute())
        await STARTED.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert state_of(tools, proposal) == "outcome_unknown"


def test_a_cancellation_before_the_claim_costs_nothing(tools: NexusControlTools) -> None:
    proposal = governed(tools)(arotate).propose("billing")
    approve(tools, proposal)
    before = written(tools)

    async def main() -> Receipt:
        task = asyncio.create_task(proposal.execute())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert written(tools) == before
        return await proposal.execute()

    assert asyncio.run(main()).service == "billing"


def test_a_timeout_around_a_wait_ends_it_and_writes_nothing(tools: NexusControlTools) -> None:
    proposal = governed(tools)(arotate).propose("billing")
    before = written(tools)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await proposal.wait()

    asyncio.run(main())
    assert written(tools) == before


async def afails() -> None:
    done.append("afails")
    raise ValueError("no such key")


def test_a_refusal_or_failure_of_an_async_function_is_raised_to_who_awaits_it(
    tools: NexusControlTools,
) -> None:
    proposal = governed(tools)(afails).propose()
    assert code_of(lambda: asyncio.run(proposal.execute())) == "POLICY_NOT_SATISFIED"
    approve(tools, proposal)
    with pytest.raises(ValueError, match="no such key"):
        asyncio.run(proposal.execute())
    assert state_of(tools, proposal) == "failed"
    assert done == ["afails"]
