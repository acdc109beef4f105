"""What a model can find out by itself: what may be executed, which decisions there are, and in what mode it is."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from nexus_control import NexusControlTools
from nexus_control.server.instructions import instructions
from tests.mcp.serving import CONFIG, ERAS, Era, client, data, plan, refusal
from tests.support.governed import data_of
from tests.toolset.bench import Bench, new_bench

ADAPTER = "subprocess:files"
STEP = {
    "step_id": "1",
    "intent": "what this step is for",
    "call": {"tool": "files", "method": "write", "args": {"text": "...", "file": "..."}},
}
NO_PLANS: list[tuple[object, str]] = [
    ("Write the file", "PLAN_INVALID"),
    ('{"steps": []}', "PLAN_INVALID"),
    ({"steps": [STEP]}, "INVALID_ARGUMENT"),
    ([], "PLAN_INVALID"),
    ([{"run": "rm"}], "PLAN_INVALID"),
    (["rm"], "PLAN_INVALID"),
]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return new_bench(tmp_path)


def config_in(folder: Path) -> str:
    file = folder / "nexus-control.toml"
    file.write_text(CONFIG)
    return str(file)


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_a_model_learns_what_may_be_executed(era: Era, tmp_path: Path) -> None:
    async def look() -> None:
        async with client("--config", config_in(tmp_path), folder=tmp_path, era=era) as agent:
            told = agent.instructions or ""
            assert "subprocess:files (tool files): write(text, file); wait(file)" in told
            (content,) = (await agent.read_resource("nexus-control://adapters")).contents
            (adapter,) = json.loads(content.model_dump()["text"])["adapters"]
            assert (adapter["adapter_id"], adapter["tool"]) == (ADAPTER, "files")
            assert adapter["methods"] == {"write": ["text", "file"], "wait": ["file"]}
            refused = await refusal(agent, "request", goal="g", plan=plan("remove"), adapter_id=ADAPTER)
            assert refused["code"] == "PLAN_INVALID"
            assert refused["details"]["adapters"][0]["methods"]["wait"] == ["file"]
            unknown = await refusal(agent, "request", goal="g", plan=plan("wait"), adapter_id="python:none")
            assert unknown["code"] == "ADAPTER_UNKNOWN"
            assert [each["adapter_id"] for each in unknown["details"]["adapters"]] == [ADAPTER]

    asyncio.run(look())


def test_what_is_no_list_of_steps_is_refused_with_an_example(tmp_path: Path) -> None:
    async def ask() -> None:
        async with client("--config", config_in(tmp_path), folder=tmp_path) as agent:
            for adapter in ({"adapter_id": ADAPTER}, {}):
                for given, code in NO_PLANS:
                    if given == [] and not adapter:
                        continue
                    refused = await refusal(agent, "request", goal="g", plan=given, **adapter)
                    assert (refused["code"], refused["details"]["example_step"]) == (code, STEP), given
                    assert "list of steps" in refused["message"] or given == []
                    assert "list of steps" in refused["next"]
            assert (await data(agent, "request", goal="g", plan=[STEP], adapter_id=ADAPTER))["created"]

    asyncio.run(ask())


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_the_newest_decisions_and_the_templates_are_listed_and_can_be_read(era: Era, tmp_path: Path) -> None:
    name = "prod / 50% ü"
    tools = NexusControlTools(db_path=tmp_path / "store.db")
    ids = [
        data_of(tools.request(f"goal\n{n}", {"type": "human", "id": "alice"}))["request_id"] for n in range(3)
    ]
    data_of(tools.template_create(name, {"type": "human", "id": "alice"}))

    async def look() -> None:
        async with client(folder=tmp_path, era=era) as agent:
            found = (await agent.list_resources()).resources
            uris = [str(each.uri) for each in found]
            assert uris == [
                "nexus-control://adapters",
                *(f"nexus-control://decisions/{each}" for each in reversed(ids)),
                f"nexus-control://templates/{quote(name, safe='')}",
            ]
            assert found[1].description == "pending_approval: goal 2"
            for uri in uris:
                (content,) = (await agent.read_resource(uri)).contents
                assert json.loads(content.model_dump()["text"])

    asyncio.run(look())


def test_the_instructions_fit_the_server(bench: Bench) -> None:
    def told(**changes: Any) -> str:
        bench.change(**changes)
        return instructions(bench.context)

    assert "nexus-control.approve asks a person" in told(approvals="human")
    assert "You act as system:agent@host." in told()
    assert "nexus_control_approve" in told(name_style="underscore")
    assert "nexus-control." not in told()
    assert "approve asks" not in told(approvals="off", name_style="dotted")
    assert "that `actor` names" in told(approvals="declared")
    assert "python:keys (tool keys): rotate()" in told()
    assert "executes nothing" in told(router=None)
    assert "only reads" in told(read_only=True)
    assert "nexus-control.request" not in told()


@pytest.mark.parametrize("approvals", ["human", "declared", "off"])
def test_the_instructions_are_short_enough_for_every_host(bench: Bench, approvals: str) -> None:
    bench.change(approvals=approvals)
    assert len(instructions(bench.context)) < 2000
