"""The shape of all guards: ask by key, run once, record what happened."""

import asyncio
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.errors import NexusControlError
from nexus_control.guards import Allowed, Denied, Guard, NotRunError, Pending, ToolCall, Verdict
from nexus_control.guards.calls import default_actor
from nexus_control.guards.guard import Claimed
from nexus_control.rules.book import Rule, RuleBook
from tests.support.governed import BOB, data_of

CALL = ToolCall(tool="rotate", arguments={"key": "billing", "share": 0.5}, call_id="call_1", session="s1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.db"


@pytest.fixture
def tools(path: Path) -> NexusControlTools:
    return NexusControlTools(path)


@pytest.fixture
def guard(tools: NexusControlTools) -> Guard:
    return Guard(tools, host="test")


def pending(verdict: Verdict) -> str:
    assert isinstance(verdict, Pending), verdict
    return verdict.request_id


def allowed(guard: Guard, tools: NexusControlTools, call: ToolCall = CALL) -> Allowed:
    data_of(tools.approve(pending(guard.check(call)), BOB))
    verdict = guard.check(call)
    assert isinstance(verdict, Allowed), verdict
    return verdict


def denied(verdict: Verdict) -> str:
    assert isinstance(verdict, Denied), verdict
    return verdict.reason


def state_of(tools: NexusControlTools, verdict: Allowed) -> str:
    assert verdict.request_id is not None
    return data_of(tools.status(verdict.request_id))["state"]


def changed(call: ToolCall = CALL, **changes: Any) -> ToolCall:
    content: dict[str, Any] = {
        "tool": call.tool,
        "arguments": call.arguments,
        "call_id": call.call_id,
        "session": call.session,
    }
    return ToolCall(**(content | changes))


def test_a_call_is_asked_for_once_and_shows_the_tool_and_its_arguments(
    guard: Guard, tools: NexusControlTools, path: Path
) -> None:
    request_id = pending(guard.check(CALL))
    assert pending(guard.check(CALL)) == request_id
    assert pending(Guard(NexusControlTools(path), host="test").check(CALL)) == request_id
    status = data_of(tools.status(request_id))
    assert '"key": "billing"' in status["plan"]
    assert status["adapter_id"] == "tool:rotate"
    assert data_of(tools.list_requests())["count"] == 1


@pytest.mark.parametrize("changes", [{"call_id": "call_2"}, {"session": "s2"}])
def test_another_call_with_the_same_content_is_another_request(changes: dict[str, Any], guard: Guard) -> None:
    assert pending(guard.check(CALL)) != pending(guard.check(changed(**changes)))


@pytest.mark.parametrize(
    "changes",
    [{"arguments": {"key": "all"}}, {"tool": "delete"}, {"arguments": "{"}],
)
def test_other_content_under_the_same_key_is_denied_also_after_the_approval(
    changes: dict[str, Any], guard: Guard, tools: NexusControlTools
) -> None:
    allowed(guard, tools)
    text = denied(guard.check(changed(**changes)))
    assert text.startswith("Not run: people were asked about another content")
    assert data_of(tools.list_requests())["count"] == 1


def test_an_approved_call_runs_once_and_its_answer_is_kept(guard: Guard, tools: NexusControlTools) -> None:
    verdict = allowed(guard, tools)
    assert guard.run(CALL, verdict, lambda: {"rotated": True}) == {"rotated": True}
    assert state_of(tools, verdict) == "completed"
    assert 'It gave back: {"rotated": true}' in denied(guard.check(CALL))
    with pytest.raises(NotRunError, match="Not run again"):
        guard.run(CALL, verdict, lambda: pytest.fail("it ran twice"))


@pytest.mark.parametrize("changes", [{"tool": "delete"}, {"arguments": {"key": "all"}}, {"folder": "/"}])
def test_an_approval_of_one_call_runs_no_other(
    changes: dict[str, Any], guard: Guard, tools: NexusControlTools
) -> None:
    verdict = allowed(guard, tools)
    with pytest.raises(NotRunError, match="another content"):
        guard.run(changed(**changes), verdict, lambda: pytest.fail("it ran"))
    assert state_of(tools, verdict) == "approved"


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it cannot be shown")


@pytest.mark.parametrize(
    ("raised", "state"),
    [
        (ValueError("no such key"), "failed"),
        (OddError(), "failed"),
        (TimeoutError("too slow"), "outcome_unknown"),
        (KeyboardInterrupt(), "outcome_unknown"),
        (SystemExit(1), "outcome_unknown"),
        (asyncio.CancelledError(), "outcome_unknown"),
    ],
)
def test_an_exception_is_recorded_and_raised_again(
    raised: BaseException, state: str, guard: Guard, tools: NexusControlTools
) -> None:
    verdict = allowed(guard, tools)

    def fails() -> None:
        raise raised

    with pytest.raises(type(raised)):
        guard.run(CALL, verdict, fails)
    assert state_of(tools, verdict) == state
    assert denied(guard.check(CALL)).startswith("Not run again")


def test_a_failure_that_was_returned_is_recorded_as_one(guard: Guard, tools: NexusControlTools) -> None:
    verdict = allowed(guard, tools)
    guard.run(CALL, verdict, lambda: "error: no", failure_in=lambda text: text)
    assert state_of(tools, verdict) == "failed"


def test_a_framework_says_what_of_its_value_is_kept(guard: Guard, tools: NexusControlTools) -> None:
    verdict = allowed(guard, tools)
    value = {"content": "rotated", "secret": "s3cret"}
    assert guard.run(CALL, verdict, lambda: value, kept_of=lambda each: each["content"]) is value
    assert denied(guard.check(CALL)).endswith("It gave back: rotated")


def test_a_returned_value_that_is_no_json_is_recorded_too(guard: Guard, tools: NexusControlTools) -> None:
    verdict = allowed(guard, tools)
    value = object()
    assert guard.run(CALL, verdict, lambda: value) is value
    assert state_of(tools, verdict) == "completed"


def deny(tools: NexusControlTools, request_id: str) -> None:
    data_of(tools.deny(request_id, BOB, "not on a Friday"))


def withdraw(tools: NexusControlTools, request_id: str) -> None:
    requester = data_of(tools.status(request_id))["requester"]
    data_of(tools.withdraw(request_id, requester, "no longer wanted"))


@pytest.mark.parametrize(
    ("end", "said"), [(deny, "denied by bob: not on a Friday"), (withdraw, "withdrawn (no longer wanted)")]
)
def test_what_was_ended_is_denied_with_the_reason(
    end: Callable[[NexusControlTools, str], None], said: str, guard: Guard, tools: NexusControlTools
) -> None:
    end(tools, pending(guard.check(CALL)))
    assert said in denied(guard.check(CALL))
    assert data_of(tools.list_requests())["count"] == 1


# --- rules -------------------------------------------------------------------------------------------------------

BOOK = RuleBook(
    "deny",
    (
        Rule(verdict="allow", tool="read"),
        Rule(verdict="template", template="two", tool="rotate"),
        Rule(verdict="allow", tool="odd", method="x"),
    ),
    "sha256:" + "0" * 64,
)


def test_rules_say_what_is_asked_for_what_passes_and_what_is_denied(tools: NexusControlTools) -> None:
    data_of(tools.template_create("two", BOB, min_approvals=2, allowed_modes=["apply"]))
    guard = Guard(tools, host="test", rules=BOOK)
    assert guard.check(changed(tool="read")) == Allowed(None)
    assert guard.run(changed(tool="read"), Allowed(None), lambda: 5) == 5
    assert "the rules deny delete (default)" in denied(guard.check(changed(tool="delete")))
    request_id = pending(guard.check(CALL))
    assert data_of(tools.status(request_id))["required_approvals"] == 2
    assert data_of(tools.list_requests())["count"] == 1


def test_what_rules_cannot_judge_is_denied(tools: NexusControlTools) -> None:
    text = denied(Guard(tools, host="test", rules=BOOK).check(changed(tool="odd")))
    assert "method" in text
    assert data_of(tools.list_requests())["count"] == 0


def test_a_rule_whose_template_is_not_there_denies(tools: NexusControlTools) -> None:
    assert "'two'" in denied(Guard(tools, host="test", rules=BOOK).check(CALL))


# --- hosts that try again under a new id -------------------------------------------------------------------------


@pytest.fixture
def again(tools: NexusControlTools) -> Guard:
    return Guard(tools, host="test", new_ids=True)


def test_a_retry_under_a_new_id_belongs_to_the_open_request_and_the_next_one_is_new(
    again: Guard, tools: NexusControlTools
) -> None:
    first = pending(again.check(CALL))
    assert pending(again.check(changed(call_id="call_2"))) == first
    data_of(tools.approve(first, BOB))
    third = changed(call_id="call_3")
    assert again.check(third) == Allowed(first)
    again.run(third, Allowed(first), lambda: "ok")
    assert denied(again.check(third)).startswith(f"Not run again: request {first}")
    fourth = pending(again.check(changed(call_id="call_4")))
    assert fourth != first
    assert pending(again.check(changed(call_id="call_5"))) == fourth
    assert denied(again.check(third)).startswith(f"Not run again: request {first}")


def test_a_denial_holds_for_the_conversation(again: Guard, tools: NexusControlTools) -> None:
    first = pending(again.check(CALL))
    deny(tools, first)
    assert "denied by bob" in denied(again.check(changed(call_id="call_2")))
    assert pending(again.check(changed(call_id="call_2", session="s2"))) != first


# --- a store that is away, and processes that die ----------------------------------------------------------------


def test_a_guard_whose_store_is_gone_denies(guard: Guard, tools: NexusControlTools) -> None:
    verdict = allowed(guard, tools)
    tools.close()
    assert denied(guard.check(CALL)).startswith("Not run: approvals cannot be checked now")
    with pytest.raises(NotRunError):
        guard.run(CALL, verdict, lambda: pytest.fail("it ran"))


def test_a_tool_whose_record_is_lost_is_not_run_again(
    guard: Guard, tools: NexusControlTools, path: Path
) -> None:
    verdict = allowed(guard, tools)

    def runs() -> str:
        tools.close()
        return "ok"

    assert guard.run(CALL, verdict, runs) == "ok"
    with NexusControlTools(path) as later:
        assert "being executed" in denied(Guard(later, host="test").check(CALL))


DIES = """
import os, signal, sys
from nexus_control import NexusControlTools
from nexus_control.errors import NexusControlError
from nexus_control.guards import Guard, ToolCall
guard = Guard(NexusControlTools(sys.argv[1]), host="test")
call = ToolCall(tool="rotate", arguments={"key": "billing", "share": 0.5}, call_id="call_1", session="s1")
guard.run(call, guard.check(call), lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_process_that_is_killed_in_mid_run_leaves_the_outcome_unknown(
    guard: Guard, tools: NexusControlTools, path: Path
) -> None:
    verdict = allowed(guard, tools)
    killed = subprocess.run([sys.executable, "-c", DIES, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert "may or may not have taken effect" in denied(guard.check(CALL))
    assert state_of(tools, verdict) == "outcome_unknown"


def race(path: Path, effects: Path, request_id: str) -> None:
    guard = Guard(NexusControlTools(path), host="test")

    def acts() -> None:
        with effects.open("a") as file:
            file.write(f"{os.getpid()}\n")

    try:
        guard.run(CALL, Allowed(request_id), acts)
    except NotRunError:
        return


def test_of_four_processes_one_runs_the_tool(
    guard: Guard, tools: NexusControlTools, path: Path, tmp_path: Path
) -> None:
    verdict = allowed(guard, tools)
    effects = tmp_path / "effects"
    context = multiprocessing.get_context("spawn")
    racing = [context.Process(target=race, args=(path, effects, verdict.request_id)) for _ in range(4)]
    for each in racing:
        each.start()
    for each in racing:
        each.join()
    assert len(effects.read_text().splitlines()) == 1
    assert state_of(tools, verdict) == "completed"


# --- coroutines --------------------------------------------------------------------------------------------------


def test_a_coroutine_runs_once_among_parallel_tasks(guard: Guard, tools: NexusControlTools) -> None:
    verdict = allowed(guard, tools)
    runs: list[int] = []

    async def act() -> str:
        runs.append(1)
        return "ok"

    async def main() -> list[Any]:
        assert await guard.acheck(CALL) == verdict
        return await asyncio.gather(
            *(guard.arun(CALL, verdict, act) for _ in range(5)), return_exceptions=True
        )

    answers = asyncio.run(main())
    assert answers.count("ok") == 1
    assert sum(isinstance(each, NotRunError) for each in answers) == 4
    assert runs == [1]
    assert state_of(tools, verdict) == "completed"


def test_a_cancelled_coroutine_leaves_the_outcome_unknown(guard: Guard, tools: NexusControlTools) -> None:
    verdict = allowed(guard, tools)

    async def main() -> None:
        started = asyncio.Event()

        async def act() -> None:
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(guard.arun(CALL, verdict, act))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert state_of(tools, verdict) == "outcome_unknown"


def test_a_coroutine_that_is_cancelled_before_its_tool_runs_has_no_effect(
    guard: Guard, tools: NexusControlTools
) -> None:
    verdict = allowed(guard, tools)

    async def act() -> None:
        pytest.fail("it ran")

    async def main() -> None:
        task = asyncio.create_task(guard.arun(CALL, verdict, act))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert verdict.request_id is not None
    status = data_of(tools.status(verdict.request_id))
    assert status["state"] == "failed"
    assert status["executions"][-1]["effect"] == "none"


def test_a_request_is_found_by_the_id_of_its_call_whatever_its_content(
    guard: Guard, tools: NexusControlTools, path: Path
) -> None:
    assert guard.find(CALL) is None
    request_id = pending(guard.check(CALL))
    for each in (CALL, changed(tool="delete")):
        assert Guard(NexusControlTools(path), host="test").find(each) == request_id
    assert guard.find(changed(call_id="call_2")) is None
    assert Guard(tools, host="other").find(CALL) is None


def test_what_was_claimed_for_a_call_is_found_in_another_process_until_it_is_recorded(
    guard: Guard, tools: NexusControlTools, path: Path
) -> None:
    verdict = allowed(guard, tools)
    other = Guard(NexusControlTools(path), host="test")
    assert other.claimed_by(CALL) is None
    claimed = guard.claim(CALL, verdict.request_id or "")
    assert other.claimed_by(CALL) == claimed
    for each in (changed(call_id="call_2"), changed(tool="delete")):
        assert other.claimed_by(each) is None
    assert other.record(claimed.execution_id if isinstance(claimed, Claimed) else "", "completed", "done")
    assert (other.claimed_by(CALL), state_of(tools, verdict)) == (None, "completed")


def test_a_claim_that_is_given_back_has_failed_without_an_effect(
    guard: Guard, tools: NexusControlTools
) -> None:
    verdict = allowed(guard, tools)
    claimed = guard.claim(CALL, verdict.request_id or "")
    assert isinstance(claimed, Claimed)
    assert guard.give_back(claimed, "nobody could be told")
    (execution,) = data_of(tools.status(claimed.request_id))["executions"]
    assert (state_of(tools, verdict), execution["effect"]) == ("failed", "none")


def test_a_request_keeps_what_it_was_made_about_where_a_later_guard_says_otherwise(
    tools: NexusControlTools,
) -> None:
    first, second = (Guard(tools, host="test", about={"process": name}) for name in ("p1", "p2"))
    request_id = pending(first.check(CALL))
    assert pending(second.check(CALL)) == request_id
    assert data_of(tools.status(request_id))["metadata"]["process"] == "p1"


def test_the_folder_of_a_call_is_a_part_of_its_content(guard: Guard) -> None:
    here, there = (
        ToolCall(tool="Bash", arguments={}, call_id="c", folder=name) for name in ("/here", "/there")
    )
    pending(guard.check(here))
    assert denied(guard.check(there)).startswith("Not run: people were asked about another content")


# --- what is lost nowhere ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["no such key a\0b", "\0", "\ud800", "x" * 100_000])
def test_an_exception_with_any_text_is_recorded(text: str, guard: Guard, tools: NexusControlTools) -> None:
    verdict = allowed(guard, tools)

    def fails() -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match=re.escape(text)):
        guard.run(CALL, verdict, fails)
    assert state_of(tools, verdict) == "failed"


WRAPS: dict[str, Callable[[object], object]] = {
    "itself": lambda each: each,
    "in a list": lambda each: [each],
    "in an object": lambda each: {"found": (each,)},
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_the_record_reads_nothing_of_what_can_be_read_once(
    wrap: str, guard: Guard, tools: NexusControlTools
) -> None:
    verdict = allowed(guard, tools)
    numbers = iter([1, 2, 3])
    guard.run(CALL, verdict, lambda: WRAPS[wrap](numbers))
    assert list(numbers) == [1, 2, 3]
    assert state_of(tools, verdict) == "completed"


def test_an_interruption_while_the_record_is_written_loses_nothing(
    guard: Guard, tools: NexusControlTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict, record = allowed(guard, tools), tools.record
    interrupted: list[int] = []

    def interrupts(*given: Any) -> Any:
        if not interrupted:
            interrupted.append(1)
            raise KeyboardInterrupt
        return record(*given)

    monkeypatch.setattr(tools, "record", interrupts)
    with pytest.raises(KeyboardInterrupt):
        guard.run(CALL, verdict, lambda: "ok")
    assert state_of(tools, verdict) == "completed"


def test_a_call_that_is_cancelled_twice_while_it_is_claimed_has_no_effect(
    guard: Guard, tools: NexusControlTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict, claim = allowed(guard, tools), tools.claim
    begun, go_on = threading.Event(), threading.Event()

    def waits(*given: Any, **named: Any) -> Any:
        begun.set()
        go_on.wait()
        return claim(*given, **named)

    async def act() -> None:
        pytest.fail("it ran")

    async def main() -> None:
        task = asyncio.create_task(guard.arun(CALL, verdict, act))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    monkeypatch.setattr(tools, "claim", waits)
    asyncio.run(main())
    assert verdict.request_id is not None
    last = data_of(tools.status(verdict.request_id))["executions"][-1]
    assert (last["outcome"], last["effect"]) == ("failed", "none")


@pytest.mark.parametrize("call_id", ["a\nb", " ", "x" * 5_000, "", "\ud800", "\u0430b"])
def test_a_call_with_any_id_can_run(call_id: str, guard: Guard, tools: NexusControlTools) -> None:
    call = changed(call_id=call_id)
    verdict = allowed(guard, tools, call)
    assert guard.run(call, verdict, lambda: "ok") == "ok"
    assert state_of(tools, verdict) == "completed"


@pytest.mark.parametrize(
    "arguments",
    [{"path": "/d/\udc80"}, {1: "x"}, {"k": b"x"}, {"k": object()}, {"k": float("nan")}, {"k": {None: 1}}],
)
def test_arguments_that_are_no_json_are_denied_and_nobody_is_asked(
    arguments: Any, guard: Guard, tools: NexusControlTools
) -> None:
    assert "arguments" in denied(guard.check(changed(arguments=arguments)))
    assert data_of(tools.list_requests())["count"] == 0


def test_a_policy_that_was_changed_is_called_so(guard: Guard, tools: NexusControlTools) -> None:
    request_id = pending(guard.check(CALL))
    text = denied(Guard(tools, host="test", min_approvals=2).check(CALL))
    assert "another policy" in text
    assert request_id in text
    assert "min_approvals" in text


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"min_aprovals": 2}, "min_aprovals"),
        ({"rules": "rules.toml"}, "rules"),
        ({"rules": BOOK, "template_name": "two"}, "template_name"),
    ],
)
def test_a_guard_that_is_made_wrongly_says_so_at_once(
    given: dict[str, Any], field: str, tools: NexusControlTools
) -> None:
    with pytest.raises(NexusControlError, match=field):
        Guard(tools, host="test", **given)


def test_an_ordinary_failure_is_recorded_in_a_thread(
    guard: Guard, tools: NexusControlTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict, record = allowed(guard, tools), tools.record
    threads: list[int] = []

    async def act() -> None:
        raise ValueError("no")

    def watched(*given: Any) -> Any:
        threads.append(threading.get_ident())
        return record(*given)

    monkeypatch.setattr(tools, "record", watched)
    with pytest.raises(ValueError, match="no"):
        asyncio.run(guard.arun(CALL, verdict, act))
    assert threads != [threading.get_ident()]
    assert state_of(tools, verdict) == "failed"


def test_no_variable_makes_somebody_else_of_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    before = default_actor()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert default_actor() == before
