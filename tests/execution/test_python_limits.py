"""The time limit of Python functions, and what is left of a call that reached it."""

import asyncio
import os
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import Adapters, StepError
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.plan import Call
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.execution.router import RouterOutcomeUnknown
from nexus_control.execution.stopping import stop_ordered
from nexus_control.integrity import json_digest
from tests.execution.support import plan, step

CALL = Call(tool="keys", method="m", args={})
SOON = 0.05
LATE = 3600.0


def test_a_function_that_reaches_its_limit_has_an_unknown_effect_and_goes_on() -> None:
    go_on, ended = threading.Event(), threading.Event()

    def method() -> None:
        go_on.wait()
        ended.set()

    result = PythonAdapter("keys", {"m": method}, timeout_seconds=SOON).execute(CALL, dry_run=False)
    assert (result.status, result.error_code) == ("unknown", StepError.TIMED_OUT)
    assert result.error_message == "It had not ended at its time limit of 0.05 s, and was left running"
    assert not ended.is_set()
    go_on.set()
    assert ended.wait(240)


def test_a_function_that_was_left_at_its_limit_is_told_to_stop() -> None:
    told: list[str | None] = []
    go_on, ended = threading.Event(), threading.Event()

    def method() -> None:
        told.append(stop_ordered())
        go_on.wait()
        told.append(stop_ordered())
        ended.set()

    adapter = PythonAdapter("keys", {"m": method}, timeout_seconds=SOON)
    assert adapter.execute(CALL, dry_run=False).error_code is StepError.TIMED_OUT
    go_on.set()
    assert ended.wait(240)
    assert told == [None, "its time limit of 0.05 s was reached"]
    assert stop_ordered() is None


@pytest.mark.parametrize(
    ("raised", "code"),
    [(SystemExit(3), 3), (SystemExit(), 0), (SystemExit("no"), 1), (LookupError("no"), 1), (None, 0)],
)
def test_a_child_that_a_function_forks_ends_with_its_own_code(
    raised: BaseException | None, code: int
) -> None:
    def method() -> int | None:
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if raised is not None:
            raise raised
        return None

    result = PythonAdapter("keys", {"m": method}, timeout_seconds=LATE).execute(CALL, dry_run=False)
    assert result.output == {"result": code}


def test_a_coroutine_that_reaches_its_limit_is_cancelled_where_it_awaits() -> None:
    ended: list[str] = []

    async def method() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("m")

    result = PythonAdapter("keys", {"m": method}, timeout_seconds=SOON).execute(CALL, dry_run=False)
    assert (result.status, result.error_code) == ("unknown", StepError.TIMED_OUT)
    assert result.error_message == "It was cut off at its time limit of 0.05 s"
    assert ended == ["m"]


def test_the_effect_is_unknown_also_where_the_cancelled_coroutine_raises_its_own_error() -> None:
    async def method() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise LookupError("nothing was done") from None

    adapter = PythonAdapter("keys", {"m": method}, harmless=[LookupError], timeout_seconds=SOON)
    result = adapter.execute(CALL, dry_run=False)
    assert (result.status, result.error_code) == ("unknown", StepError.TIMED_OUT)


def test_a_function_with_a_limit_runs_beside_the_caller_and_knows_its_context() -> None:
    name: ContextVar[str] = ContextVar("name")
    name.set("billing")

    def method() -> object:
        return [name.get(), threading.current_thread() is threading.main_thread()]

    def at(limit: float | None) -> Any:
        adapter = PythonAdapter("keys", {"m": method}, timeout_seconds=limit)
        return adapter.execute(CALL, dry_run=False).output["result"]

    assert at(LATE) == ["billing", False]
    assert at(None) == ["billing", True]


@pytest.mark.parametrize("error", [LookupError("no such key"), TimeoutError("no answer")])
def test_a_function_within_its_limit_ends_as_without_one(error: Exception) -> None:
    def method() -> None:
        raise error

    async def coroutine() -> None:
        raise error

    for each in (method, coroutine):
        limited = PythonAdapter("keys", {"m": each}, timeout_seconds=LATE).execute(CALL, dry_run=False)
        assert limited == PythonAdapter("keys", {"m": each}).execute(CALL, dry_run=False)


def test_a_limit_can_be_of_one_method_and_holds_for_its_dry_run_too() -> None:
    def waits() -> None:
        threading.Event().wait()

    def returns() -> str:
        return "done"

    methods = {"m": waits, "other": returns}
    adapter = PythonAdapter("keys", methods, dry_run_methods={"m": waits}, timeout_seconds={"m": SOON})
    for dry_run in (False, True):
        assert adapter.execute(CALL, dry_run=dry_run).error_code is StepError.TIMED_OUT
    other = Call(tool="keys", method="other", args={})
    assert adapter.execute(other, dry_run=False).output == {"result": "done"}


def test_an_apply_run_with_a_step_at_its_limit_has_an_unknown_outcome_and_a_rehearsal_has_failed() -> None:
    def waits() -> None:
        threading.Event().wait()

    adapter = PythonAdapter("keys", {"m": waits}, dry_run_methods={"m": waits}, timeout_seconds=SOON)
    router = LocalRouter(Adapters([adapter]))
    with pytest.raises(RouterOutcomeUnknown, match="time limit"):
        router.run("g", "python:keys", dry_run=False, plan=plan(step("m")))
    assert router.run("g", "python:keys", True, plan=plan(step("m")))["error"]["code"] == "TIMED_OUT"


@pytest.mark.parametrize(
    "limit", [0, -1, 86_401, float("nan"), float("inf"), True, "5", {"m": 0}, {"other": 1}, {"m": None}]
)
def test_what_is_no_limit_is_refused(limit: Any) -> None:
    with pytest.raises(NexusControlError, match="timeout_seconds") as refused:
        PythonAdapter("keys", {"m": print}, timeout_seconds=limit)
    assert refused.value.code is ErrorCode.CONFIG_INVALID


def test_a_limit_is_a_part_of_the_declaration_and_none_leaves_it_as_it_was() -> None:
    def method() -> None: ...

    def digest(**limit: Any) -> str:
        return json_digest(PythonAdapter("keys", {"m": method}, **limit).declaration())

    assert digest() == digest(timeout_seconds=None) == digest(timeout_seconds={})
    assert digest(timeout_seconds=5) == digest(timeout_seconds={"m": 5.0})
    assert len({digest(), digest(timeout_seconds=5), digest(timeout_seconds=5.5)}) == 3
