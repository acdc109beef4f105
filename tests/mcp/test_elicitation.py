"""Clients that can put a form before a person, and what each of their answers counts for."""

import asyncio
import shlex
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.session import ElicitationFnT
from mcp.types import (
    CallToolResult,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    Implementation,
)

from nexus_control import LocalRouter, NexusControlTools, load_adapters
from nexus_control.server.forms import PAUSE_SECONDS
from nexus_control.server.protocol import make_server
from nexus_control.server.settings import Settings, open_context
from nexus_control.toolset.asking import SILENCE_SECONDS
from nexus_control.values.actors import Actor
from tests.mcp.serving import CONFIG, ERAS, Era, data, parameters, person, plan, refusal
from tests.support.governed import data_of
from tests.support.swapping import OTHER_GOAL, Swap

BOB = Actor(type="human", id="bob")


def answering(
    action: str, content: dict[str, Any] | None = None, seen: list[ElicitRequestFormParams] | None = None
) -> ElicitationFnT:
    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert isinstance(params, ElicitRequestFormParams)
        if seen is not None:
            seen.append(params)
        return ElicitResult.model_validate({"action": action, "content": content})

    return answer


def with_a_form(folder: Path, era: Era, answer: ElicitationFnT | None, *options: str) -> Client:
    options = ("--approver", "human:bob", *options)
    info = Implementation(name="test-host", version="1")
    server = parameters(*options, folder=folder)
    return Client(server, mode=era, elicitation_callback=answer, client_info=info)


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_a_typed_approval_is_recorded_as_elicited_with_client_and_latency(era: Era, tmp_path: Path) -> None:
    seen: list[ElicitRequestFormParams] = []

    async def flow() -> str:
        answer = answering("accept", {"verdict": "approve", "reason": "I looked"}, seen)
        async with with_a_form(tmp_path, era, answer) as agent:
            plan = "1. rotate \u202egpj.exe"
            request_id = (await data(agent, "request", goal="turn *it*", mode="apply", plan=plan))[
                "request_id"
            ]
            approved = await data(agent, "approve", request_id=request_id, comment="the model says so")
            assert (approved["state"], approved["current_approvals"]) == ("approved", 1)
            return request_id

    request_id = asyncio.run(flow())
    (form,) = seen
    for expected in ("human:bob", "turn \\*it\\*", "rotate \\u202egpj.exe", "Mode: apply", request_id):
        assert expected in form.message
    assert form.requested_schema["required"] == ["verdict"]
    granted = NexusControlTools(db_path=tmp_path / "store.db").store.get_events(request_id)[-1]
    assert granted.actor == BOB
    payload = granted.payload
    assert (payload["assurance"], payload["comment"]) == ("elicited", "I looked")
    assert payload["elicitation"]["client"] == "test-host"
    assert 0 <= payload["elicitation"]["latency_ms"] < 45_000


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_a_typed_denial_ends_the_decision(era: Era, tmp_path: Path) -> None:
    async def flow() -> None:
        answer = answering("accept", {"verdict": "deny"})
        async with with_a_form(tmp_path, era, answer) as agent:
            request_id = (await data(agent, "request", goal="g", mode="apply"))["request_id"]
            denied = await data(agent, "approve", request_id=request_id)
            assert (denied["state"], denied["is_approved"]) == ("denied", False)
            assert "denial" in denied["summary"]
            status = await data(agent, "status", request_id=request_id)
            assert status["ending"]["actor"] == person("bob")

    asyncio.run(flow())


UNANSWERED: dict[str, ElicitationFnT | None] = {
    "declines": answering("decline"),
    "cancels": answering("cancel"),
    "accepts an empty form": answering("accept", {}),
    "accepts no form": answering("accept"),
    "types something else": answering("accept", {"verdict": "yes"}),
    "answers with a number": answering("accept", {"verdict": 1, "reason": "approve"}),
    "cannot ask": None,
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("answer", UNANSWERED.values(), ids=UNANSWERED.keys())
def test_what_is_no_typed_choice_is_no_answer(
    era: Era, answer: ElicitationFnT | None, tmp_path: Path
) -> None:
    async def flow() -> None:
        async with with_a_form(tmp_path, era, answer) as agent:
            request_id = (await data(agent, "request", goal="g", mode="apply"))["request_id"]
            for invented in ("alice", "bob"):
                refused = await refusal(agent, "approve", request_id=request_id, actor=person(invented))
                assert refused["code"] == "ACTOR_MISMATCH"
            for _ in range(2):
                refused = await refusal(agent, "approve", request_id=request_id)
                assert refused["code"] == "APPROVAL_NEEDS_A_PERSON"
                command = [sys.executable, "-P", "-s", "-m", "nexus_control", "approve", request_id]
                assert refused["details"]["command"] == shlex.join(
                    [*command, "--db", str(tmp_path / "store.db")]
                )
                assert refused["next"].startswith("Show details.command to a person; do not run it")
            status = await data(agent, "status", request_id=request_id, include_events=True)
            assert (status["state"], status["event_count"]) == ("pending_approval", 2)

    asyncio.run(flow())


def test_silence_is_no_answer_and_a_client_that_never_answers_is_not_waited_for(tmp_path: Path) -> None:
    settings = Settings(
        database=str(tmp_path / "store.db"),
        actor=Actor(type="system", id="agent"),
        approver=BOB,
        silence_seconds=0.1,
    )

    async def never(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        await anyio.sleep_forever()
        raise AssertionError

    async def flow() -> None:
        with open_context(settings) as context:
            async with Client(
                make_server(context, settings), mode="legacy", elicitation_callback=never
            ) as agent:
                request_id = (await data(agent, "request", goal="g"))["request_id"]
                refused = await refusal(agent, "approve", request_id=request_id)
                assert (refused["code"], "in time" in refused["message"]) == ("APPROVAL_NEEDS_A_PERSON", True)

    asyncio.run(flow())


def test_in_the_newer_era_an_answer_counts_once_for_its_own_question_and_not_unasked(tmp_path: Path) -> None:
    typed: Any = {"approval": ElicitResult(action="accept", content={"verdict": "approve"})}
    name = "nexus-control.approve"

    async def flow() -> None:
        async with with_a_form(tmp_path, "auto", answering("decline")) as agent:
            first, second = [
                (await data(agent, "request", goal=goal, mode="apply"))["request_id"] for goal in ("a", "b")
            ]

            async def call(request_id: str, **answer: Any) -> Any:
                return await agent.session.call_tool(
                    name, {"request_id": request_id}, allow_input_required=True, **answer
                )

            unasked = await call(first, input_responses=typed)
            assert unasked.result_type == "input_required"
            made_up = await call(first, input_responses=typed, request_state="made up")
            assert made_up.structured_content["code"] == "APPROVAL_NEEDS_A_PERSON"
            other = await call(second, input_responses=typed, request_state=unasked.request_state)
            assert other.structured_content["code"] == "APPROVAL_NEEDS_A_PERSON"
            again = await call(first)
            good = await call(first, input_responses=typed, request_state=again.request_state)
            assert good.structured_content["is_approved"] is True
            await data(agent, "status", request_id=second)

    asyncio.run(flow())


def rules(folder: Path) -> None:
    """A template of its owner, and adapters."""
    tools = NexusControlTools(db_path=folder / "store.db")
    data_of(
        tools.template_create("prod", person("owner"), min_approvals=2, allowed_modes=["dry_run", "apply"])
    )
    (folder / "adapters.toml").write_text(CONFIG)


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_a_form_shows_what_the_policy_became_and_the_commands_that_will_run(era: Era, tmp_path: Path) -> None:
    rules(tmp_path)
    seen: list[ElicitRequestFormParams] = []
    policy = {
        "template_name": "prod",
        "min_approvals": 1,
        "approvers": ["bob", "carol"],
        "allow_requester_approval": False,
        "max_steps": 3,
        "expires_at": "2999-01-01T00:00:00Z",
        "min_assurance": "elicited",
    }

    async def flow() -> str:
        config = ("--config", str(tmp_path / "adapters.toml"))
        async with with_a_form(tmp_path, era, answering("decline", seen=seen), *config) as agent:
            steps = plan("write", text="a b", file=str(tmp_path / "f"))
            binding = {"plan": steps, "adapter_id": "subprocess:files"}
            asked = await data(agent, "request", goal="write it", mode="apply", **binding, **policy)
            await refusal(agent, "approve", request_id=asked["request_id"])
            return asked["basis"]

    basis = asyncio.run(flow())
    (form,) = seen
    for expected in (
        "- Overrides: min_approvals, at least 2 → at least 1",
        "- Overrides: allow_requester_approval, yes → no",
        "- Overrides: max_steps, any number → at most 3",
        "- Approvers: bob, carol",
        "- Requester may approve: no",
        "- Assurance: elicited",
        "- The request ends: 2999-01-01",
        f"- Basis: {basis}",
        f"""sh -c 'printf "%s" "$1" > "$2"' sh 'a b' {tmp_path / "f"}\n""",
        f"- In {tmp_path}; environment: LANG, NEXUS_CONTROL_EXECUTION_ID, NEXUS_CONTROL_REQUEST_ID, PATH;"
        " limits: 60 seconds, 1000000 bytes of output kept",
    ):
        assert expected in form.message, form.message


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_a_form_says_that_a_request_was_imported_and_that_its_commands_are_not_known(
    era: Era, tmp_path: Path
) -> None:
    elsewhere = NexusControlTools(db_path=tmp_path / "elsewhere.db")
    asked = data_of(elsewhere.request("g", person("alice"), mode="apply", adapter_id="subprocess:files"))
    bundle = data_of(elsewhere.export_bundle(asked["request_id"]))["bundle"]
    data_of(NexusControlTools(db_path=tmp_path / "store.db").import_bundle(bundle))
    seen: list[ElicitRequestFormParams] = []

    async def flow() -> None:
        async with with_a_form(tmp_path, era, answering("cancel", seen=seen)) as agent:
            await refusal(agent, "approve", request_id=asked["request_id"])

    asyncio.run(flow())
    (form,) = seen
    assert "- Imported, not requested here: 2 events at " in form.message
    assert "No configuration was found here" in form.message


@pytest.mark.sample(2)
@pytest.mark.parametrize("verdict", ["approve", "deny"])
@pytest.mark.parametrize("era", ERAS)
def test_what_takes_the_place_of_a_request_behind_its_form_is_not_decided(
    era: Era, verdict: str, tmp_path: Path
) -> None:
    owner = NexusControlTools(db_path=tmp_path / "store.db")
    request_id = data_of(owner.request("g", person("alice"), mode="apply"))["request_id"]
    swap = Swap.of(owner, request_id)

    async def swapped(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        swap.to_other()
        return ElicitResult(action="accept", content={"verdict": verdict})

    async def flow() -> None:
        async with with_a_form(tmp_path, era, swapped) as agent:
            refused = await refusal(agent, "approve", request_id=request_id)
            assert refused["code"] == "BASIS_CHANGED"

    asyncio.run(flow())
    status = data_of(owner.status(request_id, include_events=True))
    assert (status["goal"], len(status["events"])) == (OTHER_GOAL, 2)


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_a_rehearsal_that_comes_behind_a_form_is_not_approved_and_the_shown_one_is(
    era: Era, tmp_path: Path
) -> None:
    config = tmp_path / "adapters.toml"
    config.write_text(CONFIG.replace('["true"]', f'["cat", "{tmp_path / "source.txt"}"]'))
    (tmp_path / "source.txt").write_text("old keys")
    seen, owner = list[str](), NexusControlTools(db_path=tmp_path / "store.db")
    router = LocalRouter(load_adapters(config), tmp_path / "owner.runs")
    ci = Actor(type="system", id="ci")

    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        seen.append(params.message)
        if len(seen) == 1:
            (tmp_path / "source.txt").write_text("new keys")
            data_of(owner.execute(request_id, "subprocess:files", ci, router, dry_run=True))
        return ElicitResult(action="accept", content={"verdict": "approve"})

    steps = plan("write", text="a", file=str(tmp_path / "out.txt"))
    asked = owner.request("g", ci, mode="apply", plan=steps, require_rehearsal={"max_age_seconds": 600})
    request_id = data_of(asked)["request_id"]

    async def flow() -> None:
        async with with_a_form(tmp_path, era, answer, "--config", str(config)) as agent:
            early = await refusal(agent, "approve", request_id=request_id)
            assert (early["code"], seen) == ("REHEARSAL_REQUIRED", [])
            status = await data(agent, "status", request_id=request_id)
            call = status["details"]["call"]["arguments"]
            assert (call["request_id"], call["dry_run"]) == (request_id, True)
            await data(agent, "execute", **call)
            refused = await refusal(agent, "approve", request_id=request_id)
            assert refused["code"] == "BASIS_CHANGED"
            approved = await data(agent, "approve", request_id=request_id)
            assert approved["state"] == "approved"

    with owner, router:
        asyncio.run(flow())
    assert ["old keys" in seen[0], "new keys" in seen[0], "new keys" in seen[1]] == [True, False, True]


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_many_calls_in_a_row_put_at_most_two_forms_before_a_person_who_declines(
    era: Era, tmp_path: Path
) -> None:
    seen: list[ElicitRequestFormParams] = []

    async def flow() -> None:
        async with with_a_form(tmp_path, era, answering("decline", seen=seen)) as agent:
            first, second = [(await data(agent, "request", goal=g))["request_id"] for g in ("a", "b")]
            for _ in range(6):
                refused = await refusal(agent, "approve", request_id=first)
                assert refused["code"] == "APPROVAL_NEEDS_A_PERSON"
            assert len(seen) == 2
            await refusal(agent, "approve", request_id=second)
            assert len(seen) == 3

    asyncio.run(flow())


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_a_new_request_for_each_form_gets_no_more_than_six(era: Era, tmp_path: Path) -> None:
    seen: list[ElicitRequestFormParams] = []

    async def flow() -> None:
        async with with_a_form(tmp_path, era, answering("decline", seen=seen)) as agent:
            for number in range(8):
                request_id = (await data(agent, "request", goal=f"try {number}"))["request_id"]
                await refusal(agent, "approve", request_id=request_id)

    asyncio.run(flow())
    assert len(seen) == 6


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_calls_at_once_put_one_form_before_a_person(era: Era, tmp_path: Path) -> None:
    seen: list[ElicitRequestParams] = []

    async def flow() -> None:
        refused = anyio.Event()

        async def late(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
            seen.append(params)
            await refused.wait()
            return ElicitResult(action="accept", content={"verdict": "approve"})

        async with with_a_form(tmp_path, era, late) as agent:
            request_id = (await data(agent, "request", goal="g"))["request_id"]
            ended: list[bool] = []

            async def approve() -> None:
                answer = await agent.call_tool("nexus-control.approve", {"request_id": request_id})
                ended.append(answer.is_error)
                if len(ended) == 3:
                    refused.set()

            async with anyio.create_task_group() as calls:
                for _ in range(4):
                    calls.start_soon(approve)
            assert ended == [True, True, True, False]

    asyncio.run(flow())
    assert len(seen) == 1


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_after_a_pause_a_person_is_asked_again(era: Era, tmp_path: Path) -> None:
    settings = Settings(
        database=str(tmp_path / "store.db"), actor=Actor(type="system", id="agent"), approver=BOB
    )
    seen: list[ElicitRequestFormParams] = []
    seconds = [0.0]

    async def flow() -> None:
        with open_context(settings) as context:
            server = make_server(context, settings, elapsed=lambda: seconds[0])
            asking = answering("decline", seen=seen)
            async with Client(server, mode=era, elicitation_callback=asking) as agent:
                request_id = (await data(agent, "request", goal="g"))["request_id"]
                for passed, forms in ((0, 1), (0, 2), (0, 2), (PAUSE_SECONDS - 1, 2), (1, 3), (0, 4), (0, 4)):
                    seconds[0] += passed
                    await refusal(agent, "approve", request_id=request_id)
                    assert len(seen) == forms

    asyncio.run(flow())


def test_in_the_newer_era_a_form_that_nobody_comes_back_from_is_open_until_silence_ends_it(
    tmp_path: Path,
) -> None:
    settings = Settings(
        database=str(tmp_path / "store.db"), actor=Actor(type="system", id="agent"), approver=BOB
    )
    seconds = [0.0]

    async def flow() -> None:
        with open_context(settings) as context:
            server = make_server(context, settings, elapsed=lambda: seconds[0])
            async with Client(server, elicitation_callback=answering("decline")) as agent:
                request_id = (await data(agent, "request", goal="g"))["request_id"]

                async def is_asked() -> bool:
                    answer = await agent.session.call_tool(
                        "nexus-control.approve", {"request_id": request_id}, allow_input_required=True
                    )
                    return not isinstance(answer, CallToolResult)

                for passed, asked in (
                    (0, True),
                    (1, False),
                    (SILENCE_SECONDS, True),
                    (SILENCE_SECONDS + 1, False),
                ):
                    seconds[0] += passed
                    assert await is_asked() is asked

    asyncio.run(flow())


REFUSED_BEFORE_ASKING: dict[str, tuple[dict[str, object], str]] = {
    "not by them": ({"approvers": ["carol"]}, "NOT_ELIGIBLE"),
    "not in a form": ({"min_assurance": "local"}, "APPROVAL_NEEDS_A_PERSON"),
    "a long line": ({"plan": "x" * 9000}, "APPROVAL_NEEDS_A_PERSON"),
    "many lines": ({"plan": "a\n" * 300}, "APPROVAL_NEEDS_A_PERSON"),
    "blanks": ({"plan": f"look{' ' * 1000}delete"}, "APPROVAL_NEEDS_A_PERSON"),
    "empty lines": ({"plan": f"look{chr(10) * 100}delete"}, "APPROVAL_NEEDS_A_PERSON"),
    "blanks in a label": ({"labels": [f"a{' ' * 50}b"]}, "APPROVAL_NEEDS_A_PERSON"),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize(("policy", "code"), REFUSED_BEFORE_ASKING.values(), ids=REFUSED_BEFORE_ASKING.keys())
def test_nobody_is_asked_what_a_form_cannot_settle(
    policy: dict[str, object], code: str, tmp_path: Path
) -> None:
    async def must_not_be_asked(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        raise AssertionError

    async def flow() -> None:
        async with with_a_form(tmp_path, "auto", must_not_be_asked) as agent:
            request_id = (await data(agent, "request", goal="g", mode="apply", **policy))["request_id"]
            assert (await refusal(agent, "approve", request_id=request_id))["code"] == code
            assert (await refusal(agent, "approve", request_id="none"))["code"] == "DECISION_NOT_FOUND"

    asyncio.run(flow())
