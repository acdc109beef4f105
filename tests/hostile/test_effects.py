"""What a failure says of its effect, from the exception in a step to the advice that people and models get."""

import http.client
import threading
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.values.results import ToolResult
from tests.execution.support import eventually, plan, step
from tests.support.governed import ADAPTER, SCHEDULER, approved, data_of, last_event, reasons, require_whole
from tests.support.routers import ScriptedRouter


def derived(name: str, *ancestors: str, root: type[Exception] = Exception) -> type[Exception]:
    """A class of this name over classes of these names, nearest first: what another library's exception looks like."""
    base: Any = root
    for each in reversed((name, *ancestors)):
        base = type(each, (base,), {})
    return base


UNKNOWN, FAILED = "outcome_unknown", "failed"
LIBRARIES: dict[str, tuple[type[Exception], str]] = {
    "requests.ReadTimeout": (derived("ReadTimeout", "Timeout", "RequestException", root=OSError), UNKNOWN),
    "requests.ConnectionError": (derived("ConnectionError", "RequestException", root=OSError), UNKNOWN),
    "requests.SSLError": (derived("SSLError", "ConnectionError", "RequestException", root=OSError), UNKNOWN),
    "requests.HTTPError": (derived("HTTPError", "RequestException", root=OSError), FAILED),
    "httpx.ReadTimeout": (
        derived("ReadTimeout", "TimeoutException", "TransportError", "RequestError", "HTTPError"),
        UNKNOWN,
    ),
    "httpx.HTTPStatusError": (derived("HTTPStatusError", "HTTPError"), FAILED),
    "urllib3.ReadTimeoutError": (
        derived("ReadTimeoutError", "TimeoutError", "RequestError", "PoolError", "HTTPError"),
        UNKNOWN,
    ),
    "urllib3.LocationParseError": (derived("LocationParseError", "LocationValueError", "HTTPError"), FAILED),
    "botocore.ReadTimeoutError": (derived("ReadTimeoutError", "HTTPClientError", "BotoCoreError"), UNKNOWN),
    "botocore.EndpointConnectionError": (
        derived("EndpointConnectionError", "ConnectionError", "BotoCoreError"),
        UNKNOWN,
    ),
    "botocore.ClientError": (derived("ClientError"), FAILED),
    "redis.TimeoutError": (derived("TimeoutError", "RedisError"), UNKNOWN),
    "redis.ResponseError": (derived("ResponseError", "RedisError"), FAILED),
    "http.client.RemoteDisconnected": (http.client.RemoteDisconnected, UNKNOWN),
    "http.client.BadStatusLine": (http.client.BadStatusLine, FAILED),
}


def require_told(
    tools: NexusControlTools, request_id: str, told: ToolResult[Any], state: str, effect: str
) -> None:
    """State, effect and advice, in the answer and in every view."""
    assert told.error_code == {UNKNOWN: "OUTCOME_UNKNOWN", FAILED: "ROUTER_ERROR"}[state]
    assert told.details["effect"] == effect
    assert ("make a new request" in (told.next or "")) == (effect == "none")
    assert effect == "none" or "ind out" in (told.next or ""), told.next
    status = data_of(tools.status(request_id))
    assert (status["state"], status["executions"][-1]["effect"]) == (state, effect)
    assert data_of(tools.inspect(request_id))["execution"][-1]["effect"] == effect
    again = tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(dict))
    assert reasons(again) == ["OUTCOME_UNKNOWN" if state == UNKNOWN else "EXECUTION_FAILED"]
    assert "call execute again" not in (again.next or "")
    assert ("make a new request" in (again.next or "")) == (effect == "none")
    require_whole(tools.store, request_id)


def in_a_step(error: type[Exception], **more: Any) -> tuple[NexusControlTools, str, ToolResult[Any]]:
    def refund() -> None:
        raise error("no answer")

    router = LocalRouter([PythonAdapter("keys", {"refund": refund, "look": lambda: 1}, **more)])
    return run_steps(router, step("refund"))


def run_steps(router: LocalRouter, *steps: dict[str, Any]) -> tuple[NexusControlTools, str, ToolResult[Any]]:
    tools = NexusControlTools()
    request_id = approved(tools, plan=plan(*steps))
    return tools, request_id, tools.execute(request_id, ADAPTER, SCHEDULER, router)


@pytest.mark.parametrize(("error", "state"), LIBRARIES.values(), ids=LIBRARIES)
def test_an_exception_of_a_step_is_read_by_its_ancestry(error: type[Exception], state: str) -> None:
    tools, request_id, told = in_a_step(error)
    require_told(tools, request_id, told, state, "unknown")
    assert told.details["run_id"] is not None


@pytest.mark.parametrize(("error", "state"), LIBRARIES.values(), ids=LIBRARIES)
def test_an_exception_of_a_router_is_read_by_its_ancestry(error: type[Exception], state: str) -> None:
    def fail() -> object:
        raise error("no answer")

    tools = NexusControlTools()
    request_id = approved(tools)
    told = tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(fail))
    require_told(tools, request_id, told, state, "unknown")


def test_a_harmless_exception_says_that_nothing_was_done_unless_an_earlier_step_was() -> None:
    tools, request_id, told = in_a_step(LookupError, harmless=[LookupError])
    require_told(tools, request_id, told, FAILED, "none")

    def fail() -> None:
        raise LookupError

    adapter = PythonAdapter("keys", {"look": lambda: 1, "fail": fail}, harmless=[LookupError])
    tools, request_id, told = run_steps(LocalRouter([adapter]), step("look", "s1"), step("fail", "s2"))
    require_told(tools, request_id, told, FAILED, "done")


@contextmanager
def acting_server() -> Generator[tuple[int, list[bytes], threading.Event]]:
    """A server that acts on what it is sent, and answers only when it is let go on."""
    acted, go_on = list[bytes](), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            acted.append(self.rfile.read(int(self.headers["Content-Length"])))
            go_on.wait(240)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, acted, go_on
    finally:
        go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_that_acts_and_never_answers_leaves_the_outcome_unknown() -> None:
    with acting_server() as (port, acted, _):

        def refund(amount: int) -> str:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/refund", data=str(amount).encode())
            with urllib.request.urlopen(request, timeout=0.5) as answer:
                return answer.read().decode()

        tools, request_id, told = run_steps(
            LocalRouter([PythonAdapter("keys", {"refund": refund})]), step("refund", amount=5)
        )
        require_told(tools, request_id, told, UNKNOWN, "unknown")
        assert eventually(lambda: acted == [b"5"])


def refuse() -> None:
    raise ValueError("no")


@pytest.mark.parametrize("fails", [refuse, lambda: (_ for _ in ())], ids=["raises", "is left to others"])
def test_a_failed_rehearsal_leaves_the_decision_approved_and_says_so(fails: Callable[[], object]) -> None:
    dry_run = {"rotate": fails}
    router = LocalRouter([PythonAdapter("keys", {"rotate": lambda: 1}, dry_run_methods=dry_run)])
    tools = NexusControlTools()
    request_id = approved(tools, plan=plan(step("rotate")))
    told = tools.execute(request_id, ADAPTER, SCHEDULER, router, dry_run=True)
    assert (told.error_code, told.details["effect"]) == ("ROUTER_ERROR", "none")
    assert "still approved" in (told.next or "")
    assert "new request" not in (told.next or "")
    assert data_of(tools.status(request_id))["state"] == "approved"
    assert data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))["steps_executed"] == 1


def test_a_failure_that_older_versions_recorded_without_an_effect_reads_as_unknown() -> None:
    tools = NexusControlTools()
    request_id = approved(tools)
    tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(lambda: {"run_id": "r", "error": "no"}))
    payload = dict(last_event(tools.store, request_id).payload)
    assert payload.pop("effect") == "unknown"
    older = approved(tools)
    for event_type, recorded in (
        ("EXECUTION_REQUESTED", {"adapter_id": ADAPTER, "dry_run": False}),
        ("EXECUTION_STARTED", {"router_request_digest": "0" * 64}),
        ("EXECUTION_FAILED", payload),
    ):
        tools.store.append_event(older, event_type, SCHEDULER, recorded)
    for each in (request_id, older):
        assert data_of(tools.status(each))["executions"][-1]["effect"] == "unknown"
        require_whole(tools.store, each)
