"""An agent, a person and a worker are three Unix users on one store. The worker alone can read the secret that the
program needs: the agent asks, the person approves, the worker executes, and the agent reads what it gave back.
"""

import json
import os
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.users import User, missing, users

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

CONFIG = """
[adapters.vault]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.vault.tools.rotate]
argv = ["sh", "-c", 'test "$(cat {secret})" = "s3cret" && echo "rotated $1"', "sh", "{{service}}"]
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
