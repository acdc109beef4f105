"""A session with a server: its deadlines, its end, and what stands on the wire."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import Implementation

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.mcp_adapter import McpAdapter
from nexus_control.execution.mcp_client import Conversation
from nexus_control.execution.mcp_session import difference
from nexus_control.execution.plan import Call
from nexus_control.execution.process_settings import ProcessSettings
from nexus_control.execution.revealing import revealing
from nexus_control.execution.secrets import SecretSource
from nexus_control.execution.stopping import Order, Stop, heeding
from nexus_control.execution.tool_pins import pin_of
from tests.execution.support import step
from tests.execution.test_mcp_adapter import SERVER, Downstream

SDK_SERVER = Path(__file__).with_name("sdk_downstream.py")
PUT = Call(tool="files", method="put", args={"text": "one"})


@pytest.fixture
def downstream(tmp_path: Path) -> Downstream:
    return Downstream(tmp_path)


def opened(downstream: Downstream, mode: str) -> McpAdapter:
    """The adapter of a server that does this."""
    (downstream.folder / "mode").write_text(mode)
    return downstream.adapter(downstream.pins, timeout_seconds=60)


def test_a_start_has_one_deadline_and_each_step_has_one(
    downstream: Downstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, float]] = []

    def noted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def asked(self: Conversation, *args: Any) -> Any:
            seen.append((name, args[-1]))
            return method(self, *args)

        return asked

    for name in ("open", "listed", "call"):
        monkeypatch.setattr(Conversation, name, noted(name, getattr(Conversation, name)))
    steps = [step("put", step_id, "files", text=step_id) for step_id in ("one", "two")]
    assert downstream.executed("says it changed", *steps)[1] == "completed"
    assert [name for name, _ in seen] == ["open", "listed", "call", "listed", "call"]
    start, listed, first, again, second = (deadline for _, deadline in seen)
    assert start == listed < first < again == second


def test_a_server_may_end_by_itself_where_the_block_raises(downstream: Downstream) -> None:
    adapter = opened(downstream, "takes its leave")
    with pytest.raises(ZeroDivisionError), adapter.opened([PUT]):
        raise ZeroDivisionError
    assert (downstream.folder / "left").exists()


class Cancelled:
    def given(self, *, at_once: bool) -> Order:
        return Order("cancel", "ada cancelled it")


@pytest.mark.parametrize(("is_cancel", "why"), [(False, "the server ends"), (True, "ada cancelled it")])
def test_an_order_to_stop_in_the_start_is_told_as_that(
    downstream: Downstream, is_cancel: bool, why: str
) -> None:
    stop = Stop()
    stop.order(why)
    adapter = opened(downstream, "never answers")
    with (
        heeding(Cancelled() if is_cancel else stop),
        pytest.raises(NexusControlError) as refused,
        adapter.opened([PUT]),
    ):
        pass
    assert refused.value.code is ErrorCode.ROUTER_NOT_READY
    assert refused.value.message == f"the MCP server of mcp:files was killed because {why}"


def test_an_older_pin_that_holds_a_secret_is_compared_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "tok_4f9a8c7d6e5b")
    old = pin_of({"description": "x" * 195 + "tok_4f9a8c7d6e5b", "title": "Puts"})
    new = pin_of({"description": "x" * 195 + "{secret:TOKEN}", "title": "Puts"})
    other = pin_of({"description": "y", "title": "Puts"})
    with revealing({"TOKEN": SecretSource(variable="TOKEN")}):
        assert difference(old, old) == ()
        assert difference(old, new) == ("only the value of a secret, which a pin does not hold any more",)
        assert "tok" not in "".join(difference(old, other))


def test_a_large_call_is_written_whole_to_a_server_that_reads_slowly(downstream: Downstream) -> None:
    adapter, text = opened(downstream, "reads slowly"), "x" * 1_000_000
    call = Call(tool="files", method="put", args={"text": text})
    with adapter.opened([call]):
        assert adapter.execute(call, dry_run=False).status == "ok"
    assert downstream.effects() == [text]


SERVERS = {
    "with a handshake": ["-I", "-S", str(SERVER)],
    "without a handshake": [str(SDK_SERVER)],
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_call_carries_what_the_client_of_the_sdk_would_send(tmp_path: Path, name: str) -> None:
    words = [*SERVERS[name], str(tmp_path / "effect") if "without" in name else str(tmp_path)]

    async def theirs() -> Any:
        server = stdio_client(StdioServerParameters(command=sys.executable, args=words))
        who = Implementation(name="nexus-control", version="2")
        async with Client(server, client_info=who) as client:
            result = await client.call_tool("put", {"text": "theirs"})
        return json.loads(result.content[0].text)  # type: ignore[union-attr] # both servers answer with a text

    settings = ProcessSettings(base=tmp_path, timeout_seconds=60)
    declared: dict[str, Any] = {"tools": ["put"], "capabilities": ["apply"], "settings": settings}
    found = McpAdapter("files", [sys.executable, *words], pins={}, **declared).found()
    pins = {tool: each.pin for tool, each in found.items()}
    adapter = McpAdapter("files", [sys.executable, *words], pins=pins, **declared)
    output: Any = adapter.execute(PUT, dry_run=False).output
    ours = json.loads(output["content"][0]["text"])
    assert ours == anyio.run(theirs)
    assert bool(ours) == ("without" in name)
