"""An agent, a person and a worker are three Unix users on one store. The worker alone can read the secret that the
program needs: the agent asks, the person approves, the worker executes, and the agent reads what it gave back.
"""

import json
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from tests.cli.running import with_a_terminal
from tests.execution.support import eventually
from tests.mcp.by_hand import INITIALIZE, Pipes
from tests.support.users import User, missing, users

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

CONFIG = """
[adapters.vault]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.vault.tools.rotate]
argv = ["sh", "-c", 'test "$(cat {secret})" = "s3cret" && echo "rotated $1"', "sh", "{{service}}"]
"""
VALUE = "tok_4f9a8c7d6e5b"
WITH_A_SECRET = """
[secrets.KEYS]
file = "keys.secret"
[adapters.keys]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
cwd = "work"
[adapters.keys.tools.rotate]
args = { service = "str", token = "secret" }
env = { TOKEN = "{token}" }
argv = ["sh", "-c", 'echo $$ > running; until [ -e go ]; do sleep 0.1; done; echo "$1 $TOKEN"', "sh", "{service}"]
dry_run_argv = ["sh", "-c", 'echo "would rotate $1 with $TOKEN"', "sh", "{service}"]
"""


@dataclass(frozen=True)
class Place:
    folder: Path
    agent: User
    person: User
    worker: User

    @property
    def database(self) -> Path:
        return self.folder / "store" / "decisions.db"

    @property
    def config(self) -> Path:
        return self.worker.home / "nexus-control.toml"

    @property
    def secret(self) -> Path:
        return self.worker.home / "secret"

    def run(self, user: User, *words: str, code: int = 0) -> str:
        ran = user.run(
            str(user.python),
            "-m",
            "nexus_control",
            *words,
            changes={"NEXUS_CONTROL_DB": str(self.database)},
            mask=0o002,
        )
        assert ran.returncode == code, (words, ran.stdout, ran.stderr)
        return ran.stdout

    def call(self, tool: str, code: int = 0, /, **arguments: object) -> dict[str, Any]:
        """The agent calls a tool, as its server does: without adapters."""
        given = ("call", tool, "--as", "system:agent", "--arguments", json.dumps(arguments))
        return json.loads(self.run(self.agent, *given, code=code))

    def worked(self) -> list[dict[str, Any]]:
        out = self.run(self.worker, "worker", "--once", "--config", str(self.config))
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(scope="module")
def place() -> Generator[Place]:
    folder = Path(tempfile.mkdtemp())  # tmp_path is for its owner alone
    folder.chmod(0o755)
    with users(folder, ("agent", "person", "worker"), ()) as (group, (agent, person, worker)):
        made = Place(folder, agent, person, worker)
        (folder / "store").mkdir()
        os.chown(folder / "store", person.number, -1)
        made.run(person, "init", "--group", group)
        worker.home.chmod(0o700)
        made.secret.write_text("s3cret\n")
        made.config.write_text(
            CONFIG.replace("{secret}", str(made.secret)).replace("{{", "{").replace("}}", "}")
        )
        for each in (made.secret, made.config):
            os.chown(each, worker.number, -1)
            each.chmod(0o600)
        yield made


def test_the_agent_asks_the_person_approves_the_worker_executes_and_the_agent_reads_the_result(
    place: Place,
) -> None:
    call = {"tool": "vault", "method": "rotate", "args": {"service": "billing"}}
    plan = [{"step_id": "s1", "intent": "rotate", "call": call}]
    asked = {"goal": "New keys", "mode": "apply", "plan": plan}
    request_id = place.call("request", **asked, adapter_id="subprocess:vault", dispatch="worker")[
        "request_id"
    ]
    assert place.worked() == []
    place.run(place.person, "approve", request_id, "--yes")
    refused = place.call("execute", 1, request_id=request_id, adapter_id="subprocess:vault")
    assert [each["code"] for each in refused["details"]["reasons"]] == ["DISPATCH_BY_WORKER"]
    for person in (place.agent, place.person):
        assert person.run("cat", str(place.secret)).returncode != 0
        assert person.run("cat", str(place.config)).returncode != 0
    (line,) = place.worked()
    assert (line["request_id"], line["outcome"], line["effect"]) == (request_id, "completed", "done")
    status = place.call("status", request_id=request_id)
    assert status["state"] == "completed"
    assert status["execution"]["results"][0]["output"] == "rotated billing\n"
    kept = [each for each in place.database.parent.rglob("*") if each.is_file()]
    assert kept
    assert not [each for each in kept if b"s3cret" in each.read_bytes()]


@contextmanager
def serving(place: Place) -> Generator[Pipes]:
    """The agent's MCP server, under the agent's user: it has a store, and neither configuration nor credential."""
    words = [str(place.agent.python), "-m", "nexus_control", "serve", "--db", str(place.database)]
    pipe, settings = subprocess.PIPE, place.agent.settings(mask=0o002)
    with subprocess.Popen(words, **settings, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        try:
            pipes = Pipes(
                cast("Any", process), "legacy"
            )  # of bytes, which its settings hide from the type checker
            pipes.answer(pipes.send("initialize", INITIALIZE))
            yield pipes
        finally:
            process.kill()


@contextmanager
def working(place: Place) -> Generator["subprocess.Popen[str]"]:
    """A worker under the worker's user, which is killed at the end of the block if it has not ended."""
    words = [str(place.worker.python), "-m", "nexus_control", "worker", "--db", str(place.database)]
    words += ["--config", str(place.worker.home / "with-a-secret.toml"), "--poll", "1s"]
    out = subprocess.PIPE
    settings = place.worker.settings(mask=0o002)
    with subprocess.Popen(words, **settings, stdin=subprocess.DEVNULL, stdout=out, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def told(pipes: Pipes, tool: str, **arguments: object) -> dict[str, Any]:
    """What the agent's tool answers."""
    result = pipes.answer(pipes.call(tool, **arguments))["result"]
    assert not result.get("isError"), result
    return result["structuredContent"]


def waited(pipes: Pipes, answer: dict[str, Any], state: str) -> dict[str, Any]:
    """Makes the calls that the answers name, all of them a status that waits, until the decision is in this state."""
    while True:
        call = answer["details"]["call"]
        assert call["tool"] == "nexus-control.status"
        answer = told(pipes, "status", **call["arguments"])
        codes = [each["code"] for each in answer["blocking_reasons"]]
        if answer["state"] == state and "REHEARSAL_REQUIRED" not in codes:
            return answer


def approved_at_a_terminal(place: Place, command: str) -> str:
    """What a person sees who types the command that their agent showed them, and says yes."""
    settings = place.person.settings({"COLUMNS": "100", "TERM": "xterm-256color"}, mask=0o002)
    folder, known = settings.pop("cwd"), settings.pop("env")
    ran = with_a_terminal(shlex.split(command), known, folder=folder, typed="y\n", settings=settings)
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def require_unreadable(place: Place, running: int) -> None:
    """The agent reads neither the secret, nor its configuration, nor the environment of any process of the worker."""
    processes = [
        each
        for each in Path("/proc").iterdir()
        if each.name.isdecimal() and owner(each) == place.worker.number
    ]
    assert f"/proc/{running}" in map(str, processes)
    closed = [each / "environ" for each in processes]
    closed += [place.worker.home / name for name in ("keys.secret", "with-a-secret.toml")]
    for path in closed:
        assert place.worker.run("cat", str(path)).returncode == 0 or not path.exists()
        assert place.agent.run("cat", str(path)).returncode != 0, path


def owner(process: Path) -> int | None:
    try:
        return process.stat().st_uid
    except FileNotFoundError:
        return None


def test_an_agent_without_any_credential_gets_its_work_done_and_the_value_is_nowhere(place: Place) -> None:
    files = {"with-a-secret.toml": WITH_A_SECRET, "keys.secret": VALUE + "\n"}
    for name, text in files.items():
        (place.worker.home / name).write_text(text)
        (place.worker.home / name).chmod(0o600)
        os.chown(place.worker.home / name, place.worker.number, -1)
    work = place.worker.home / "work"
    work.mkdir(mode=0o700)
    os.chown(work, place.worker.number, -1)
    args = {"service": "billing", "token": "{secret:KEYS}"}
    plan = [{"step_id": "1", "intent": "rotate", "call": {"tool": "keys", "method": "rotate", "args": args}}]
    asked = {"goal": "New keys", "mode": "apply", "plan": plan, "adapter_id": "subprocess:keys"}
    heard: list[Any] = []
    with serving(place) as agent, working(place) as worker:
        lines = worker.stdout
        assert lines is not None
        request = told(
            agent, "request", **asked, dispatch="worker", require_rehearsal={"max_age_seconds": 3600}
        )
        request_id = request["request_id"]
        status = waited(agent, request, "pending_approval")
        rehearsed = json.loads(lines.readline())
        assert (rehearsed["what"], rehearsed["outcome"]) == ("rehearse", "completed")
        shown = approved_at_a_terminal(place, status["details"]["command"])
        assert "would rotate billing with {secret:KEYS}" in shown
        assert eventually((work / "running").exists, seconds=240)
        require_unreadable(place, int((work / "running").read_text()))
        (work / "go").touch()
        executed = json.loads(lines.readline())
        assert (executed["what"], executed["outcome"]) == ("execute", "completed")
        status = told(agent, "status", request_id=request_id, wait_seconds=50)
        assert status["state"] == "completed"
        assert status["execution"]["results"][0]["output"] == "billing {secret:KEYS}\n"
        package = told(agent, "export_audit_package", decision_id=request_id)
        bundle = told(agent, "export_bundle", decision_id=request_id)
        inspected = told(agent, "inspect", decision_id=request_id)
        heard += [rehearsed, executed, request, status, package, bundle, inspected, shown, agent.answers]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(240) == 0
    assert VALUE not in json.dumps(heard)
    kept = [each for each in place.folder.rglob("*") if each.is_file() and "python" not in each.parts]
    holding = [each for each in kept if VALUE.encode() in each.read_bytes()]
    assert holding == [place.worker.home / "keys.secret"]
