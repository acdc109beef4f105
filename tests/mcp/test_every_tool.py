"""Each tool over the wire, once as it should be called and once not, in both eras."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from nexus_control.toolset import TOOLS
from nexus_control.toolset.tool import PREFIX
from tests.mcp.serving import CONFIG, ERAS, Era, client, content_of, data, plan
from tests.toolset.bench import foreign_bundle, require_valid

ADAPTER = "subprocess:files"
Arguments = dict[str, Any]


async def requested(agent: Client) -> str:
    step = plan("write", text="x", file="written")
    return (await data(agent, "request", goal="g", mode="apply", plan=step))["request_id"]


async def approved(agent: Client) -> str:
    request_id = await requested(agent)
    await data(agent, "approve", request_id=request_id)
    return request_id


async def executed(agent: Client) -> str:
    request_id = await approved(agent)
    await data(agent, "execute", request_id=request_id, adapter_id=ADAPTER)
    return request_id


async def a_template(agent: Client) -> Arguments:
    await data(agent, "template.create", name="rules")
    return {"name": "rules"}


async def a_bundle(_agent: Client) -> Arguments:
    return {"bundle": foreign_bundle(), "conflict_mode": "new_decision_id"}


def arguments(values: Arguments) -> Callable[[Client], Awaitable[Arguments]]:
    async def given(_agent: Client) -> Arguments:
        return values

    return given


def about(
    make: Callable[[Client], Awaitable[str]], name: str = "request_id", **more: object
) -> Callable[[Client], Awaitable[Arguments]]:
    async def given(agent: Client) -> Arguments:
        return {name: await make(agent), **more}

    return given


NOBODY: Arguments = {"request_id": "none"}
CALLS: dict[str, tuple[Callable[[Client], Awaitable[Arguments]], Arguments, str]] = {
    "request": (arguments({"goal": "g"}), {"goal": "g", "template_name": "none"}, "TEMPLATE_NOT_FOUND"),
    "approve": (about(requested), NOBODY, "DECISION_NOT_FOUND"),
    "execute": (about(approved, adapter_id=ADAPTER), {**NOBODY, "adapter_id": ADAPTER}, "DECISION_NOT_FOUND"),
    "status": (about(executed), {**NOBODY, "wait_seconds": 1}, "DECISION_NOT_FOUND"),
    "inspect": (about(executed, "decision_id"), {"decision_id": "none"}, "DECISION_NOT_FOUND"),
    "template.create": (arguments({"name": "new"}), {"name": "new", "min_approvals": 0}, "INVALID_ARGUMENT"),
    "template.get": (a_template, {"name": "none"}, "TEMPLATE_NOT_FOUND"),
    "template.list": (arguments({}), {"limit": "ten"}, "INVALID_ARGUMENT"),
    "export_bundle": (about(requested, "decision_id"), {"decision_id": "none"}, "DECISION_NOT_FOUND"),
    "import_bundle": (a_bundle, {"path": "../../etc/passwd"}, "INVALID_ARGUMENT"),
    "export_audit_package": (about(executed, "decision_id"), {"decision_id": "none"}, "DECISION_NOT_FOUND"),
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_every_tool_answers_well_and_badly_as_its_schema_says(era: Era, tmp_path: Path) -> None:
    assert [PREFIX + name for name in CALLS] == [tool.name for tool in TOOLS]
    config = tmp_path / "nexus-control.toml"
    config.write_text(CONFIG)

    async def walk() -> None:
        options = ("--approvals", "declared", "--config", str(config))
        async with client(*options, folder=tmp_path, era=era) as agent:
            schemas = {tool.name: tool.output_schema for tool in (await agent.list_tools()).tools}
            for name, (good, bad, code) in CALLS.items():
                schema = schemas[PREFIX + name]
                assert schema is not None
                done = await data(agent, name, **await good(agent))
                require_valid(done, schema)
                assert done["summary"].endswith(".")
                assert done["next"].endswith(".")
                refused = await agent.call_tool(PREFIX + name, bad)
                assert refused.is_error
                require_valid(content_of(refused), schema)
                assert (content_of(refused)["code"], bool(content_of(refused)["next"])) == (code, True)

    asyncio.run(walk())
