"""The guard for pydantic-ai, with the real package and a scripted model: one effect or none, as the record says."""

import asyncio
import dataclasses
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("pydantic_ai", reason="needs pydantic-ai-slim")

from pydantic import BaseModel
from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults, RunContext
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering, HandleDeferredToolCalls
from pydantic_ai.exceptions import ApprovalRequired, UserError
from pydantic_ai.messages import ToolCallPart, ToolReturnPart
from pydantic_ai.models.test import TestModel
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import ToolApproved, ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

from nexus_control import NexusControlTools
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.guards.pydantic_ai import ApprovalGuard
from nexus_control.guards.spelled import spelled
from nexus_control.rules.book import Rule, RuleBook
from tests.guards.frameworks.pydantic_ai_agent import Output, Owner, Site, call, returns, scripted
from tests.support import documents
from tests.support.governed import BOB, data_of
from tests.support.places import REPOSITORY


@pytest.fixture(autouse=True)
def event_loop() -> Iterator[None]:
    """The loop in which `run_sync` runs. The framework would make one, and leave it open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def tools(site: Site) -> NexusControlTools:
    return NexusControlTools(site.store)


def asked(site: Site, *turns: Sequence[ToolCallPart], **options: Any) -> list[str]:
    """Start a run that waits, and save it. The ids of its requests, in the order of the calls."""
    waiting = site.save(site.agent(*turns, **options).run_sync("Rotate the keys"))
    return [waiting.metadata[each.tool_call_id]["request_id"] for each in waiting.approvals]


def approve_elsewhere(site: Site, *request_ids: str) -> None:
    for request_id in request_ids:
        command = ["approve", request_id, "--yes", "--as", "human:bob", "--db", str(site.store)]
        subprocess.run([sys.executable, "-m", "nexus_control", *command], check=True, capture_output=True)


def approve(tools: NexusControlTools, *request_ids: str) -> None:
    for request_id in request_ids:
        data_of(tools.approve(request_id, BOB))


def resume_elsewhere(site: Site) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.guards.frameworks.pydantic_ai_agent", str(site.folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def state(tools: NexusControlTools, request_id: str) -> str:
    return data_of(tools.status(request_id))["state"]


def waiting_ids(result: AgentRunResult[Output]) -> list[str]:
    assert isinstance(result.output, DeferredToolRequests), result.output
    return [each["request_id"] for each in result.output.metadata.values()]


# --- approved, and resumed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["rotate", "rotate_async"])
def test_a_call_that_was_approved_elsewhere_runs_once_in_the_process_that_resumes(
    tool: str, site: Site, tools: NexusControlTools
) -> None:
    (request_id,) = asked(site, [call("billing", tool=tool)])
    assert site.effects == []
    approve_elsewhere(site, request_id)
    first = resume_elsewhere(site)
    assert first.stdout == "done\na new key for billing\n", first.stderr
    again = resume_elsewhere(site)
    assert again.stdout.startswith(f"done\nNot run again: request {request_id} was already executed")
    assert again.stdout.endswith("It gave back: a new key for billing\n")
    assert site.effects == ["billing"]
    assert state(tools, request_id) == "completed"


def test_a_coroutine_resumes_as_a_call_does(site: Site, tools: NexusControlTools) -> None:
    async def main() -> list[str]:
        agent = site.agent([call("billing")])
        (request_id,) = waiting_ids(waiting := await agent.run("Rotate the keys"))
        site.save(waiting)
        data_of(await asyncio.to_thread(tools.approve, request_id, BOB))
        at_once = await asyncio.gather(*(agent.run(**site.resumption()) for _ in range(3)))
        assert state(tools, request_id) == "completed"
        return sorted(returns(each)["c1"] for each in at_once)

    said = asyncio.run(main())
    assert site.effects == ["billing"]
    assert [each.startswith("Not run again") for each in said] == [True, True, False]


def test_a_streamed_run_waits_and_resumes(site: Site, tools: NexusControlTools) -> None:
    agent = site.agent([call("billing")])

    async def main() -> str:
        async with agent.run_stream("Rotate the keys") as started:
            waiting = await started.get_output()
        assert isinstance(waiting, DeferredToolRequests)
        request_id: str = waiting.metadata["c1"]["request_id"]
        data_of(await asyncio.to_thread(tools.approve, request_id, BOB))
        results = waiting.build_results(approve_all=True)
        async with agent.run_stream(
            message_history=started.all_messages(), deferred_tool_results=results
        ) as resumed:
            assert await resumed.get_output() == "done"
        return request_id

    assert state(tools, asyncio.run(main())) == "completed"
    assert site.effects == ["billing"]


def test_a_handler_that_waits_in_the_run_lets_it_go_on(site: Site, tools: NexusControlTools) -> None:
    def decide(_: RunContext[object], requests: DeferredToolRequests) -> DeferredToolResults:
        for each in requests.metadata.values():
            data_of(tools.approve(each["request_id"], BOB))
        return requests.build_results(approve_all=True)

    result = site.agent([call("billing")], beside=[HandleDeferredToolCalls(decide)]).run_sync("Rotate")
    assert (result.output, site.effects) == ("done", ["billing"])


# --- what an application says does not count ---------------------------------------------------------------------


@pytest.mark.parametrize("said", [True, ToolApproved()])
def test_a_pending_call_waits_on_whatever_the_application_says(
    said: Any, site: Site, tools: NexusControlTools
) -> None:
    (request_id,) = asked(site, [call("billing")])
    answers = site.saved().build_results(approvals={"c1": said})
    assert waiting_ids(site.resumed(site.agent([]), answers)) == [request_id]
    assert resume_elsewhere(site).stdout == f"waiting {request_id}\n"
    assert site.effects == []
    assert data_of(tools.list_requests())["count"] == 1


def test_a_handler_that_approves_by_itself_runs_nothing(site: Site) -> None:
    def approve(_: RunContext[object], requests: DeferredToolRequests) -> DeferredToolResults:
        return requests.build_results(approve_all=True)

    result = site.agent([call("billing")], beside=[HandleDeferredToolCalls(approve)]).run_sync("Rotate")
    assert len(waiting_ids(result)) == 1
    assert site.effects == []


def test_an_agent_that_cannot_wait_ends_its_run_and_runs_nothing(
    site: Site, tools: NexusControlTools
) -> None:
    agent = site.agent([call("billing")])
    with pytest.raises(UserError, match="DeferredToolRequests"):
        agent.run_sync("Rotate the keys", output_type=str)
    assert site.effects == []
    assert [each["state"] for each in data_of(tools.list_requests())["requests"]] == ["pending_approval"]


# --- many calls --------------------------------------------------------------------------------------------------


def test_calls_of_one_response_are_decided_one_by_one(site: Site, tools: NexusControlTools) -> None:
    calls = [call(key, f"c{n}") for n, key in enumerate(["one", "two", "three", "one"])]
    ids = asked(site, [*calls, call("one", "free", tool="look")], guard=only_rotate(tools))
    assert len(set(ids)) == 4
    approve(tools, ids[0])
    data_of(tools.deny(ids[2], BOB, "not three"))
    result = site.resumed(site.agent([*calls], guard=only_rotate(tools)))
    assert waiting_ids(result) == [ids[1], ids[3]]
    assert site.effects == ["one"]
    site.save(result)
    approve(tools, ids[1], ids[3])
    said = returns(site.resumed(site.agent([])))
    assert sorted(site.effects) == ["one", "one", "two"]
    assert "denied by bob: not three" in said["c2"]
    assert [state(tools, each) for each in ids] == ["completed", "completed", "denied", "completed"]


def test_a_retry_of_the_model_is_a_new_request(site: Site, tools: NexusControlTools) -> None:
    turns = [[call("billing", "c1")], [call("billing", "c2")]]
    (first,) = asked(site, *turns)
    approve(tools, first)
    (second,) = waiting_ids(site.resumed(site.agent(*turns)))
    assert second != first
    assert site.effects == ["billing"]
    assert [state(tools, each) for each in (first, second)] == ["completed", "pending_approval"]


def test_the_same_id_in_another_conversation_is_another_request(tools: NexusControlTools) -> None:
    agent = Agent(
        TestModel(), output_type=[str, DeferredToolRequests], capabilities=[ApprovalGuard[object](tools)]
    )

    @agent.tool_plain
    def rotate() -> str:
        return pytest.fail("it ran")

    _ = rotate
    first, second = (waiting_ids(agent.run_sync("Rotate")) for _ in range(2))
    assert first != second


# --- edited between the approval and the run ---------------------------------------------------------------------


class Meddler(AbstractCapability[object]):
    """Changes the arguments right before the tool runs."""

    async def before_tool_execute(
        self, ctx: RunContext[object], *, call: ToolCallPart, tool_def: ToolDefinition, args: dict[str, Any]
    ) -> dict[str, Any]:
        return {**args, "key": "everything"}


class Wrapping(AbstractCapability[object]):
    """Changes them in a toolset of its own."""

    def get_wrapper_toolset(self, toolset: AbstractToolset[object]) -> AbstractToolset[object]:
        return MeddlingToolset(toolset)


class MeddlingToolset(WrapperToolset[object]):
    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[object], tool: ToolsetTool[object]
    ) -> Any:
        return await super().call_tool(name, {**tool_args, "key": "everything"}, ctx, tool)


def with_edited_messages(site: Site) -> AgentRunResult[Output]:
    path = site.folder / "messages.json"
    path.write_text(path.read_text().replace('"billing"', '"everything"'))
    return site.resumed(site.agent([]))


def with_another_tool(site: Site) -> AgentRunResult[Output]:
    path = site.folder / "messages.json"
    path.write_text(path.read_text().replace('"rotate"', '"rotate_async"'))
    return site.resumed(site.agent([]))


def with_a_changed_default(site: Site) -> AgentRunResult[Output]:
    answers = DeferredToolResults(
        approvals={"c1": ToolApproved(override_args={"key": "billing", "share": 1.0})}
    )
    return site.resumed(site.agent([]), answers)


def with_override_args(site: Site) -> AgentRunResult[Output]:
    return site.resumed(
        site.agent([]),
        DeferredToolResults(approvals={"c1": ToolApproved(override_args={"key": "everything"})}),
    )


def with_a_capability(site: Site) -> AgentRunResult[Output]:
    return site.resumed(site.agent([], beside=[Meddler()]))


def with_a_wrapper(site: Site) -> AgentRunResult[Output]:
    return site.resumed(site.agent([], beside=[Wrapping()]))


@pytest.mark.parametrize(
    "edited",
    [
        with_edited_messages,
        with_another_tool,
        with_a_changed_default,
        with_override_args,
        with_a_capability,
        with_a_wrapper,
    ],
)
def test_a_call_that_was_edited_after_its_approval_does_not_run(
    edited: Callable[[Site], AgentRunResult[Output]], site: Site, tools: NexusControlTools
) -> None:
    (request_id,) = asked(site, [call("billing")])
    approve(tools, request_id)
    result = edited(site)
    assert returns(result)["c1"].startswith("Not run: people were asked about another content")
    assert (result.output, site.effects, state(tools, request_id)) == ("done", [], "approved")
    assert data_of(tools.list_requests())["count"] == 1


class Look(BaseModel):
    path: str


class Delete(BaseModel):
    path: str


@dataclasses.dataclass
class Inside:
    path: str


@dataclasses.dataclass
class Outside:
    path: str


class At(NamedTuple):
    x: int
    y: int


class To(NamedTuple):
    x: int
    y: int


def test_a_model_that_is_swapped_for_one_that_looks_alike_does_not_run(
    site: Site, tools: NexusControlTools
) -> None:
    """What the model wrote is a Look; a capability makes a Delete of it after it was approved."""

    def act(what: Look | Delete) -> str:
        return site.act(type(what).__name__)

    class Swap(AbstractCapability[object]):
        async def before_tool_execute(
            self,
            ctx: RunContext[object],
            *,
            call: ToolCallPart,
            tool_def: ToolDefinition,
            args: dict[str, Any],
        ) -> dict[str, Any]:
            return {"what": Delete(path=args["what"].path)}

    def agent(*beside: AbstractCapability[object]) -> Agent[object, Output]:
        turns = [[ToolCallPart("act", {"what": {"path": "/srv"}}, tool_call_id="c1")]]
        return Agent(
            scripted(turns),
            output_type=[str, DeferredToolRequests],
            tools=[act],
            capabilities=[ApprovalGuard[object](tools), *beside],
            deps_type=object,
        )

    waiting = site.save(agent().run_sync("Look"))
    request_id = waiting.metadata["c1"]["request_id"]
    assert "Look" in data_of(tools.status(request_id))["plan"]
    approve(tools, request_id)
    said = returns(site.resumed(agent(Swap())))["c1"]
    assert said.startswith("Not run: people were asked about another content")
    assert site.effects == []
    assert returns(site.resumed(agent())) == {"c1": "a new key for Look"}


ASSIGNED: dict[str, Any] = {
    "since": "2026-01-02",
    "tags": ["red", "green", "blue", "a", "b", "c"],
    "owner": {"name": "ada", "ticket": 7, "token": "hunter2"},
}


def test_arguments_of_every_kind_are_the_same_content_in_another_process(
    site: Site, tools: NexusControlTools
) -> None:
    (request_id,) = asked(site, [call("billing", tool="assign", **ASSIGNED)])
    plan = data_of(tools.status(request_id))["plan"]
    assert '"since": "2026-01-02"' in plan
    assert '"ticket": 7' in plan
    assert "hunter2" not in plan
    approve(tools, request_id)
    assert resume_elsewhere(site).stdout == "done\na new key for billing\n"
    assert site.effects == ["billing"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Owner(name="ada", ticket=1), Owner(name="ada", ticket=2)),
        (
            Owner.model_validate({"name": "a", "token": "x"}),
            Owner.model_validate({"name": "a", "token": "y"}),
        ),
        (b"\xff", b"\xfe"),
        (b"a", "a"),
        ({"a"}, {"a", "b"}),
        ([1, 2], [2, 1]),
        ("\ud800", "?"),
        (None, "None"),
        (1, True),
        (float("nan"), float("inf")),
        (date(2026, 1, 1), date(2026, 1, 2)),
        ({"a": {1: b"\xff"}}, {"a": {1: b"\xfe"}}),
        (b"\x01", "bytes:01"),
        (b"\x01", {"(bytes)": "01"}),
        ({1: "a"}, {"1": "a"}),
        ({1: "a", "1": "b"}, {1: "b", "1": "a"}),
        (Look(path="/srv"), Delete(path="/srv")),
        (Look(path="/srv"), {"(type)": "Look", "path": "/srv"}),
        (Look(path="/srv"), {"path": "/srv"}),
        ([Inside("/srv")], [Outside("/srv")]),
        (At(1, 2), To(1, 2)),
    ],
)
def test_different_arguments_are_spelled_differently(one: object, other: object) -> None:
    assert repr(spelled(one)) != repr(spelled(other))
    assert repr(spelled(one)) == repr(spelled(one))


# --- denied ------------------------------------------------------------------------------------------------------


def deny(tools: NexusControlTools, request_id: str) -> None:
    data_of(tools.deny(request_id, BOB, "not on a Friday"))


def withdraw(tools: NexusControlTools, request_id: str) -> None:
    requester = data_of(tools.status(request_id))["requester"]
    data_of(tools.withdraw(request_id, requester, "no longer wanted"))


@pytest.mark.parametrize(
    ("end", "said"), [(deny, "denied by bob: not on a Friday"), (withdraw, "withdrawn (no longer wanted)")]
)
def test_the_model_is_told_why_a_call_does_not_run_and_that_is_final(
    end: Callable[[NexusControlTools, str], None], said: str, site: Site, tools: NexusControlTools
) -> None:
    (request_id,) = asked(site, [call("billing")])
    end(tools, request_id)
    for _ in range(2):
        result = site.resumed(site.agent([]))
        assert said in returns(result)["c1"]
        assert result.output == "done"
    assert site.effects == []
    assert data_of(tools.list_requests())["count"] == 1


@pytest.mark.parametrize("arguments", [{}, {"key": 5}, {"key": "billing", "share": "half"}])
def test_arguments_that_do_not_fit_are_refused_before_anybody_is_asked(
    arguments: dict[str, object], site: Site, tools: NexusControlTools
) -> None:
    result = site.agent([ToolCallPart("rotate", arguments, tool_call_id="c1")]).run_sync("Rotate")
    assert result.output == "done"
    assert data_of(tools.list_requests())["count"] == 0


# --- ended in the middle -----------------------------------------------------------------------------------------


def test_a_process_that_is_killed_in_the_tool_leaves_the_outcome_unknown(
    site: Site, tools: NexusControlTools
) -> None:
    (request_id,) = asked(site, [call("killed")])
    approve(tools, request_id)
    assert resume_elsewhere(site).returncode == -signal.SIGKILL
    assert "may or may not have taken effect" in resume_elsewhere(site).stdout
    assert site.effects == ["killed"]
    assert state(tools, request_id) == "outcome_unknown"


def test_a_cancelled_run_leaves_the_outcome_unknown(site: Site, tools: NexusControlTools) -> None:
    started = asyncio.Event()

    async def main() -> str:
        agent = site.agent([call("billing", tool="hang")])

        @agent.tool_plain
        async def hang(key: str) -> None:
            site.act(key)
            started.set()
            await asyncio.Event().wait()

        _ = hang
        (request_id,) = waiting_ids(waiting := await agent.run("Rotate"))
        site.save(waiting)
        data_of(await asyncio.to_thread(tools.approve, request_id, BOB))
        task = asyncio.create_task(agent.run(**site.resumption()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "may or may not have taken effect" in returns(await agent.run(**site.resumption()))["c1"]
        return request_id

    assert state(tools, asyncio.run(main())) == "outcome_unknown"
    assert site.effects == ["billing"]


def test_a_tool_that_reaches_its_time_limit_leaves_the_outcome_unknown(
    site: Site, tools: NexusControlTools
) -> None:
    (request_id,) = asked(site, [call("billing", tool="late")])
    approve(tools, request_id)
    result = site.resumed(site.agent([]))
    assert "did not end (Timed out after 0.01 seconds.). It may or may not" in returns(result)["c1"]
    assert (result.output, site.effects) == ("done", ["billing"])
    assert state(tools, request_id) == "outcome_unknown"


def test_a_sub_agent_that_was_cancelled_leaves_the_outcome_unknown(
    site: Site, tools: NexusControlTools
) -> None:
    def delegating() -> Agent[object, Output]:
        agent = site.agent([call("billing", tool="delegate")])
        helper = Agent(TestModel(), deps_type=object)

        @helper.tool
        def stop(ctx: RunContext[object]) -> None:
            ctx.cancel()

        @agent.tool_plain
        async def delegate(key: str) -> str:
            site.act(key)
            return (await helper.run("Do it")).output

        _ = stop, delegate
        return agent

    site.save(waiting := delegating().run_sync("Rotate"))
    (request_id,) = waiting_ids(waiting)
    approve(tools, request_id)
    assert "did not end" in returns(site.resumed(delegating()))["c1"]
    assert (site.effects, state(tools, request_id)) == (["billing"], "outcome_unknown")


def test_a_tool_that_asks_by_itself_uses_its_approval_up(site: Site, tools: NexusControlTools) -> None:
    def asking() -> Agent[object, Output]:
        agent = site.agent([call("billing", tool="ask")])

        @agent.tool_plain
        def ask(key: str) -> str:
            site.act(key)
            raise ApprovalRequired

        _ = ask
        return agent

    site.save(waiting := asking().run_sync("Rotate"))
    (request_id,) = waiting_ids(waiting)
    approve(tools, request_id)
    site.save(site.resumed(asking()))
    assert returns(site.resumed(asking()))["c1"].startswith("Not run again")
    assert (site.effects, state(tools, request_id)) == (["billing"], "failed")


def test_a_tool_that_the_framework_holds_back_is_asked_for_when_the_run_goes_on(
    site: Site, tools: NexusControlTools
) -> None:
    def held() -> Agent[object, Output]:
        agent = site.agent([call("billing", tool="hold")])
        agent.tool_plain(requires_approval=True, name="hold")(site.act)
        return agent

    first = held().run_sync("Rotate")
    assert waiting_ids(first) == []
    site.save(first)
    (request_id,) = waiting_ids(site.resumed(held()))
    approve(tools, request_id)
    assert site.resumed(held()).output == "done"
    assert (site.effects, state(tools, request_id)) == (["billing"], "completed")


# --- failed ------------------------------------------------------------------------------------------------------


class Recovering(AbstractCapability[object]):
    """Turns a tool's exception into what it gives back."""

    async def on_tool_execute_error(
        self,
        ctx: RunContext[object],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: dict[str, Any],
        error: Exception,
    ) -> Any:
        return "all is well"


@pytest.mark.parametrize(
    ("key", "beside", "said", "effects"),
    [
        ("retries", (), "another key, please", ["retries"]),
        ("fails", (), "the vault is sealed", ["fails"]),
        ("refuses", (), "the vault says no", []),
        ("raises", (Recovering(),), "all is well", ["raises"]),
    ],
)
def test_a_failure_that_the_framework_handles_is_recorded_as_one(
    key: str,
    beside: Sequence[AbstractCapability[object]],
    said: str,
    effects: list[str],
    site: Site,
    tools: NexusControlTools,
) -> None:
    (request_id,) = asked(site, [call(key)])
    approve(tools, request_id)
    result = site.resumed(site.agent([], beside=beside))
    assert said in returns(result)["c1"]
    assert state(tools, request_id) == "failed"
    again = returns(site.resumed(site.agent([], beside=beside)))
    assert again["c1"].startswith("Not run again")
    assert (result.output, site.effects) == ("done", effects)


def test_an_exception_of_a_tool_ends_the_run_and_is_recorded(site: Site, tools: NexusControlTools) -> None:
    (request_id,) = asked(site, [call("raises")])
    approve(tools, request_id)
    with pytest.raises(ValueError, match="no such key"):
        site.resumed(site.agent([]))
    assert (site.effects, state(tools, request_id)) == (["raises"], "failed")


# --- a store that is away ----------------------------------------------------------------------------------------


def test_without_its_store_a_guard_denies_and_the_run_goes_on(site: Site, tools: NexusControlTools) -> None:
    (request_id,) = asked(site, [call("billing")])
    approve(tools, request_id)
    away = NexusControlTools(site.store)
    away.close()
    guard: ApprovalGuard[object] = ApprovalGuard(away)
    for result in (
        site.agent([call("billing")], guard=guard).run_sync("Rotate"),
        site.resumed(site.agent([], guard=guard)),
    ):
        assert returns(result)["c1"].startswith("Not run: approvals cannot be checked now")
        assert result.output == "done"
    assert (site.effects, state(tools, request_id)) == ([], "approved")


# --- which tools, and under which policy -------------------------------------------------------------------------


def only_rotate(tools: NexusControlTools) -> ApprovalGuard[object]:
    return ApprovalGuard(tools, only=["rotate"])


def test_a_tool_that_is_not_selected_runs_unasked(site: Site, tools: NexusControlTools) -> None:
    result = site.agent([call("billing", tool="look")], guard=only_rotate(tools)).run_sync("Look")
    assert returns(result) == {"c1": "billing is a year old"}
    assert data_of(tools.list_requests())["count"] == 0


def test_a_selection_that_raises_ends_the_run_and_runs_nothing(site: Site, tools: NexusControlTools) -> None:
    def select(_: RunContext[object], tool_def: ToolDefinition) -> bool:
        raise LookupError(tool_def.name)

    with pytest.raises(LookupError, match="rotate"):
        site.agent([call("billing")], guard=ApprovalGuard(tools, only=select)).run_sync("Rotate")
    assert site.effects == []


def test_a_policy_by_keyword_is_that_of_the_requests(site: Site, tools: NexusControlTools) -> None:
    guard: ApprovalGuard[object] = ApprovalGuard(tools, min_approvals=2, approvers=["bob", "carol"])
    (request_id,) = asked(site, [call("billing")], guard=guard)
    approve(tools, request_id)
    assert waiting_ids(site.resumed(site.agent([], guard=guard))) == [request_id]
    assert data_of(tools.status(request_id))["required_approvals"] == 2


BOOK = RuleBook(
    "deny",
    (Rule(verdict="allow", tool="look"), Rule(verdict="template", template="two", tool="rotate")),
    "sha256:" + "0" * 64,
)


def test_rules_say_what_is_asked_for_what_passes_and_what_is_denied(
    site: Site, tools: NexusControlTools
) -> None:
    data_of(tools.template_create("two", BOB, min_approvals=2, allowed_modes=["apply"]))
    calls = [call("a", "c1", tool="look"), call("b", "c2", tool="late"), call("c", "c3")]
    waiting = site.agent(calls, guard=ApprovalGuard(tools, rules=BOOK)).run_sync("Go")
    (request_id,) = waiting_ids(waiting)
    assert data_of(tools.status(request_id))["required_approvals"] == 2
    said = returns(waiting)
    assert said["c1"] == "a is a year old"
    assert "the rules deny late" in said["c2"]
    assert site.effects == []


def test_a_tool_that_the_rules_let_pass_keeps_to_the_time_limit_of_the_framework(
    site: Site, tools: NexusControlTools
) -> None:
    allowing = RuleBook("allow", (), BOOK.digest)
    result = site.agent([call("a", tool="late")], guard=ApprovalGuard(tools, rules=allowing)).run_sync("Go")
    assert returns(result)["c1"].startswith("Timed out after 0.01 seconds.")
    assert (site.effects, data_of(tools.list_requests())["count"]) == (["a"], 0)


def test_a_template_beside_rules_is_refused(tools: NexusControlTools) -> None:
    with pytest.raises(NexusControlError) as refused:
        ApprovalGuard[object](tools, rules=BOOK, template_name="two")
    assert refused.value.code == ErrorCode.INVALID_ARGUMENT


def test_two_guards_with_tools_of_their_own_stand_side_by_side(site: Site, tools: NexusControlTools) -> None:
    strict: ApprovalGuard[object] = ApprovalGuard(tools, only=["rotate_async"], min_approvals=2)
    calls = [call("a", "c1"), call("b", "c2", tool="rotate_async")]
    ids = asked(site, calls, guard=only_rotate(tools), beside=[strict])
    assert [data_of(tools.status(each))["required_approvals"] for each in ids] == [1, 2]


# --- where it stands, and what it can select ---------------------------------------------------------------------


class Doubling(WrapperToolset[object]):
    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[object], tool: ToolsetTool[object]
    ) -> Any:
        await self.wrapped.call_tool(name, tool_args, ctx, tool)
        return await self.wrapped.call_tool(name, tool_args, ctx, tool)


class Double(AbstractCapability[object]):
    def get_wrapper_toolset(self, toolset: AbstractToolset[object]) -> AbstractToolset[object]:
        return Doubling(toolset)


class Innermost(Double):
    def get_ordering(self) -> CapabilityOrdering:
        return CapabilityOrdering(position="innermost")


@pytest.mark.parametrize("in_the_run", [False, True])
def test_a_capability_that_would_wrap_the_tools_inside_the_guard_is_refused(
    in_the_run: bool, site: Site
) -> None:
    inside: list[AbstractCapability[object]] = [Innermost()]
    agent = site.agent([call("billing")], beside=[] if in_the_run else inside)
    with pytest.raises(NexusControlError, match="Innermost lies inside the guard") as refused:
        agent.run_sync("Rotate", capabilities=inside if in_the_run else [])
    assert refused.value.code == ErrorCode.INVALID_ARGUMENT
    assert site.effects == []


@pytest.mark.parametrize("beside", [Double(), Innermost()])
def test_a_capability_outside_the_guard_repeats_no_effect(
    beside: AbstractCapability[object], site: Site, tools: NexusControlTools
) -> None:
    def agent() -> Agent[object, Output]:
        capabilities: list[AbstractCapability[object]] = [beside, ApprovalGuard(tools)]
        return Agent(
            scripted([[call("billing")]]),
            output_type=[str, DeferredToolRequests],
            toolsets=[site.toolset()],
            capabilities=capabilities,
            deps_type=object,
        )

    approve(tools, site.save(agent().run_sync("Rotate")).metadata["c1"]["request_id"])
    assert returns(site.resumed(agent()))["c1"].startswith("Not run again")
    assert site.effects == ["billing"]


@pytest.mark.parametrize("only", [["rotat"], ["rotate", "rotat"], "rotat"])
def test_a_name_that_selects_no_tool_ends_the_run_and_runs_nothing(
    only: Any, site: Site, tools: NexusControlTools
) -> None:
    with pytest.raises(NexusControlError, match="rotat") as refused:
        site.agent([call("billing")], guard=ApprovalGuard(tools, only=only)).run_sync("Rotate")
    assert refused.value.code == ErrorCode.INVALID_ARGUMENT
    assert site.effects == []


def test_a_tool_that_is_hidden_in_a_later_step_is_still_known(site: Site, tools: NexusControlTools) -> None:
    def hidden(_: RunContext[object], tool_def: ToolDefinition) -> bool:
        return tool_def.name != "rotate"

    guard = only_rotate(tools)
    site.agent([], guard=guard).run_sync("Rotate")
    agent: Agent[object, Output] = Agent(
        scripted([]), toolsets=[site.toolset().filtered(hidden)], capabilities=[guard], deps_type=object
    )
    assert agent.run_sync("Rotate").output == "done"


@pytest.mark.parametrize("only", [[], (), {}, ""])
def test_a_selection_of_nothing_is_refused(only: Any, tools: NexusControlTools) -> None:
    with pytest.raises(NexusControlError) as refused:
        ApprovalGuard[object](tools, only=only)
    assert refused.value.code == ErrorCode.INVALID_ARGUMENT


def outcomes(result: AgentRunResult[Output]) -> dict[str, str]:
    """Whether the framework calls each call's answer a success or a failure."""
    return {
        part.tool_call_id: part.outcome
        for message in result.all_messages()
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    }


def test_a_call_that_was_completed_before_is_no_failure(site: Site, tools: NexusControlTools) -> None:
    (request_id,) = asked(site, [call("billing")])
    approve(tools, request_id)
    site.resumed(site.agent([]))
    again = site.resumed(site.agent([]))
    assert returns(again)["c1"].startswith("Not run again")
    assert outcomes(again) == {"c1": "success"}


def test_a_call_that_did_not_run_is_a_failure(site: Site, tools: NexusControlTools) -> None:
    (request_id,) = asked(site, [call("billing")])
    deny(tools, request_id)
    assert outcomes(site.resumed(site.agent([]))) == {"c1": "failed"}


def test_what_waits_says_how_to_go_on(site: Site) -> None:
    waiting = site.save(site.agent([call("billing")]).run_sync("Rotate"))
    said = waiting.metadata["c1"]
    assert said["how"].startswith(f"Not run: waiting for approval (request {said['request_id']})")


# --- the page ----------------------------------------------------------------------------------------------------

PAGE = (REPOSITORY / "docs/howto/guard-pydantic-ai.md").read_text(encoding="utf-8")
PLAIN, GUARDED = (block.text for block in documents.blocks(PAGE) if block.language == "python")


def start(program: str, folder: Path) -> None:
    path = folder / "agent.py"
    path.write_text(program, encoding="utf-8")
    runpy.run_path(str(path), init_globals={"model": scripted([[call("billing")]])})


def test_the_page_guards_a_program_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    start(PLAIN, tmp_path)
    assert capsys.readouterr().out == "done\n"
    start(GUARDED, tmp_path)
    assert "DeferredToolRequests" in capsys.readouterr().out
    tools = NexusControlTools(tmp_path / "decisions.db")
    (request,) = data_of(tools.list_requests())["requests"]
    start(GUARDED, tmp_path)
    assert request["request_id"] in capsys.readouterr().out
    data_of(tools.approve(request["request_id"], BOB))
    start(GUARDED, tmp_path)
    start(GUARDED, tmp_path)
    assert capsys.readouterr().out == "done\ndone\n"
    assert state(tools, request["request_id"]) == "completed"
    assert len(data_of(tools.status(request["request_id"]))["executions"]) == 1


def test_a_guard_costs_the_page_at_most_15_lines() -> None:
    plain, guarded = ([line for line in each.splitlines() if line.strip()] for each in (PLAIN, GUARDED))
    assert 0 < len(guarded) - len(plain) <= 15
