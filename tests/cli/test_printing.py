"""An answer that cannot be printed: what a command says then, and how it ends."""

import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import pytest

from nexus_control.cli.streams import StandardStream
from tests.cli.office import CONFIG
from tests.cli.running import Commands, environment
from tests.support.tampering import attacking

WAYS = {
    "closed": (">&-", "Bad file descriptor"),
    "full": ("> full", "No space left on device"),
    "unread": ("", "Broken pipe"),
}


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    made = Commands(tmp_path)
    made.run("request", "rotate the keys", "--as", "human:alice")
    (tmp_path / "nexus-control.toml").write_text(CONFIG)
    return made


def only_request(commands: Commands) -> str:
    (line,) = commands.answer("list")["requests"]
    return line["request_id"]


def in_a_shell(
    folder: Path, words: str, way: str | None = None, **changes: str
) -> "subprocess.CompletedProcess[str]":
    """A command whose words a shell reads, and whose standard output takes nothing in this way."""
    redirection = WAYS[way][0] if way else ""
    if "full" in words + redirection:
        _make_full(folder / "full")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(
            ["bash", "-c", f"exec {sys.executable} -m nexus_control --db store.db {words} {redirection}"],
            cwd=folder,
            env=environment(**changes),
            stdin=subprocess.DEVNULL,
            stdout=writing if way == "unread" else subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding=changes.get("PYTHONIOENCODING", "utf-8"),
            timeout=240,
            check=False,
        )
    finally:
        os.close(writing)


def _make_full(node: Path) -> None:
    """A device of our own that takes nothing, as /dev/full."""
    try:
        if not node.exists():
            os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
        node.open("wb").close()
    except OSError as error:
        pytest.skip(f"no nodes can be made or opened here: {error}")


def said(ran: "subprocess.CompletedProcess[str]") -> str:
    """What it said on standard error, on one line."""
    assert "Traceback" not in ran.stderr, ran.stderr
    assert "Exception ignored" not in ran.stderr, ran.stderr
    return " ".join(ran.stderr.split())


WRITING = {
    "request": ("request again", "Request "),
    "approve": ("approve ID --yes --as human:bob", "It is recorded that you approve ID"),
    "deny": ("deny ID --reason no --yes --as human:bob", "It is recorded that you deny ID"),
    "withdraw": ("withdraw ID --reason no --yes --as human:alice", "It is recorded that you withdraw ID"),
    "template create": ("template create t", "Template t was made"),
    "import": ("import bundle --conflict-mode new_decision_id", "Decision "),
    "execute": (
        "execute RUN --adapter subprocess:files --config nexus-control.toml",
        "Request RUN was executed",
    ),
    "export": ("export ID -o leaves", "leaves is written"),
    "statement": ("statement ID --as human:bob -o leaves", "leaves is written"),
    "report": ("report bundle -o leaves", "leaves is written"),
    "log checkpoint": ("log checkpoint -o leaves", "leaves is written"),
    "log prove": ("log prove ID -o leaves", "leaves is written"),
    "log checkpoint, printed": (
        "log checkpoint",
        "A key was made for the log, and a checkpoint signed and kept",
    ),
    "log prove, printed": ("log prove ID", "A key was made for the log, and a checkpoint signed and kept"),
    "statement, printed": ("statement ID --as human:bob", "A key was made for the log"),
    "log export": ("log export -o leaves", "leaves is written"),
    "key generate": ("key generate", "The log has the key "),
    "key generate FILE": ("key generate leaves", "The key is in leaves"),
    "key rotate": ("key rotate", "The log's key was replaced by "),
    "call": ("""call nexus-control.template.create --arguments '{"name": "u"}'""", "Template "),
    "demo": ("demo --keep leaves", "What the demonstration made is in leaves"),
}


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    ("command", "way"), [*zip(WRITING, cycle(WAYS), strict=False), ("request", "full"), ("request", "unread")]
)
def test_a_command_that_wrote_says_what_it_did(
    commands: Commands, tmp_path: Path, command: str, way: str
) -> None:
    words, sentence = WRITING[command]
    reason = WAYS[way][1]
    request_id = only_request(commands)
    if command == "import" or command == "report":
        commands.run("export", request_id, "-o", str(tmp_path / "bundle"))
    if command == "key rotate":
        commands.run("key", "generate")
    if command == "execute":
        call = {"tool": "files", "method": "write", "args": {"text": "t", "file": str(tmp_path / "f")}}
        plan = json.dumps([{"step_id": "s1", "intent": "write", "call": call}])
        run = commands.answer("request", "g", "--mode", "apply", "--plan", plan)["request_id"]
        commands.run("approve", run, "--yes", "--as", "human:bob")
        words, sentence = words.replace("RUN", run), sentence.replace("RUN", run)
    as_json = "" if command == "call" else "--json"
    ran = in_a_shell(tmp_path, f"{words.replace('ID', request_id)} {as_json}", way)
    assert ran.returncode == 1, ran.stderr
    told = said(ran)
    assert told.startswith(sentence.replace("ID", request_id))
    assert told.endswith(f", but the answer could not be printed: {reason}.")
    assert told.count(". ") == 0 or command == "call"
    if "leaves" in words:
        assert (tmp_path / "leaves").exists()


READING = (
    "list",
    "list --json",
    "status ID",
    "inspect ID",
    "export ID",
    "statement ID",
    "log checkpoint",
    "log prove ID --json",
    "log export",
    "template list",
    "doctor",
    """call nexus-control.status --arguments '{"request_id": "ID"}'""",
    "install --host cursor",
    "demo --json",
    "--help",
    "--version",
)


@pytest.mark.sample(4)
@pytest.mark.parametrize(("words", "way"), [*zip(READING, cycle(("full", "closed")), strict=False)])
def test_a_command_that_only_reads_says_that_nothing_was_changed(
    commands: Commands, tmp_path: Path, words: str, way: str
) -> None:
    reason = WAYS[way][1]
    commands.run("log", "checkpoint")
    ran = in_a_shell(tmp_path, words.replace("ID", only_request(commands)), way)
    assert ran.returncode == 1
    assert said(ran).endswith(f"The answer could not be printed: {reason}. Nothing was changed.")


@pytest.mark.sample(3)
@pytest.mark.parametrize("words", ["list", "list --json", "export ID", "log export", "--help", "demo"])
def test_a_command_that_only_reads_ends_silently_by_the_pipes_signal_when_nobody_reads_on(
    commands: Commands, tmp_path: Path, words: str
) -> None:
    ran = in_a_shell(tmp_path, words.replace("ID", only_request(commands)), "unread")
    assert (ran.returncode, said(ran)) == (-signal.SIGPIPE, "")


@pytest.mark.sample(1)
@pytest.mark.parametrize("way", ["full", "closed"])
@pytest.mark.parametrize("as_json", ["", "--json"])
def test_a_refusal_keeps_its_code_and_is_said_on_standard_error(
    commands: Commands, tmp_path: Path, as_json: str, way: str
) -> None:
    for words, code in (("status nothing", 1), ("list --limit -1", 2), ("verify nothing", 2)):
        ran = in_a_shell(tmp_path, f"{words} {as_json}", way)
        assert ran.returncode == code
        assert said(ran).startswith(("DECISION_NOT_FOUND", "INVALID_ARGUMENT"))


@pytest.mark.sample(2)
@pytest.mark.parametrize("redirection", ["2>&-", "2> full", "2>&- >&-", "<&- >&- 2>&-", "2> full > full"])
def test_a_standard_error_that_is_closed_or_full_changes_no_code(
    commands: Commands, tmp_path: Path, redirection: str
) -> None:
    request_id = only_request(commands)
    assert in_a_shell(tmp_path, f"status nothing {redirection}").returncode == 1
    assert in_a_shell(tmp_path, f"--no-such-option {redirection}").returncode == 2
    printed = in_a_shell(tmp_path, f"statement {request_id} --as human:bob {redirection}")
    assert printed.returncode == (
        1 if ">&-" in redirection.replace("2>&-", "") or " > full" in redirection else 0
    )
    commands.run("doctor")  # no descriptor of the store was taken for a standard stream


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "changes",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX"},
    ],
    ids=["ascii", "latin-1", "C", "POSIX"],
)
def test_what_an_encoding_lacks_is_escaped(tmp_path: Path, changes: dict[str, str]) -> None:
    commands = Commands(tmp_path)
    goal = "é 键 \U0001f511"
    request_id = commands.answer("request", goal)["request_id"]
    for words in ("list", f"inspect {request_id}"):
        ran = in_a_shell(tmp_path, words, **changes)
        assert ran.returncode == 0, said(ran)
        assert "\\u952e" in ran.stdout or "键" in ran.stdout
    ran = in_a_shell(tmp_path, "list --json", **changes)
    assert json.loads(ran.stdout)["requests"][0]["goal"] == goal
    in_a_shell(tmp_path, f"export {request_id} > exported", **changes)
    assert goal in (tmp_path / "exported").read_text(encoding="utf-8")


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_bytes_that_are_no_text_are_refused_and_the_refusal_printed(
    tmp_path: Path, as_json: tuple[str, ...]
) -> None:
    words = [b"request", b"caf\xe9 \xed\xa0\x80", *(each.encode() for each in as_json)]
    ran = subprocess.run(
        [sys.executable, "-m", "nexus_control", "--db", "store.db", *words],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode in (1, 2)
    assert b"Traceback" not in ran.stderr
    answer = ran.stdout if as_json else ran.stderr
    assert b"_INVALID" in answer or b"INVALID_" in answer


def test_a_pipe_that_takes_nothing_for_now_is_waited_for() -> None:
    reading, writing = os.pipe()
    for each in (reading, writing):
        os.set_blocking(each, False)
    with suppress(BlockingIOError):
        while os.write(writing, bytes(65536)):
            pass

    def make_room(_number: int, _frame: object) -> None:
        os.read(reading, 1 << 20)

    before = signal.signal(signal.SIGALRM, make_room)  # it comes while we wait for room
    try:
        with StandardStream(writing, "w") as stream:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            assert stream.write(b"x") == 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(reading)


def test_what_was_printed_when_an_interruption_came_is_not_printed_again(tmp_path: Path) -> None:
    code = """
import sys
from nexus_control.cli import streams

def interrupted(stream, content, write=streams.StandardStream._write):
    write(stream, content)
    raise KeyboardInterrupt

streams.open_standard_streams()
streams.StandardStream._write = interrupted
print("one line")
try:
    sys.stdout.flush()
except KeyboardInterrupt:
    print("another", flush=True)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.stderr) == ("one line\n", "")


def test_a_checkpoint_that_is_new_is_said_to_be_made(commands: Commands, tmp_path: Path) -> None:
    commands.run("key", "generate")
    assert said(in_a_shell(tmp_path, "log checkpoint", "closed")).startswith(
        "A new checkpoint of the log was signed"
    )


def test_a_verdict_that_is_recorded_is_told_also_where_the_rest_of_the_history_cannot_be_read(
    commands: Commands,
) -> None:
    request_id = commands.answer("request", "g", "--min-approvals", "2", "--as", "human:alice")["request_id"]
    commands.answer("approve", request_id, "--yes", "--as", "human:bob")
    with attacking(commands.folder / commands.database) as rows:
        rows.execute("UPDATE entries SET payload = '{' WHERE event_type = 'APPROVAL_GRANTED'")
    error = commands.answer("approve", request_id, "--yes", "--as", "human:carol", code=1)
    assert error["code"] == "STORE_UNAVAILABLE"
    assert "It is recorded that you approve" in error["message"]
    assert error["next"].startswith("Do not do it again.")
    assert commands.answer("status", request_id)["active_approvals"] == 2
