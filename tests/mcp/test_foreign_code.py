"""Routers of somebody else in a real server: what they print, raise and fork is theirs, and the server goes on."""

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from nexus_control import DecisionStore, NexusControlTools
from tests.cli.running import environment, nexus_control
from tests.mcp.by_hand import INITIALIZE, Pipes, served, started
from tests.mcp.python_routers import NOISE, RAISED
from tests.mcp.serving import ERAS, Era
from tests.support.governed import SCHEDULER, approved, data_of

ROUTERS = "tests.mcp.python_routers"
NAMED = "python:any"
PLAN: list[dict[str, object]] = [
    {"step_id": "s1", "intent": "", "call": {"tool": "any", "method": "do", "args": {}}}
]


def serving(router: str, folder: Path, era: Era = "legacy") -> Any:
    return served("--router", f"{ROUTERS}:{router}", "--approvals", "declared", folder=folder, era=era)


def executed(server: Pipes, request_id: str) -> Any:
    return server.answer(server.call("execute", request_id=request_id, adapter_id=NAMED))["result"]


def require_only_protocol(server: Pipes) -> None:
    """The server ends, and what is left to read is of the protocol."""
    assert server.end() == 0
    assert server.process.stdout is not None
    for line in server.process.stdout:
        assert json.loads(line)["jsonrpc"] == "2.0"


@pytest.mark.sample(1)
@pytest.mark.parametrize("era", ERAS)
def test_what_a_router_and_its_children_print_at_any_time_is_in_the_log(era: Era, tmp_path: Path) -> None:
    request_id = approved(NexusControlTools(db_path=tmp_path / "store.db"))
    with serving("noisy", tmp_path, era) as server:
        assert not executed(server, request_id).get("isError")
        require_only_protocol(server)
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    # five times at each of: the factory, the capabilities, the run
    assert log.count(NOISE) >= 15


@pytest.fixture(scope="module")
def wilful(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Pipes, Path]]:
    folder = tmp_path_factory.mktemp("wilful")
    with serving("wilful", folder) as server:
        yield server, folder
        require_only_protocol(server)


@pytest.mark.parametrize("raised", RAISED)
@pytest.mark.parametrize("where", ["run", "capabilities", "digest", "check", "describe", "export"])
def test_whatever_a_router_raises_is_an_answer_to_that_call(
    where: str, raised: str, wilful: tuple[Pipes, Path]
) -> None:
    server, folder = wilful
    request_id = approved(NexusControlTools(db_path=folder / "store.db"))
    (folder / "raises").write_text(raised)
    (folder / "where").write_text(where)
    calls = [
        server.call("request", goal="g", mode="apply", adapter_id=NAMED, plan=PLAN),
        server.call("inspect", decision_id=request_id),
        server.send("resources/read", {"uri": f"nexus-control://decisions/{request_id}"}),
    ]
    assert all("result" in server.answer(number) or where == "describe" for number in calls)
    answer = executed(server, request_id)
    if where in ("run", "capabilities", "digest"):
        assert answer["isError"]
        assert answer["structuredContent"]["next"]
    (folder / "where").write_text("nowhere")
    assert not executed(server, approved(NexusControlTools(db_path=folder / "store.db"))).get("isError")


def test_whatever_a_router_raises_while_a_form_is_made_is_an_answer(tmp_path: Path) -> None:
    with started("--router", f"{ROUTERS}:wilful", folder=tmp_path) as server:
        server.answer(server.send("initialize", {**INITIALIZE, "capabilities": {"elicitation": {}}}))
        (tmp_path / "where").write_text("nowhere")
        made = server.answer(
            server.call("request", goal="g", mode="apply", adapter_id=NAMED, plan=PLAN, min_approvals=1)
        )
        request_id = made["result"]["structuredContent"]["request_id"]
        (tmp_path / "where").write_text("describe")
        for raised in RAISED:
            (tmp_path / "raises").write_text(raised)
            number = server.call("approve", request_id=request_id)
            while (message := server.next_message()).get("id") != number or "method" in message:
                if message.get("method") == "elicitation/create":  # the form is shown without the description
                    server.write(
                        json.dumps(
                            {"jsonrpc": "2.0", "id": message["id"], "result": {"action": "cancel"}}
                        ).encode()
                    )
            assert message["result"]["isError"]
        require_only_protocol(server)


BAD_FACTORIES = [
    (f"{ROUTERS}:exiting", "SystemExit: 3"),
    (f"{ROUTERS}:failing", "KeyError: 'NO_SUCH_VARIABLE'"),
    ("exits_at_import:make", "SystemExit: gone"),
    ("no_python:make", "SyntaxError"),
]


@pytest.mark.sample(2)
@pytest.mark.parametrize(("router", "said"), BAD_FACTORIES)
def test_a_router_that_cannot_be_made_ends_the_server_with_2_and_one_line(
    router: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "exits_at_import.py").write_text("import sys\nprint('noise')\nsys.exit('gone')\n")
    (tmp_path / "no_python.py").write_text("this is no Python\n")
    ran = nexus_control("serve", "--db", "store.db", "--router", router, folder=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in " ".join(ran.stderr.split())
    assert router in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "store.db").exists()


def test_children_that_a_router_forks_have_no_pipe_of_the_client_and_end_without_the_server(
    tmp_path: Path,
) -> None:
    request_id = approved(NexusControlTools(db_path=tmp_path / "store.db"))
    with serving("forking", tmp_path) as server:
        assert not executed(server, request_id).get("isError")
        assert (tmp_path / "server").read_text() == str(server.process.pid)
        assert (tmp_path / "returned").read_text() == str(1 << 8)
        status = server.answer(server.call("status", request_id=request_id))["result"]["structuredContent"]
        assert status["state"] == "completed"
        require_only_protocol(server)
    assert NOISE in (tmp_path / "log").read_text()


def test_a_child_that_a_factory_forks_is_no_second_server(tmp_path: Path) -> None:
    request_id = approved(NexusControlTools(db_path=tmp_path / "store.db"))
    with serving("forked_in_factory", tmp_path) as server:
        assert (tmp_path / "child").read_text() == str(1 << 8)
        assert not executed(server, request_id).get("isError")
        require_only_protocol(server)


def test_an_answer_that_is_no_unicode_is_an_error_and_the_server_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nexus_control", "serve", "--db", "d.db", "--artifacts", b"\xff"]
    with DecisionStore(tmp_path / "d.db") as store:
        asked = NexusControlTools(store).request(
            "g", SCHEDULER, plan="x" * 9000
        )  # so that its bundle is a file
    exported = {"decision_id": data_of(asked)["request_id"]}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("initialize", INITIALIZE),
        ("tools/call", {"name": "nexus-control.export_bundle", "arguments": exported}),
        ("ping", {}),
    ]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said: list[Any] = []
        for number, (method, params) in enumerate(calls):
            line = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            process.stdin.write(json.dumps(line).encode() + b"\n")
            process.stdin.flush()
            said.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.wait(240) == 0
    assert [answer["id"] for answer in said] == [0, 1, 2]
    assert said[1]["error"]["code"] == -32603
    assert "result" in said[2]


def test_input_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\nno JSON')
    with (tmp_path / "lines").open("rb") as lines:
        ran = subprocess.run(
            [sys.executable, "-m", "nexus_control", "serve", "--db", "store.db"],
            cwd=tmp_path,
            env=environment(),
            stdin=lines,
            capture_output=True,
            timeout=240,
        )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"-32700" in ran.stdout


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_server_whose_pipe_is_closed_says_so_and_opens_nothing(closed: str, tmp_path: Path) -> None:
    command = f'exec "$0" -m nexus_control serve --db store.db {closed}'
    ran = subprocess.run(
        ["sh", "-c", command, sys.executable],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "is closed" in " ".join(ran.stderr.split())
    assert not (tmp_path / "store.db").exists()


def test_a_server_without_standard_error_serves(tmp_path: Path) -> None:
    command = 'exec "$0" -m nexus_control serve --db store.db 2>&-'
    ran = subprocess.run(
        ["sh", "-c", command, sys.executable],
        cwd=tmp_path,
        env=environment(),
        input='{"jsonrpc":"2.0","id":1,"method":"server/discover"}\nno JSON\n',
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0
    assert [json.loads(line)["error"]["code"] for line in ran.stdout.splitlines()] == [-32601, -32700]
    assert data_of(NexusControlTools(db_path=tmp_path / "store.db").list_requests())["count"] == 0


@pytest.mark.sample(1)
@pytest.mark.parametrize("router", ["noisy", "forked_once"])
@pytest.mark.parametrize("command", ["execute", "call"])
def test_a_command_answers_with_one_document_whatever_its_router_prints_and_forks(
    tmp_path: Path, command: str, router: str
) -> None:
    with DecisionStore(tmp_path / "d.db") as store:
        request_id = approved(NexusControlTools(store), plan=json.dumps(PLAN))
    arguments = json.dumps({"request_id": request_id, "adapter_id": NAMED})
    asked = {
        "execute": ("execute", request_id, "--adapter", NAMED, "--as", "system:scheduler", "--json"),
        "call": ("call", "nexus-control.execute", "--arguments", arguments),
    }
    ran = nexus_control(*asked[command], "--db", "d.db", "--router", f"{ROUTERS}:{router}", folder=tmp_path)
    assert json.loads(ran.stdout)["run_id"], ran.stderr
    assert ran.returncode == 0
