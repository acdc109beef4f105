import asyncio
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from mcp import Client, MCPError, StdioServerParameters
from mcp.types import TextContent

from nexus_control import NexusControlTools
from nexus_control.toolset import TOOLS
from tests.cli.running import nexus_control
from tests.evidence.ssh import ed25519, public_line, signed
from tests.mcp.serving import (
    CONFIG,
    ERAS,
    Era,
    an_empty_server,
    client,
    content_of,
    data,
    parameters,
    person,
    plan,
    refusal,
)
from tests.support.amounts import number_of
from tests.support.cpu import by_children
from tests.support.governed import data_of


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_the_11_tools_are_offered_with_valid_schemas_and_hints(era: Era, tmp_path: Path) -> None:
    async def look() -> None:
        async with client(folder=tmp_path, era=era) as connected:
            tools = (await connected.list_tools()).tools
        assert [tool.name for tool in tools] == [tool.name for tool in TOOLS]
        for tool in tools:
            Draft202012Validator.check_schema(tool.input_schema)
            assert tool.input_schema["additionalProperties"] is False
            Draft202012Validator.check_schema(tool.output_schema or {"type": "nothing"})
            assert tool.title
            assert tool.description
            assert tool.annotations is not None
            assert tool.annotations.destructive_hint is (tool.name == "nexus-control.execute")

    asyncio.run(look())


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_the_whole_flow_changes_a_file_and_ends_in_a_package(era: Era, tmp_path: Path) -> None:
    config, target = tmp_path / "nexus-control.toml", tmp_path / "target"
    config.write_text(CONFIG)

    async def flow() -> None:
        options = ("--approvals", "declared", "--config", str(config))
        async with client(*options, folder=tmp_path, era=era) as agent:
            request = await data(
                agent,
                "request",
                goal="write it",
                mode="apply",
                plan=plan("write", text="new; $(id)", file=str(target)),
                adapter_id="subprocess:files",
            )
            request_id = request["request_id"]
            early = await refusal(agent, "execute", request_id=request_id, adapter_id="subprocess:files")
            assert early["code"] == "POLICY_NOT_SATISFIED"
            assert early["next"]
            await data(agent, "approve", request_id=request_id, actor=person("bob"))
            rehearsal = {"request_id": request_id, "adapter_id": "subprocess:files", "dry_run": True}
            await data(agent, "execute", **rehearsal)
            assert not target.exists()
            ran = await data(agent, "execute", request_id=request_id, adapter_id="subprocess:files")
            assert ran["steps_executed"] == 1
            assert target.read_text() == "new; $(id)"
            again = await refusal(agent, "execute", request_id=request_id, adapter_id="subprocess:files")
            assert [reason["code"] for reason in again["details"]["reasons"]] == ["ALREADY_EXECUTED"]
            package = await data(agent, "export_audit_package", decision_id=request_id)
            assert package["digest"].startswith("sha256:")
            assert package["summary"]
            assert package["next"]

    asyncio.run(flow())


BAD_CALLS = [
    ("request", {"goal": "g", "min_approvals": "7"}, "min_approvals"),
    ("request", {"goal": "g", "min_approvals": True}, "min_approvals"),
    ("request", {"goal": "g", "secret": "hunter2"}, "secret"),
    ("status", {"request_id": 7}, "request_id"),
    ("template.create", {"name": ""}, "name"),
]


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_a_bad_argument_is_refused_in_both_channels_without_its_value(era: Era, tmp_path: Path) -> None:
    async def call() -> None:
        async with client(folder=tmp_path, era=era) as agent:
            for tool, arguments, field in BAD_CALLS:
                result = await agent.call_tool(f"nexus-control.{tool}", arguments)
                content = content_of(result)
                assert result.is_error
                assert (content["code"], content["details"]["fields"][0]["field"]) == (
                    "INVALID_ARGUMENT",
                    field,
                )
                (text,) = result.content
                assert isinstance(text, TextContent)
                assert json.loads(text.text) == content
                assert "hunter2" not in text.text

    asyncio.run(call())
    assert NexusControlTools(db_path=tmp_path / "store.db").list_requests().data["count"] == 0


def test_an_agent_that_invents_people_gets_nowhere(tmp_path: Path) -> None:
    async def try_it() -> None:
        async with client(folder=tmp_path) as agent:
            request_id = (await data(agent, "request", goal="g", mode="apply"))["request_id"]
            for invented in ("alice", "bob"):
                refused = await refusal(agent, "approve", request_id=request_id, actor=person(invented))
                assert refused["code"] == "ACTOR_MISMATCH"
            alone = await refusal(agent, "approve", request_id=request_id)
            assert alone["code"] == "APPROVAL_NEEDS_A_PERSON"
            store = tmp_path / "store.db"
            assert alone["next"].startswith("Show details.command to a person; do not run it yourself.")
            assert alone["details"]["command"].endswith(f" approve {request_id} --db {store}")
            status = await data(agent, "status", request_id=request_id)
            assert (status["state"], status["active_approvals"]) == ("pending_approval", 0)

    asyncio.run(try_it())


def test_either_style_of_names_is_accepted_and_one_is_advertised(tmp_path: Path) -> None:
    async def look() -> None:
        async with client("--tool-names", "underscore", folder=tmp_path) as agent:
            names = [tool.name for tool in (await agent.list_tools()).tools]
            assert "nexus_control_template_create" in names
            assert all(name.replace("_", "").isalpha() for name in names)
            for name in ("nexus_control_template_list", "nexus-control.template.list"):
                assert content_of(await agent.call_tool(name, {}))["count"] == 0
            with pytest.raises(MCPError, match="There is no tool"):
                await agent.call_tool("nexus_control_destroy", {})

    asyncio.run(look())


def test_a_server_that_only_reads_offers_four_tools_and_needs_a_database(tmp_path: Path) -> None:
    refused = nexus_control("serve", "--db", str(tmp_path / "store.db"), "--read-only")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "needs a database that exists" in " ".join(refused.stderr.split())
    NexusControlTools(db_path=tmp_path / "store.db").store.close()

    async def look() -> None:
        async with client("--read-only", folder=tmp_path) as agent:
            assert {tool.name for tool in (await agent.list_tools()).tools} == {
                "nexus-control.status",
                "nexus-control.inspect",
                "nexus-control.template.get",
                "nexus-control.template.list",
            }
            with pytest.raises(MCPError):
                await agent.call_tool("nexus-control.request", {"goal": "g"})

    asyncio.run(look())


def test_approving_can_be_left_out(tmp_path: Path) -> None:
    async def look() -> None:
        async with client("--approvals", "off", folder=tmp_path) as agent:
            names = [tool.name for tool in (await agent.list_tools()).tools]
        assert len(names) == 10
        assert "nexus-control.approve" not in names

    asyncio.run(look())


def test_signed_approvals_count_where_the_server_is_told_whose(tmp_path: Path) -> None:
    signers = tmp_path / "allowed_signers"
    signers.write_text(f"bob {public_line(ed25519(2)[0])}\n")
    tools = NexusControlTools(db_path=tmp_path / "store.db", allowed_signers=signers)
    asked = data_of(tools.request("g", person("alice"), min_assurance="signed"))["request_id"]
    text = data_of(tools.approval_statement(asked, "bob"))["statement"]
    data_of(tools.approve(asked, person("bob"), statement=text, signature=signed(2, text.encode())))
    tools.store.close()

    async def blocking(*options: str) -> list[str]:
        async with client(*options, folder=tmp_path) as agent:
            status = await data(agent, "status", request_id=asked)
        return [reason["code"] for reason in status["blocking_reasons"]]

    assert asyncio.run(blocking()) == ["IMPORTED_APPROVALS"]
    assert asyncio.run(blocking("--allowed-signers", str(signers))) == []


def test_decisions_and_templates_are_resources(tmp_path: Path) -> None:
    async def look() -> None:
        async with client(folder=tmp_path) as agent:
            request_id = (await data(agent, "request", goal="look at me"))["request_id"]
            await data(agent, "template.create", name="rules")
            for uri, expected in (
                (f"nexus-control://decisions/{request_id}", "look at me"),
                ("nexus-control://templates/rules", "min_approvals"),
            ):
                (content,) = (await agent.read_resource(uri)).contents
                assert expected in str(content)
            for uri in (
                "nexus-control://decisions/none",
                "nexus-control://templates/none",
                "file:///etc/passwd",
            ):
                with pytest.raises(MCPError):
                    await agent.read_resource(uri)
            templates = (await agent.list_resource_templates()).resource_templates
            assert len(templates) == 2

    asyncio.run(look())


def test_the_steps_of_a_run_are_reported_while_it_runs(tmp_path: Path) -> None:
    config = tmp_path / "nexus-control.toml"
    config.write_text(CONFIG)
    heard: list[tuple[float, float | None, str | None]] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async def flow() -> None:
        async with client("--approvals", "declared", "--config", str(config), folder=tmp_path) as agent:
            request = {"goal": "g", "plan": plan("write", text="x", file=str(tmp_path / "f"))}
            request_id = (await data(agent, "request", **request))["request_id"]
            await data(agent, "approve", request_id=request_id)
            arguments = {"request_id": request_id, "adapter_id": "subprocess:files"}
            result = await agent.call_tool("nexus-control.execute", arguments, progress_callback=listen)
            assert not result.is_error

    asyncio.run(flow())
    assert heard == [(0, 1, "step 1 of 1, s1: started"), (1, 1, "step 1 of 1, s1: ok")]


def test_waiting_for_a_status_ends_when_somebody_approves(tmp_path: Path) -> None:
    async def wait() -> None:
        async with client(folder=tmp_path) as agent:
            request_id = (await data(agent, "request", goal="g", mode="apply"))["request_id"]
            other_id = (await data(agent, "request", goal="h", mode="apply"))["request_id"]
            waiting, longer = (
                asyncio.create_task(data(agent, "status", request_id=each, wait_seconds=50))
                for each in (request_id, other_id)
            )
            await data(agent, "status", request_id=request_id)
            with NexusControlTools(db_path=tmp_path / "store.db").store as store:
                assert NexusControlTools(store).approve(request_id, person("bob")).success
            first, _ = await asyncio.wait((waiting, longer), return_when=asyncio.FIRST_COMPLETED)
            assert first == {waiting}
            assert (await waiting)["state"] == "approved"
            longer.cancel()

    asyncio.run(wait())


BAD_OPTIONS = [
    ("--approvals", "all"),
    ("--tool-names", "camel"),
    ("--actor", "robot:r2"),
    ("--config", "nowhere.toml"),
    ("--router", "no_such_module:make"),
    ("--router", "json"),
    ("--router", "builtins:dict"),
    ("--db", "/nowhere/at/all.db"),
    ("--allowed-signers", "nowhere"),
]


@pytest.mark.sample(3)
@pytest.mark.parametrize("options", BAD_OPTIONS, ids=" ".join)
def test_bad_options_end_the_server_with_exit_2_and_nothing_on_stdout(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    ran = nexus_control("serve", *options, folder=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.strip()
    assert "Traceback" not in ran.stderr


def test_a_start_with_a_first_list_costs_at_most_twice_that_of_an_empty_server(tmp_path: Path) -> None:
    async def first_list(server: StdioServerParameters) -> None:
        async with Client(server) as agent:
            await agent.list_tools()

    def cost(server: StdioServerParameters) -> float:
        with by_children() as spent:
            asyncio.run(first_list(server))
        return spent.seconds

    ours = parameters(folder=tmp_path)
    cost(ours)  # makes the database
    # In turns, and the cheapest of each: what else the machine does makes a start dearer, and never cheaper.
    whole, nothing = (
        min(each)
        for each in zip(
            *((cost(ours), cost(an_empty_server())) for _ in range(number_of(3, few=1))), strict=True
        )
    )
    assert whole < 2 * nothing


def test_a_hundred_statuses_cost_the_server_less_than_its_start(tmp_path: Path) -> None:
    async def ask(statuses: int) -> None:
        async with client(folder=tmp_path) as agent:
            request_id = (await data(agent, "request", goal="g"))["request_id"]
            for _ in range(statuses):
                await data(agent, "status", request_id=request_id)

    def cost(statuses: int) -> float:
        with by_children() as spent:
            asyncio.run(ask(statuses))
        return spent.seconds

    cost(0)  # makes the database
    start, read = cost(1), cost(101)
    assert read - start < start
