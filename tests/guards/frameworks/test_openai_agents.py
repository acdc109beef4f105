"""Tools of the OpenAI Agents SDK behind the guard: one effect or none, and the store says which."""

import asyncio
import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("agents", reason="needs the package openai-agents")

from agents import (
    Agent,
    FunctionTool,
    ModelBehaviorError,
    RunHooks,
    Runner,
    RunResult,
    RunState,
    UserError,
    function_tool,
)
from agents.testing import ScriptedModel, assistant_message
from agents.tool_context import ToolContext

from nexus_control import NexusControlError, NexusControlTools
from nexus_control.rules.book import Rule, RuleBook
from tests.guards.frameworks.openai_agents_job import BILLING, DONE, Job, called
from tests.support.governed import BOB, data_of
from tests.support.places import REPOSITORY

PROGRAM = "tests.guards.frameworks.openai_agents_job"
EITHER = pytest.mark.parametrize("tool", ["rotate", "arotate"])


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path)
    yield job
    job.tools.close()


def approve(job: Job, *request_ids: str) -> None:
    for request_id in request_ids:
        data_of(job.tools.approve(request_id, BOB))


def asked(job: Job, tool: str, arguments: Any = BILLING) -> str:
    """The request of one call, in a saved run that waits for it."""
    assert job.start(called(tool, arguments)).interruptions
    [request_id] = job.requests
    return request_id


def approved(job: Job, tool: str, arguments: Any = BILLING) -> str:
    request_id = asked(job, tool, arguments)
    approve(job, request_id)
    return request_id


def run_module(*arguments: str, returns: int = 0) -> str:
    """What another process prints."""
    command = [sys.executable, "-m", *arguments]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == returns, ran.stderr
    return ran.stdout


# --- one call, in several processes ------------------------------------------------------------------------------


@EITHER
def test_a_call_that_another_process_approves_runs_once_in_a_third(tool: str, job: Job) -> None:
    request_id = run_module(PROGRAM, str(job.folder), "start", tool).strip()
    assert job.state_of(request_id) == "pending_approval"
    assert job.effects == []
    by_bob = ("--as", "human:bob", "--yes", "--db", str(job.folder / "decisions.db"))
    run_module("nexus_control", "approve", request_id, *by_bob)
    assert run_module(PROGRAM, str(job.folder), "resume") == "a new key\n"
    assert job.effects == ["rotate billing"]
    assert job.state_of(request_id) == "completed"
    assert "It gave back: a new key" in run_module(PROGRAM, str(job.folder), "resume")
    assert job.effects == ["rotate billing"]


@EITHER
def test_a_run_that_is_resumed_twice_runs_the_tool_once_and_goes_on(tool: str, job: Job) -> None:
    request_id = approved(job, tool)
    assert job.resume().final_output == "done"
    again = job.resume()
    assert again.final_output == "done"
    assert job.told["call_1"].startswith(f"Not run again: request {request_id} was already executed")
    assert job.told["call_1"].endswith("It gave back: a new key")
    assert job.effects == ["rotate billing"]
    assert job.state_of(request_id) == "completed"


@EITHER
def test_one_state_that_is_resumed_twice_without_asking_the_guard_runs_the_tool_once(
    tool: str, job: Job
) -> None:
    """Both were told of the approval before either ran."""
    request_id = approved(job, tool)
    states = job.settled(), job.settled()
    assert [job.resume(state).final_output for state in states] == ["done", "done"]
    assert job.told["call_1"].startswith("Not run again")
    assert job.effects == ["rotate billing"]
    assert job.state_of(request_id) == "completed"


@EITHER
def test_of_several_resumes_at_once_one_runs_the_tool(tool: str, job: Job) -> None:
    request_id = approved(job, tool)
    states = [job.settled() for _ in range(4)]

    async def at_once() -> list[RunResult]:
        return list(await asyncio.gather(*(Runner.run(job.agent, state) for state in states)))

    job.script([DONE] * 4)
    assert [each.final_output for each in asyncio.run(at_once())] == ["done"] * 4
    assert job.effects == ["rotate billing"]
    assert job.state_of(request_id) == "completed"


@EITHER
def test_a_run_that_is_resumed_while_its_request_waits_is_interrupted_again(tool: str, job: Job) -> None:
    request_id = asked(job, tool)
    state = job.load()
    assert job.guard.settle(state) == [request_id]
    again = job.resume(state)
    assert [each.call_id for each in again.interruptions] == ["call_1"]
    assert job.guard.settle(again.to_state()) == [request_id]
    assert job.requests == [request_id]
    assert job.effects == []


@pytest.mark.parametrize("tool", ["dies", "adies"])
def test_a_tool_whose_process_is_killed_is_not_run_again(tool: str, job: Job) -> None:
    request_id = approved(job, tool)
    run_module(PROGRAM, str(job.folder), "resume", returns=-signal.SIGKILL)
    assert job.resume().final_output == "done"
    assert "may or may not have taken effect" in job.told["call_1"]
    assert job.effects == ["rotate billing"]
    assert job.state_of(request_id) == "outcome_unknown"


@EITHER
def test_a_streamed_run_waits_and_runs_the_tool_once(tool: str, job: Job) -> None:
    async def streamed(given: Any) -> Any:
        result = Runner.run_streamed(job.agent, given)
        async for _ in result.stream_events():
            pass
        return result

    job.script([[called(tool)], DONE])
    state = asyncio.run(streamed("Rotate the keys")).to_state()
    approve(job, *job.guard.settle(state))
    assert job.effects == []
    assert job.guard.settle(state) == []
    assert asyncio.run(streamed(state)).final_output == "done"
    assert job.effects == ["rotate billing"]
    assert [job.state_of(each) for each in job.requests] == ["completed"]


# --- several calls -----------------------------------------------------------------------------------------------


@EITHER
def test_each_of_the_parallel_calls_has_its_own_decision_also_where_they_are_equal(
    tool: str, job: Job
) -> None:
    job.start(
        *(called(tool, call_id=f"call_{number}") for number in (1, 2, 3)),
        called(tool, {"key": "a"}, "call_4"),
    )
    by_call = {data_of(job.tools.status(each))["metadata"]["call_id"]: each for each in job.requests}
    assert sorted(by_call) == ["call_1", "call_2", "call_3", "call_4"]
    approve(job, by_call["call_1"], by_call["call_4"])
    data_of(job.tools.deny(by_call["call_2"], BOB, "once is enough"))
    state = job.load()
    assert job.guard.settle(state) == [by_call["call_3"]]
    result = job.resume(state)
    assert [each.call_id for each in result.interruptions] == ["call_3"]
    assert sorted(job.effects) == ["rotate a", "rotate billing"]
    approve(job, by_call["call_3"])
    job.save(result.to_state())
    assert job.resume().final_output == "done"
    assert sorted(job.effects) == ["rotate a", "rotate billing", "rotate billing"]
    assert "denied by bob: once is enough" in job.told.pop("call_2")
    states = {call_id: job.state_of(request_id) for call_id, request_id in by_call.items()}
    assert states == {"call_1": "completed", "call_2": "denied", "call_3": "completed", "call_4": "completed"}


@EITHER
def test_a_retry_under_a_new_id_needs_a_new_decision(tool: str, job: Job) -> None:
    first = approved(job, tool)
    state = job.settled()
    job.script([[called(tool, call_id="call_2")]])
    state = asyncio.run(Runner.run(job.agent, state)).to_state()
    [second] = job.guard.settle(state)
    assert second != first
    assert job.effects == ["rotate billing"]
    assert [job.state_of(each) for each in (first, second)] == ["completed", "pending_approval"]


# --- what the application says -----------------------------------------------------------------------------------


@EITHER
@pytest.mark.parametrize("always", [False, True])
def test_the_applications_own_approval_of_a_call_that_waits_runs_nothing(
    always: bool, tool: str, job: Job
) -> None:
    request_id = asked(job, tool)
    state = job.load()
    state.approve(state.get_interruptions()[0], always_approve=always)
    job.script([[called(tool, {"key": "other"}, "call_2")], DONE] if always else [DONE])
    asyncio.run(Runner.run(job.agent, state))
    assert set(job.told) == ({"call_1", "call_2"} if always else {"call_1"})
    for text in job.told.values():
        assert text.startswith("Not run: waiting for approval")
    assert job.effects == []
    assert {job.state_of(each) for each in job.requests} == {"pending_approval"}
    assert job.requests[0] == request_id


def deny(tools: NexusControlTools, request_id: str) -> None:
    data_of(tools.deny(request_id, BOB, "not on a Friday"))


def withdraw(tools: NexusControlTools, request_id: str) -> None:
    requester = data_of(tools.status(request_id))["requester"]
    data_of(tools.withdraw(request_id, requester, "no longer wanted"))


@EITHER
@pytest.mark.parametrize("by_itself", [False, True])
@pytest.mark.parametrize(
    ("end", "said", "state"),
    [
        (deny, "denied by bob: not on a Friday", "denied"),
        (withdraw, "withdrawn (no longer wanted)", "withdrawn"),
    ],
)
def test_what_was_ended_does_not_run_and_the_model_gets_the_reason(
    end: Callable[[NexusControlTools, str], None], said: str, state: str, by_itself: bool, tool: str, job: Job
) -> None:
    request_id = asked(job, tool)
    end(job.tools, request_id)
    for _ in range(2):
        run = job.settled()
        if by_itself:
            run = job.load()
            run.approve(run.get_interruptions()[0])
        assert job.resume(run).final_output == "done"
        assert said in job.told["call_1"]
    assert job.effects == []
    assert job.state_of(request_id) == state


# --- other arguments than were approved --------------------------------------------------------------------------


def tampered(job: Job, *, forgets: bool) -> RunState[Any, Any]:
    """The saved run with other arguments; `forgets` takes from it what the SDK remembers of its calls."""
    saved = json.loads(job.path.read_text().replace("billing", "all"))
    if forgets:
        saved["context"]["tool_invocations"] = {}
    job.path.write_text(json.dumps(saved))
    return job.load()


@EITHER
@pytest.mark.parametrize("by_itself", [False, True])
def test_arguments_that_were_changed_in_the_saved_run_are_a_conflict(
    by_itself: bool, tool: str, job: Job
) -> None:
    request_id = approved(job, tool)
    state = tampered(job, forgets=True)
    if by_itself:
        state.approve(state.get_interruptions()[0])
    else:
        assert job.guard.settle(state) == []
    assert job.resume(state).final_output == "done"
    assert job.told["call_1"].startswith("Not run: people were asked about another content")
    assert job.effects == []
    assert job.state_of(request_id) == "approved"


@EITHER
def test_a_saved_run_in_which_the_sdk_sees_other_arguments_is_refused_by_it(tool: str, job: Job) -> None:
    request_id = approved(job, tool)
    state = tampered(job, forgets=False)
    with pytest.raises(ModelBehaviorError):
        job.guard.settle(state)
    with pytest.raises(ModelBehaviorError):
        job.resume(state)
    assert job.effects == []
    assert job.state_of(request_id) == "approved"


class Edits(RunHooks[Any]):
    """Changes the arguments when the tool starts, which the SDK reads after that."""

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        context.tool_call.arguments = '{"key": "all"}'


@EITHER
def test_arguments_that_a_hook_changes_are_a_conflict(tool: str, job: Job) -> None:
    request_id = approved(job, tool)
    state = job.settled()
    job.script([DONE])
    asyncio.run(Runner.run(job.agent, state, hooks=Edits()))
    assert job.told["call_1"].startswith("Not run: people were asked about another content")
    assert job.effects == []
    assert job.state_of(request_id) == "approved"


def edited(tool: FunctionTool, arguments: str) -> FunctionTool:
    """The tool, invoked with other arguments than the model gave."""

    async def invoke(context: ToolContext[Any], _: str) -> Any:
        return await tool.on_invoke_tool(context, arguments)

    return dataclasses.replace(tool, on_invoke_tool=invoke)


@EITHER
def test_arguments_that_a_wrapper_of_the_tool_changes_are_a_conflict(tool: str, job: Job) -> None:
    request_id = approved(job, tool)
    job.agent.tools = [
        edited(each, '{"key": "all"}') for each in job.agent.tools if isinstance(each, FunctionTool)
    ]
    assert job.resume().final_output == "done"
    assert job.told["call_1"].startswith("Not run: people were asked about another content")
    assert job.effects == []
    assert job.state_of(request_id) == "approved"


# --- how it ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["breaks", "abreaks"])
def test_a_tool_whose_failure_the_sdk_turns_into_text_is_recorded_as_failed(tool: str, job: Job) -> None:
    request_id = approved(job, tool)
    assert job.resume().final_output == "done"
    assert "An error occurred" in job.told["call_1"]
    assert job.state_of(request_id) == "failed"
    job.resume()
    assert "the vault is locked" in job.told["call_1"]
    assert job.effects == ["rotate billing"]


def test_a_tool_that_ends_the_run_with_its_exception_is_recorded_as_failed(job: Job) -> None:
    request_id = approved(job, "raises")
    with pytest.raises(UserError, match="the vault is locked"):
        job.resume()
    assert job.state_of(request_id) == "failed"
    assert job.effects == ["rotate billing"]


def test_the_sdks_time_limit_leaves_the_outcome_unknown(job: Job) -> None:
    request_id = approved(job, "slow")
    assert job.resume().final_output == "done"
    assert "timed out" in job.told["call_1"]
    assert job.state_of(request_id) == "outcome_unknown"
    job.resume()
    assert "may or may not have taken effect" in job.told["call_1"]
    assert job.effects == ["rotate billing"]


def cancelled(job: Job) -> None:
    """Resume the saved run, and cancel it while its tool runs."""
    state = job.settled()
    job.script([])

    async def main() -> None:
        task = asyncio.create_task(Runner.run(job.agent, state))
        await asyncio.to_thread(job.started.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        job.released.set()

    asyncio.run(main())


def test_a_run_that_is_cancelled_leaves_the_outcome_of_its_coroutine_unknown(job: Job) -> None:
    request_id = approved(job, "awaits")
    cancelled(job)
    assert job.state_of(request_id) == "outcome_unknown"
    job.resume()
    assert "may or may not have taken effect" in job.told["call_1"]
    assert job.effects == ["rotate billing"]


def test_a_function_goes_on_in_its_thread_when_the_run_is_cancelled_and_is_recorded(job: Job) -> None:
    request_id = approved(job, "waits")
    cancelled(job)
    assert data_of(job.tools.wait_for(request_id, timeout=60))["state"] == "completed"
    job.resume()
    assert "It gave back: a new key" in job.told["call_1"]
    assert job.effects == ["rotate billing"]


# --- a store that is away ----------------------------------------------------------------------------------------


@EITHER
def test_without_a_store_nothing_is_asked_or_run_and_the_run_goes_on(tool: str, job: Job) -> None:
    job.tools.close()
    assert job.start(called(tool)).final_output == "done"
    assert job.told["call_1"].startswith("Not run: approvals cannot be checked now")
    assert job.effects == []


@EITHER
@pytest.mark.parametrize("settles", [False, True])
def test_a_store_that_is_away_when_the_run_goes_on_runs_nothing(settles: bool, tool: str, job: Job) -> None:
    request_id = approved(job, tool)
    state = job.load()
    if settles:
        job.guard.settle(state)
    job.tools.close()
    job.guard.settle(state)
    assert job.resume(state).final_output == "done"
    assert job.told["call_1"].startswith("Not run: approvals cannot be checked now")
    assert job.effects == []
    with NexusControlTools(job.folder / "decisions.db") as later:
        assert data_of(later.status(request_id))["state"] == "approved"


# --- arguments ---------------------------------------------------------------------------------------------------


@EITHER
@pytest.mark.parametrize("settles", [False, True])
@pytest.mark.parametrize("arguments", ['{"key', '["billing"]', "null", "{}", '{"key": 5}', ""])
def test_arguments_that_do_not_fit_are_refused_before_anybody_is_asked(
    arguments: str, settles: bool, tool: str, job: Job
) -> None:
    state = job.start(called(tool, arguments)).to_state()
    if settles:
        assert job.guard.settle(state) == []
    else:
        state.approve(state.get_interruptions()[0])
    assert job.resume(state).final_output == "done"
    if settles:
        assert job.told["call_1"].startswith("Not run: it could not be asked for")
    assert job.requests == []
    assert job.effects == []


def test_people_are_asked_by_the_guard_where_the_sdk_does_not_ask_it(job: Job) -> None:
    """The SDK asks nobody about arguments that it changes: a default that it adds, or a date."""
    result = job.start(called("later", {"key": "billing", "day": "2030-01-31"}))
    assert job.requests == []
    state = result.to_state()
    [request_id] = job.guard.settle(state)
    assert job.guard.settle(state) == [request_id]
    shown = json.loads(data_of(job.tools.status(request_id))["plan"])
    assert shown["arguments"] == {"day": "2030-01-31", "key": "billing", "share": 0.5}
    approve(job, request_id)
    job.save(state)
    assert job.resume().final_output == "done"
    assert job.effects == ["rotate billing 2030 0.5"]
    assert job.state_of(request_id) == "completed"


# --- rules -------------------------------------------------------------------------------------------------------

BOOK = RuleBook(
    "deny",
    (
        Rule(verdict="allow", tool="rotate"),
        Rule(verdict="template", template="two", tool="arotate"),
    ),
    "sha256:" + "0" * 64,
)


def test_rules_say_which_tools_wait_which_pass_and_which_are_denied(tmp_path: Path) -> None:
    job = Job(tmp_path, rules=BOOK)
    data_of(job.tools.template_create("two", BOB, min_approvals=2, allowed_modes=["apply"]))
    calls = [called(tool, call_id=tool) for tool in ("rotate", "breaks", "arotate")]
    result = job.start(*calls)
    assert [each.call_id for each in result.interruptions] == ["arotate"]
    [request_id] = job.requests
    assert data_of(job.tools.status(request_id))["required_approvals"] == 2
    assert job.effects == ["rotate billing"]
    data_of(job.tools.deny(request_id, BOB, "no"))
    job.resume()
    assert "the rules deny breaks (default)" in job.told["breaks"]
    job.tools.close()


# --- another agent's tool ----------------------------------------------------------------------------------------


@EITHER
def test_a_tool_of_an_agent_that_is_itself_a_tool_waits_and_runs_once(tool: str, job: Job) -> None:
    outer = ScriptedModel(
        [[called("ask_ops", {"input": "rotate"}, "outer_1")], [assistant_message("all done")]]
    )
    boss = Agent[Any](name="boss", model=outer, tools=[job.agent.as_tool("ask_ops", "Ask the operators")])
    job.script([[called(tool)], DONE])
    state = asyncio.run(Runner.run(boss, "Rotate the keys")).to_state()
    [request_id] = job.guard.settle(state)
    approve(job, request_id)
    assert job.guard.settle(state) == []
    assert asyncio.run(Runner.run(boss, state)).final_output == "all done"
    assert job.effects == ["rotate billing"]
    assert job.state_of(request_id) == "completed"


# --- tools of others ---------------------------------------------------------------------------------------------


def unguarded(job: Job) -> FunctionTool:
    """A tool with the name of a guarded one, about which the SDK asks."""

    def rotate(key: str) -> str:
        return job.act(f"another rotation of {key}")

    return function_tool(needs_approval=True)(rotate)


def test_a_tool_of_another_agent_with_the_name_of_a_guarded_one_is_left_alone(job: Job) -> None:
    other = Agent[Any](name="other", model=ScriptedModel([[called("rotate")], DONE]), tools=[unguarded(job)])
    job.agent.handoffs = [other]
    result = job.start(called("transfer_to_other", {}, "handoff_1"))
    assert [job.guard.guards(each) for each in result.interruptions] == [False]
    state = result.to_state()
    assert job.guard.settle(state) == []
    assert job.requests == []
    assert len(job.resume(state).interruptions) == 1
    assert job.effects == []


def test_an_agent_with_a_guarded_and_another_tool_of_one_name_is_refused(job: Job) -> None:
    job.agent.tools = [unguarded(job), *job.agent.tools]
    state = job.start(called("rotate")).to_state()
    with pytest.raises(NexusControlError) as refused:
        job.guard.settle(state)
    assert refused.value.code == "INVALID_ARGUMENT"
    assert job.effects == []


@pytest.mark.parametrize("name", ["rotate", "renew"])
def test_a_copy_of_a_guarded_tool_is_settled_under_its_own_name(name: str, job: Job) -> None:
    guarded = next(each for each in job.function_tools() if each.name == "rotate")
    job.agent.tools = [dataclasses.replace(guarded, name=name)]
    state = job.start(called(name)).to_state()
    [request_id] = job.guard.settle(state)
    assert job.requests == [request_id]
    approve(job, request_id)
    assert job.guard.settle(state) == []
    job.resume(state)
    assert job.effects == ["rotate billing"]


def test_another_tool_that_waits_leaves_no_call_of_the_guard_and_ends_its_loop(job: Job) -> None:
    other = dataclasses.replace(unguarded(job), name="other")
    job.agent.tools = [*job.agent.tools, other]
    result = job.start(called("rotate"), called("other", call_id="call_2"))
    assert [job.guard.guards(each) for each in result.interruptions] == [True, False]
    state = result.to_state()
    approve(job, *job.guard.settle(state))
    assert job.guard.settle(state) == []
    left = job.resume(state).interruptions
    assert [(each.name, job.guard.guards(each)) for each in left] == [("other", False)]
    assert job.effects == ["rotate billing"]


def test_a_coroutine_settles_as_a_function_does(job: Job) -> None:
    request_id = asked(job, "arotate")
    state = job.load()
    assert asyncio.run(job.guard.asettle(state)) == [request_id]
    approve(job, request_id)
    assert asyncio.run(job.guard.asettle(state)) == []
    job.resume(state)
    assert job.effects == ["rotate billing"]
