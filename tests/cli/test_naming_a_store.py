"""Databases and files that are not there, or are not what a command needs."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nexus_control.cli.main import app
from nexus_control.storage import files_of
from tests.cli.office import CONFIG, field
from tests.cli.running import Commands, command_names, environment, nexus_control

MAKING: dict[tuple[str, ...], tuple[str, ...]] = {
    ("init",): (),
    ("request",): ("g",),
    ("template", "create"): ("t",),
    ("import",): ("bundle",),
    ("key", "generate"): (),
}
WITHOUT_A_STORE = {
    ("demo",),
    ("hook",),  # opens its store by rules of its own: tests/guards/test_hook_process.py
    ("verify",),
    ("log", "verify"),
    ("install",),
    ("serve",),
    ("config", "show"),
    ("adapter", "list"),
    ("adapter", "show"),
    ("adapter", "check"),
    ("adapter", "pin"),
    ("rules", "check"),
    ("rules", "explain"),
    ("approver", "add"),
    ("approver", "list"),
    ("approver", "check"),
    ("restore",),
    ("migrate",),
}
NEEDING: dict[tuple[str, ...], tuple[str, ...]] = {
    ("approve",): ("x", "--yes"),
    ("deny",): ("x", "--reason", "r", "--yes"),
    ("revoke",): ("x", "--reason", "r", "--yes"),
    ("withdraw",): ("x", "--reason", "r", "--yes"),
    ("statement",): ("x",),
    ("inbox",): ("--listen", "127.0.0.1:0"),
    ("status",): ("x",),
    ("inspect",): ("x",),
    ("list",): (),
    ("wait",): ("x",),
    ("events",): (),
    ("run", "show"): ("x",),
    ("execute",): ("x", "--adapter", "a:b", "--config", "nexus-control.toml"),
    ("cancel",): ("x", "--reason", "r"),
    ("worker",): ("--config", "nexus-control.toml"),
    ("recover",): (),
    ("reconcile",): ("x", "--outcome", "failed", "--evidence", "e"),
    ("call",): ("nexus-control.status", "--config", "nexus-control.toml"),
    ("template", "get"): ("t",),
    ("template", "list"): (),
    ("export",): ("x",),
    ("audit",): ("x",),
    ("report",): ("x",),
    ("log", "checkpoint"): (),
    ("log", "prove"): ("x",),
    ("log", "consistency"): ("bundle",),
    ("log", "export"): (),
    ("key", "list"): (),
    ("key", "rotate"): (),
    ("key", "export"): (),
    ("doctor",): (),
    ("backup",): ("backup.zip",),
}


def test_every_command_makes_a_store_needs_one_or_has_none() -> None:
    assert set(command_names(app)) == MAKING.keys() | NEEDING.keys() | WITHOUT_A_STORE


@pytest.mark.sample(24)
@pytest.mark.parametrize("database", ["mistyped.db", "folder/mistyped.db", "link", "empty"])
@pytest.mark.parametrize("command", NEEDING, ids=" ".join)
def test_a_command_that_needs_a_store_makes_none(
    tmp_path: Path, command: tuple[str, ...], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/elsewhere.db")
    (tmp_path / "empty").touch()
    (tmp_path / "nexus-control.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    if command == ("doctor",) and database == "empty":  # it is doctor that says so of a store
        answer = json.loads(Commands(tmp_path, database).run("doctor", "--json", code=3))
        assert [fault["code"] for fault in answer["faults"]] == ["STORE_EMPTIED"]
        assert sorted(tmp_path.rglob("*")) == before
        return
    asks = () if command == ("call",) else ("--json",)
    refused = json.loads(Commands(tmp_path, database).run(*command, *NEEDING[command], *asks, code=2))
    assert refused["code"] == "STORE_UNAVAILABLE"
    assert refused["message"].count("STORE_UNAVAILABLE") == 0
    assert f"There is no database at {(tmp_path / database).resolve()} (--db)" in refused["message"]
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "empty").read_bytes() == b""


@pytest.mark.parametrize("command", MAKING, ids=" ".join)
def test_a_command_with_which_a_store_begins_makes_it(
    tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Commands(tmp_path, "other.db")
    request_id = other.answer("request", "g")["request_id"]
    other.run("export", request_id, "-o", str(tmp_path / "bundle"))
    monkeypatch.chdir(tmp_path)
    commands = Commands(tmp_path)
    commands.run(*command, *MAKING[command])
    assert (tmp_path / "store.db").exists()
    assert commands.answer("doctor")["ok"] is True


def test_a_tool_makes_a_store_only_where_one_begins_with_it(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    for tool in ("status", "approve", "execute", "inspect", "template.list", "export_bundle"):
        assert (
            json.loads(commands.run("call", f"nexus-control.{tool}", code=2))["code"] == "STORE_UNAVAILABLE"
        )
    assert not list(tmp_path.iterdir())
    commands.run("call", "nexus-control.request", "--arguments", '{"goal": "g"}')
    assert (tmp_path / "store.db").exists()


def test_a_server_that_only_reads_makes_no_store(tmp_path: Path) -> None:
    ran = nexus_control("serve", "--read-only", "--db", "store.db", folder=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert str(tmp_path / "store.db") in "".join(ran.stderr.split("\n"))
    assert not list(tmp_path.iterdir())


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", ["", ".", "/"])
@pytest.mark.parametrize("command", [("list",), ("request", "g"), ("doctor",)], ids=" ".join)
def test_an_empty_name_or_a_folder_is_no_database(
    tmp_path: Path, command: tuple[str, ...], name: str
) -> None:
    ran = nexus_control(*command, "--db", name, "--json", folder=tmp_path)
    assert (ran.returncode, field(json.loads(ran.stdout))) == (2, "--db")
    assert not list(tmp_path.iterdir())


FILES = {
    "verify X": "FILE",
    "report X": "FILE",
    "import X": "FILE",
    "key generate X": "FILE",
    "request g --plan-file X": "--plan-file",
    "audit ID --run-bundle X": "--run-bundle",
    "audit ID --sign X -o package": "--sign",
    "audit ID --sign key -o X": "--output",
    "rules explain X --config rules.toml": "PLAN_FILE",
    "log consistency X": "CHECKPOINT",
    "log verify X --leaves bundle --log-key k": "CHECKPOINT",
    "log verify bundle --leaves X --log-key k": "--leaves",
    "verify bundle --allowed-signers X": "--allowed-signers",
    "verify bundle --package-key X": "--package-key",
    "verify bundle --checkpoint X": "--checkpoint",
    "verify bundle --consistency X": "--consistency",
    "verify bundle --envelope X": "--envelope",
    "verify bundle --log-proof X": "--log-proof",
    "verify bundle --timestamp X": "--timestamp",
    "verify bundle --timestamp-root X": "--timestamp-root",
    "verify bundle --timestamp-certificate X": "--timestamp-certificate",
}


@pytest.mark.sample(6)
@pytest.mark.parametrize("words", FILES)
def test_an_empty_name_or_a_folder_is_no_file(
    tmp_path: Path, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Commands(tmp_path)
    request_id = commands.answer("request", "g")["request_id"]
    commands.run("export", request_id, "-o", str(tmp_path / "bundle"))
    commands.run("key", "generate", str(tmp_path / "key"))
    monkeypatch.chdir(tmp_path)
    for name in ("", ".", "/"):
        arguments = [{"X": name, "ID": request_id}.get(word, word) for word in words.split()]
        assert field(commands.answer(*arguments, code=2)) == FILES[words]


@pytest.mark.parametrize("config", ["", "."])
def test_an_empty_name_or_a_folder_is_no_configuration(tmp_path: Path, config: str) -> None:
    ran = nexus_control("serve", "--config", config, "--db", "store.db", folder=tmp_path)
    assert (ran.returncode, ran.stdout, "Traceback" in ran.stderr) == (2, "", False)


def test_a_file_is_read_from_standard_input_a_fifo_and_a_process_substitution(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    request_id = commands.answer("request", "g")["request_id"]
    commands.run("export", request_id, "-o", str(tmp_path / "bundle"))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes((tmp_path / "bundle").read_bytes()))
    writer.start()
    assert commands.answer("verify", str(fifo))["ok"]
    writer.join(60)
    for words in ("verify - < bundle", "verify <(cat bundle)", "report - -o page < bundle"):
        script = f"{sys.executable} -m nexus_control {words}"
        ran = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            timeout=240,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
    ran = nexus_control("verify", "-", "--json", folder=tmp_path)
    assert (ran.returncode, json.loads(ran.stdout)["code"]) == (2, "JSON_INVALID")


def test_an_endless_file_is_refused_for_its_size(tmp_path: Path) -> None:
    script = f"{sys.executable} -m nexus_control verify - --json < <(tr '\\0' x < zero)"
    try:
        os.mknod(tmp_path / "zero", 0o20600, os.makedev(1, 5))
        (tmp_path / "zero").open("rb").close()
    except OSError as error:
        pytest.skip(f"no nodes can be made or opened here: {error}")
    for words in (f"{sys.executable} -m nexus_control verify zero --json", script):
        ran = subprocess.run(
            ["bash", "-c", words],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            timeout=240,
            check=False,
        )
        assert (ran.returncode, field(json.loads(ran.stdout))) == (2, "FILE")


def test_a_database_in_use_is_not_read_as_a_file(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    commands.run("request", "g")
    assert field(commands.answer("import", str(tmp_path / "store.db"), code=2)) == "FILE"


def test_all_files_beside_a_store_are_known_to_be_its_own(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    call = {"tool": "files", "method": "write", "args": {"text": "t", "file": str(tmp_path / "f")}}
    plan = json.dumps([{"step_id": "s1", "intent": "write", "call": call}])
    config = tmp_path / "adapters.toml"
    config.write_text(CONFIG)
    request_id = commands.answer("request", "g", "--mode", "apply", "--plan", plan)["request_id"]
    commands.run("approve", request_id, "--yes", "--as", "human:bob")
    commands.run("execute", request_id, "--adapter", "subprocess:files", "--config", str(config))
    commands.run("log", "checkpoint")
    beside = {each for each in tmp_path.iterdir() if each.name.startswith("store.db")}
    assert {each.name for each in beside} >= {"store.db", "store.db.head", "store.db.key", "store.db.runs"}
    assert beside <= set(files_of(str(tmp_path / "store.db")))


NAMES = {"a name that is too long": "n" * 256, "links in a circle": "circle"}
DATABASES = ("list", "doctor", "request g", "inspect x", "serve", "serve --read-only")
WRITTEN = {"export ID -o X": "--output", "statement ID -o X": "--output", "log checkpoint -o X": "--output"}
SIGNED = {"approve ID --yes --sign X": "--sign", "approve ID --yes --signature X.sig": "--statement"}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_file_that_cannot_be_looked_at_is_a_fault_of_its_option(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Commands(tmp_path)
    request_id = commands.answer("request", "g")["request_id"]
    commands.run("export", request_id, "-o", str(tmp_path / "bundle"))
    commands.run("key", "generate", str(tmp_path / "key"))
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "signers").touch()
    monkeypatch.chdir(tmp_path)
    for words, option in {**FILES, **WRITTEN, **SIGNED}.items():
        arguments = [
            {"X": name, "ID": request_id}.get(word, word.replace("X.sig", f"{name}.sig"))
            for word in words.split()
        ]
        if words in SIGNED:
            arguments += ["--allowed-signers", "signers"]
        assert field(commands.answer(*arguments, code=2)) == option, words
    for words in DATABASES:
        asks = () if words.startswith("serve") else ("--json",)
        said = Commands(tmp_path, name).run(*words.split(), *asks, code=2)
        assert not asks or field(json.loads(said)) == "--db"


def test_the_longest_name_that_there_is_can_be_written_and_read(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    request_id = commands.answer("request", "g")["request_id"]
    for length in (252, 255):
        named = tmp_path / ("n" * length)
        commands.run("export", request_id, "-o", str(named))
        assert json.loads(named.read_text())["decision"]["decision_id"] == request_id
        assert "Verified" in commands.run("verify", str(named))


def without_privilege(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """One run in a shell, whose user is held to the permissions of files, as root is not."""
    dropped = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    if dropped and shutil.which("setpriv") is None:
        pytest.skip("root cannot be held to permissions here")
    return subprocess.run(
        [*dropped, "sh", "-c", " ".join(words)],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )


UNREACHABLE = {
    "list --db shut/s.db": "--db",
    "request g --db shut/s.db": "--db",
    "doctor --db shut/s.db": "--db",
    "verify shut/f": "FILE",
    "import shut/f": "FILE",
    "log export -o shut/new": "--output",
    "key generate shut/k": "FILE",
    "verify signers --allowed-signers shut/f": "--allowed-signers",
    "approve ID --yes --allowed-signers signers --sign shut/k": "--sign",
    "approve ID --yes --allowed-signers signers --signature shut/k.sig": "--statement",
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("words", UNREACHABLE)
def test_a_folder_that_one_may_not_search_is_a_fault_of_its_option(tmp_path: Path, words: str) -> None:
    commands = Commands(tmp_path)
    request_id = commands.answer("request", "g")["request_id"]
    (tmp_path / "signers").touch()
    (tmp_path / "shut").mkdir(0)
    line = words.replace("ID", request_id)
    ran = without_privilege(tmp_path, f"{sys.executable} -m nexus_control --db store.db {line} --json")
    assert (ran.returncode, field(json.loads(ran.stdout))) == (2, UNREACHABLE[words])


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("folder", "words", "code"),
    [
        ("shut", "--db DB inspect ID", 0),
        ("shut", "--db DB request g", 0),
        ("shut", "--db DB install --host cursor", 0),
        ("gone", "--db DB list", 0),
        ("gone", "--db DB statement ID", 0),
        ("gone", "--db DB inspect ID --allowed-signers relative", 2),
        ("gone", "--db DB log export -o relative", 2),
        ("gone", "list", 2),
        ("gone", "request g", 2),
        ("gone", "install --host cursor", 2),
        ("gone", "verify relative", 2),
    ],
)
def test_a_working_folder_that_is_shut_or_gone(tmp_path: Path, folder: str, words: str, code: int) -> None:
    request_id = Commands(tmp_path).answer("request", "g")["request_id"]
    (tmp_path / folder).mkdir()
    line = words.replace("DB", str(tmp_path / "store.db")).replace("ID", request_id)
    left = "chmod 0 ." if folder == "shut" else f"rmdir {tmp_path / folder}"
    ran = without_privilege(
        tmp_path, f"cd {folder} && {left} && exec {sys.executable} -m nexus_control {line}"
    )
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "INTERNAL" not in ran.stderr


def test_an_id_that_is_no_text_is_refused(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    commands.run("request", "g")
    for command in (("log", "prove"), ("status",), ("export",), ("audit",), ("statement",)):
        assert commands.answer(*command, "\udcff", code=2)["code"] == "INVALID_ARGUMENT"


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("inspect ID --config fifo", 2),
        ("request g --adapter subprocess:a --config fifo", 2),
        ("approve ID --yes --allowed-signers signers --sign fifo", 2),
        ("approve ID --yes --allowed-signers fifo --sign signers", 2),
        ("doctor --allowed-signers fifo", 0),
        ("verify bundle", 2),  # with the variable
    ],
)
def test_what_is_read_more_than_once_or_comes_from_a_variable_is_not_waited_for(
    tmp_path: Path, words: str, code: int
) -> None:
    commands = Commands(tmp_path)
    request_id = commands.answer("request", "g")["request_id"]
    commands.run("export", request_id, "-o", str(tmp_path / "bundle"))
    (tmp_path / "signers").touch()
    os.mkfifo(tmp_path / "fifo")
    line = words.replace("ID", request_id).split()
    if line[0] == "doctor":
        line = [*line[1:], line[0]]
    changes = {"NEXUS_CONTROL_ALLOWED_SIGNERS": "fifo"} if line[0] == "verify" else {}
    ran = nexus_control("--db", "store.db", *line, folder=tmp_path, changes=changes)
    assert ran.returncode == code, ran.stderr
    assert "not a regular file" in " ".join((ran.stderr + ran.stdout).split())


def test_the_allowed_signers_are_no_file_of_the_store(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    commands.run("request", "g")
    given = ("--allowed-signers", str(tmp_path / "store.db"), "list")
    assert field(commands.answer(*given, code=2)) == "--allowed-signers"
