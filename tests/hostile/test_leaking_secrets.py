"""Six ways in which a secret's value can leak: the database, the run log, exports and reports, feed and logs, error
texts, the process list. Programs tell their secrets in every way; real commands carry everything out, and the bytes of
the values are looked for in all that is left and shown.
"""

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nexus_control import LocalRouter, NexusControlTools, load_adapters
from tests.cli.running import environment, nexus_control
from tests.execution.support import eventually, lives, plan, step
from tests.hostile import leaking
from tests.mcp.by_hand import served

OWN = 'hunter-2 "of the äccount" \\ nine'
TOKEN = "tok_4f9a8c7d6e5b4a39"
WORDS = "correct&horse/battery<staple>'"
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----"
VALUES = (OWN, TOKEN, WORDS, PEM)
NEEDLES = [
    *(line.encode() for value in VALUES for line in value.split("\n")),
    *(json.dumps(value)[1:-1].encode() for value in VALUES),
    b"hunter-2",
    b"tok_4f9a",
    b"correct&",
    b"MIIEvQ",
    b"gSjAgEAAoIB",
]
CONFIG = """
[secrets.OWN]
variable = "OUR_OWN"
[secrets.TOKEN]
file = "token"
[secrets.WORDS]
command = ["cat", "words"]
[secrets.PEM]
file = "pem"
[adapters.keys]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
max_output_bytes = MOST
record_output = "RECORD"
env = { OWN = "{secret:OWN}" }
[adapters.keys.tools.tell]
argv = ["PYTHON", "leaking.py", "{word}", "{which}", "{shift}"]
dry_run_argv = ["PYTHON", "leaking.py", "{word}", "{which}", "{shift}"]
args = { word = "str", which = "int", shift = "int", token = "secret", words = "secret", pem = "secret" }
env = { API_TOKEN = "Bearer {token}" }
stdin = "{words}"
files = { PEM_FILE = "{pem}" }
"""
NAMED = {"token": "{secret:TOKEN}", "words": "{secret:WORDS}", "pem": "{secret:PEM}"}


@dataclass
class Office:
    """A folder with a store and a configuration, and everything that commands have shown."""

    folder: Path
    shown: list[bytes] = field(default_factory=list[bytes])

    def configure(self, most: int = 1_000_000, record: str = "whole") -> None:
        text = CONFIG.replace("PYTHON", sys.executable).replace("MOST", str(most)).replace("RECORD", record)
        (self.folder / "keys.toml").write_text(text)
        (self.folder / "leaking.py").write_bytes(Path(leaking.__file__).read_bytes())
        for name, value in (("token", TOKEN + "\n"), ("words", WORDS + "\n"), ("pem", PEM + "\n")):
            (self.folder / name).write_text(value)

    def run(self, *words: str, code: int | None = 0) -> str:
        changes = {"OUR_OWN": OWN, "NEXUS_CONTROL_DB": "store.db", "TMPDIR": str(self.folder / "tmp")}
        ended = nexus_control(*words, folder=self.folder, changes=changes)
        self.shown += [ended.stdout.encode(), ended.stderr.encode()]
        assert code is None or ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout

    def asked(self, word: str, which: int = 0, shift: int = 0) -> str:
        text = plan(step("tell", word=word, which=which, shift=shift, **NAMED))
        (self.folder / "plan.json").write_text(text)
        words = ("--mode", "apply", "--plan-file", "plan.json", "--adapter", "subprocess:keys")
        answer = self.run(
            "request", "Tell", *words, "--as", "system:agent", "--config", "keys.toml", "--json"
        )
        request_id: str = json.loads(answer)["request_id"]
        self.run("approve", request_id, "--as", "human:bob", "--yes", "--config", "keys.toml")
        return request_id

    def execute(self, request_id: str, *words: str, code: int | None) -> None:
        self.run("execute", request_id, "--as", "system:agent", "--config", "keys.toml", *words, code=code)

    def look(self, request_id: str) -> None:
        """Every view and every document of a request."""
        for words in (
            ("inspect", request_id),
            ("run", "show", request_id, "--full"),
            ("events",),
            ("doctor",),
            ("adapter", "show", "keys", "--config", "keys.toml"),
            ("export", request_id, "-o", "bundle.json"),
            ("audit", request_id, "-o", "package.json"),
            ("report", request_id, "-o", "report.html"),
        ):
            self.run(*words, code=None)

    def leaks(self) -> list[str]:
        """Where a value is: in what was shown, or in a file that is not where a value comes from."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        places = [
            (str(path), path.read_bytes()) for path in files if path.name not in ("token", "words", "pem")
        ]
        places += [("shown", text) for text in self.shown]
        return [f"{needle!r} in {place}" for place, text in places for needle in NEEDLES if needle in text]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    (tmp_path / "tmp").mkdir()
    made = Office(tmp_path)
    made.configure()
    return made


def test_no_value_is_in_the_store_the_run_log_a_document_a_view_or_an_error(office: Office) -> None:
    failed, request_id = office.asked("fail"), office.asked("ok")
    office.execute(failed, code=1)
    office.run("run", "show", failed)
    office.run("audit", failed, "-o", "failed.json")
    office.execute(request_id, "--dry-run", code=0)
    office.execute(request_id, code=0)
    office.look(request_id)
    assert {path.name for path in office.folder.iterdir()} >= {"store.db", "store.db.runs", "report.html"}
    assert office.leaks() == []
    told = b"".join(office.shown)
    for name in (b"OWN", b"TOKEN", b"WORDS", b"PEM"):
        assert b"{secret:" + name + b"}" in told


def test_a_digest_of_an_output_is_of_the_masked_text(office: Office) -> None:
    office.configure(record="digest")
    request_id = office.asked("ok")
    office.execute(request_id, code=0)
    first = json.loads(office.run("run", "show", request_id, "--json"))["results"][0]["output"]
    (office.folder / "token").write_text(TOKEN[:-1] + "0\n")  # what is masked alike has one digest
    again = office.asked("ok")
    office.execute(again, code=0)
    assert json.loads(office.run("run", "show", again, "--json"))["results"][0]["output"] == first
    assert office.leaks() == []


@pytest.mark.parametrize("which", range(len(VALUES)))
def test_no_part_of_a_value_is_left_where_an_output_is_cut(office: Office, which: int) -> None:
    office.configure(most=leaking.WHOLE)
    router = LocalRouter(load_adapters(office.folder / "keys.toml"))
    value = VALUES[which]
    with pytest.MonkeyPatch.context() as patched, router:
        patched.setenv("OUR_OWN", OWN)
        for shift in (1, 5, len(value.encode()) - 1, len(value.encode()) + 7):
            steps = plan(step("tell", word="cut", which=which, shift=shift, **NAMED))
            result = router.run("tell", "subprocess:keys", False, steps)["results"][0]
            assert result["output"]["truncated"] is True
            left = result["output"]["stdout"].rstrip("x").replace("x", "")
            name = ("OWN", "TOKEN", "WORDS", "PEM")[which]
            assert left.replace(f"{{secret:{name}}}", "") == "", left


def test_no_process_shows_a_value_but_the_program_and_whose_variable_it_is(office: Office) -> None:
    office.execute(office.asked("ok"), code=0)
    seen = json.loads((office.folder / "seen.json").read_text())
    assert seen["cmdline"] == []
    assert set(seen["environ"]) == {seen["me"], seen["command"]}  # the command has the variable OUR_OWN
    assert seen["supervisor"] not in seen["environ"]
    assert (seen["file_mode"], seen["folder_mode"]) == ("0o600", "0o700")
    assert not Path(seen["file"]).parent.exists()
    assert len(seen["descriptors"]) <= 4  # no descriptor of ours


def test_no_value_is_in_what_an_agent_is_told_or_in_the_log_of_its_server(office: Office) -> None:
    (office.folder / "own").write_text(OWN)
    text = (office.folder / "keys.toml").read_text()
    (office.folder / "keys.toml").write_text(text.replace('variable = "OUR_OWN"', 'file = "own"'))
    request_id = office.asked("fail")
    answers: list[Any] = []
    with served("--config", "keys.toml", folder=office.folder) as pipes:
        for tool in ("execute", "status", "inspect", "export_bundle", "export_audit_package"):
            answers.append(pipes.answer(pipes.call(tool, **arguments_for(tool, request_id))))
        pipes.end()
    office.shown.append(json.dumps(answers, ensure_ascii=False).encode())
    with NexusControlTools(office.folder / "store.db") as tools:
        office.shown.append(json.dumps(tools.events_since(0).to_dict(), ensure_ascii=False).encode())
    (office.folder / "own").unlink()
    assert b"{secret:TOKEN}" in b"".join(office.shown)
    assert office.leaks() == []


def test_refusals_name_the_secret_and_repeat_no_value(office: Office) -> None:
    literal = plan(step("tell", word="ok", which=0, shift=0, **{**NAMED, "token": TOKEN}))
    (office.folder / "literal.json").write_text(literal)
    words = (
        "--mode",
        "apply",
        "--adapter",
        "subprocess:keys",
        "--config",
        "keys.toml",
        "--as",
        "system:agent",
    )
    office.run("request", "Tell", *words, "--plan-file", "literal.json", code=1)
    (office.folder / "literal.json").unlink()
    request_id = office.asked("ok")
    (office.folder / "token").unlink()
    office.execute(request_id, code=1)
    assert b"ROUTER_NOT_READY" in office.shown[-1] + office.shown[-2]
    assert b"secret TOKEN cannot be read" in office.shown[-1] + office.shown[-2]
    (office.folder / "token").write_text(TOKEN + "\n")
    office.execute(request_id, code=0)  # the refusal used nothing up
    assert office.leaks() == []


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_killed_leaves_neither_value_nor_file_nor_program(
    office: Office, sign: int
) -> None:
    request_id = office.asked("hang")
    with executing(office, request_id) as process:
        hanging = office.folder / "hanging"
        assert eventually(lambda: hanging.exists() and bool(hanging.read_text()))
        process.send_signal(sign)
        process.wait(60)
    file = Path(json.loads((office.folder / "seen.json").read_text())["file"])
    assert eventually(lambda: not lives(int(hanging.read_text())))
    assert eventually(lambda: not file.parent.exists())
    office.run("recover", code=None)
    office.run("run", "show", request_id, code=None)
    office.run("export", request_id, "-o", "bundle.json")
    assert office.leaks() == []


def arguments_for(tool: str, request_id: str) -> dict[str, object]:
    name = "request_id" if tool in ("execute", "status", "result") else "decision_id"
    return {name: request_id, **({"adapter_id": "subprocess:keys"} if tool == "execute" else {})}


@contextmanager
def executing(office: Office, request_id: str) -> Generator["subprocess.Popen[bytes]"]:
    words = ["execute", request_id, "--as", "system:agent", "--config", "keys.toml", "--db", "store.db"]
    with (
        (office.folder / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "nexus_control", *words],
            cwd=office.folder,
            env=environment(OUR_OWN=OWN, TMPDIR=str(office.folder / "tmp")),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def test_an_encoded_value_is_not_masked(office: Office) -> None:
    """What the documents say is not stopped."""
    script = "import base64, os; print(base64.b64encode(os.environ['OWN'].encode()).decode())"
    (office.folder / "leaking.py").write_text(script)
    request_id = office.asked("ok")
    office.execute(request_id, code=0)
    assert base64.b64encode(OWN.encode()).decode() in office.run("run", "show", request_id)
