"""The hook as a process that nothing keeps from denying: noise, closed streams, signals, odd inputs, a store away."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.system.signals import FATAL
from tests.cli.running import nexus_control
from tests.support.amounts import IN_FULL, ROUNDS
from tests.support.cpu import by_children
from tests.support.governed import data_of
from tests.support.hooking import ALLOWING, DENYING, HEADLESS, Bench, Said, saved
from tests.support.places import REPOSITORY

BASH = saved("claude_code-PreToolUse-Bash")
RAN = saved("claude_code-PostToolUse-Bash")
CODEX = saved("codex-PreToolUse-Bash")

NOISE = """
import os, sys
print("noise at the start")
class Noisy:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("nexus_control.rules", "nexus_control.usecases")):
            print("noise of print"); os.write(1, b"noise of a library in C\\n"); os.system("echo noise of a child")
sys.meta_path.insert(0, Noisy())
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# --- standard output ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [BASH, CODEX], ids=["deferred", "denied"])
def test_what_libraries_and_children_print_does_not_reach_the_host(
    given: dict[str, Any], bench: Bench
) -> None:
    site = bench.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(NOISE, encoding="utf-8")
    path = os.pathsep.join([str(site), str(REPOSITORY)])
    said = bench.hook(given, {**HEADLESS, "PYTHONPATH": path})
    assert said.verdict == ("defer" if given is BASH else "deny")
    assert said.stdout.count("\n") == 1
    for each in ("start", "print", "a library in C", "a child"):
        assert f"noise {'at the' if each == 'start' else 'of'} {each}" in said.stderr


@pytest.mark.parametrize("module", ["tomllib", "pydantic", "sqlite3"])
def test_a_library_that_cannot_be_loaded_denies(module: str, bench: Bench) -> None:
    site = bench.folder / "site"
    site.mkdir()
    broken = "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd"
    (site / f"{module}.py").write_text(broken, encoding="utf-8")
    path = os.pathsep.join([str(site), str(REPOSITORY)])
    assert "the hook failed" in bench.hook(BASH, {**HEADLESS, "PYTHONPATH": path}).denial


def test_an_allowance_that_cannot_be_written_is_a_denial_and_its_claim_is_given_back(bench: Bench) -> None:
    bench.hook(BASH)
    request_id = bench.approve()
    reader, writer = os.pipe()
    os.close(reader)
    with bench.start(stdout=writer) as process:
        os.close(writer)
        said = bench.said(process, json.dumps(BASH).encode())
    assert said.code == 2
    assert "Approved" in said.stderr
    (execution,) = bench.status(request_id)["executions"]
    assert (bench.state(request_id), execution["effect"]) == ("failed", "none")


def closing(bench: Bench, redirection: str, given: dict[str, Any]) -> "subprocess.CompletedProcess[bytes]":
    """A run of the hook by a shell that closes one of its streams."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *bench.words()],
        input=json.dumps(given).encode(),
        env=bench.environment(HEADLESS),
        cwd=bench.folder,
        capture_output=True,
        timeout=120,
    )


@pytest.mark.parametrize("book", [DENYING, ""])
@pytest.mark.parametrize(
    ("redirection", "code", "has_document", "has_text"),
    [
        (">&-", 2, False, True),
        ("2>&-", 0, True, False),
        (">&- 2>&-", 2, False, False),
        ("<&-", 2, True, True),
    ],
)
def test_a_stream_that_is_closed_does_not_let_a_call_run(
    redirection: str, code: int, has_document: bool, has_text: bool, book: str, tmp_path: Path
) -> None:
    # Without standard error, exit 2 lets a call run in Codex, and the document with exit 0 does not.
    ended = closing(Bench(tmp_path, book), redirection, BASH)
    assert (ended.returncode, bool(ended.stdout), bool(ended.stderr)) == (code, has_document, has_text)
    if has_document:
        (output,) = json.loads(ended.stdout).values()
        assert output["permissionDecision"] == "deny"


def test_an_approved_call_of_codex_needs_no_standard_output(bench: Bench) -> None:
    bench.hook(CODEX)
    request_id = bench.approve()
    assert closing(bench, ">&-", CODEX).returncode == 0
    assert bench.state(request_id) == "executing"


# --- standard input -------------------------------------------------------------------------------------------------


def changed(**changes: Any) -> bytes:
    return json.dumps({**BASH, **changes}).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in BASH.items() if key != name}).encode()


DEEP = "[" * 100_000 + "]" * 100_000
INPUTS = {
    "empty": (b"", "standard input is empty"),
    "blank": (b" \n", "standard input is empty"),
    "no JSON": (b"{", "standard input is not JSON"),
    "two documents": (changed() + changed(), "standard input is not JSON"),
    "no UTF-8": (b'{"tool_name": "\xff"}', "standard input is not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf" + changed(), "standard input is not JSON"),
    "a list": (b"[]", "standard input must be a JSON object"),
    "deep": (DEEP.encode(), "standard input is nested too deeply"),
    "deep arguments": (
        changed().replace(b'"echo hi"', b"[" * 200 + b"]" * 200),
        "nested deeper than 64 levels",
    ),
    "a doubled key": (changed()[:-1] + b', "tool_name": "Read"}', "duplicate key"),
    "a number beyond 64 bits": (changed(tool_input={"n": 2**70}), "an integer does not fit 64 bits"),
    "NaN": (changed(tool_input={"n": float("nan")}), "NaN is not JSON"),
    "too long": (changed(tool_input={"content": "x" * 17_000_000}), "standard input must be at most"),
    **{
        f"no {name}": (without(name), f"{name} is missing")
        for name in ("hook_event_name", "tool_name", "tool_input", "tool_use_id", "session_id", "cwd")
    },
    **{
        f"{name} of another type": (changed(**{name: [1]}), f"{name} must be")
        for name in ("hook_event_name", "tool_name", "tool_input", "tool_use_id", "session_id", "cwd")
    },
    "another event": (changed(hook_event_name="SessionStart"), "hook_event_name must be one of PreToolUse"),
    "an empty tool": (changed(tool_name=""), "tool_name must have 1 to 512 characters"),
    "a long tool": (changed(tool_name="x" * 513), "tool_name must have 1 to 512 characters"),
    "NUL": (changed(tool_name="Ba\0sh"), "tool_name must not hold control characters"),
    "a line end": (changed(tool_name="Bash\n"), "tool_name must not hold control characters"),
    "half a pair": (changed(tool_name="\ud800"), "tool_name must not hold control characters"),
    "half a pair in arguments": (changed(tool_input={"\udfff": 1}), "tool_input must not hold half a surrogate"),
    "a blank in an id": (changed(tool_use_id="a b"), "tool_use_id must have 1 to 200 characters of ASCII"),
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.sample(10)
def test_an_input_that_cannot_be_read_is_denied_and_the_field_is_named(name: str, tmp_path: Path) -> None:
    raw, said = INPUTS[name]
    assert said in Bench(tmp_path, ALLOWING).hook(raw).denial


def test_a_long_input_is_judged(tmp_path: Path) -> None:
    raw = changed(tool_input={"content": "x" * 15_000_000})
    assert Bench(tmp_path, ALLOWING).hook(raw).is_silent


def test_arguments_that_people_could_not_be_shown_are_denied(bench: Bench) -> None:
    assert "it could not be asked for" in bench.hook(changed(tool_input={"command": "x" * 300_000})).denial


@pytest.mark.parametrize(
    "hostile",
    ["mcp__é__\u202etxt", "x" * 512, "/etc/passwd", "{}%s$(id)", "\U0001f4a3", "'; DROP TABLE log; --"],
)
def test_a_tool_of_any_name_can_be_asked_for(hostile: str, bench: Bench) -> None:
    said = bench.hook(changed(tool_name=hostile))
    assert said.verdict in ("defer", "deny")
    if said.verdict == "deny":
        assert said.denial
    else:
        bench.approve()
        assert bench.hook(changed(tool_name=hostile)).verdict == "allow"


# --- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", sorted(FATAL), ids=lambda number: f"signal {int(number)}")
@pytest.mark.sample(12)
@pytest.mark.parametrize("given", [BASH, CODEX], ids=["claude code", "codex"])
def test_a_hook_that_is_ended_while_it_waits_for_its_input_denies(
    number: int, given: dict[str, Any], bench: Bench
) -> None:
    with bench.start() as process:
        assert process.stdin
        process.stdin.write(b" " * 1_000_000)  # more than a pipe holds: the hook reads by now
        process.stdin.flush()
        process.send_signal(number)
        process.wait(timeout=60)
        assert process.stdout
        assert process.stderr
        code, document = process.returncode, json.loads(process.stdout.read())
        text = process.stderr.read().decode()
    assert (code, document["hookSpecificOutput"]["permissionDecision"]) == (2, "deny")
    name = next((each.name for each in signal.Signals if each == number), f"signal {number}")
    said = "its time was up" if number == signal.SIGALRM else f"it was ended by {name}"
    assert said in text


def test_a_hook_that_was_started_with_blocked_signals_denies_when_it_is_ended(bench: Bench) -> None:
    blocking = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())"
    with subprocess.Popen(
        [sys.executable, "-c", f"{blocking}; os.execv(sys.argv[1], sys.argv[1:])", *bench.words()],
        env=bench.environment(HEADLESS),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        process.stdin.write(b" " * 1_000_000)  # more than a pipe holds: the hook reads by now
        process.stdin.flush()
        process.send_signal(signal.SIGTERM)
        said = Said(
            process.wait(timeout=60),
            *(each.read().decode() for each in (process.stdout, process.stderr) if each),
        )
    assert "it was ended by SIGTERM" in said.denial


def test_a_signal_that_does_not_interrupt_the_read_ends_the_wait_as_well(bench: Bench) -> None:
    """Another thread takes it, as a signal does that comes just before the system's wait: Python only notes it."""
    in_a_thread = (
        "import os, signal, sys, threading\n"
        "from nexus_control.guards import hook_process\n"
        "def take():\n"
        "    os.read(int(sys.argv[1]), 1)\n"
        "    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)\n"
        "threading.Thread(target=take, daemon=True).start()\n"
        "hook_process.main(sys.argv[2:])\n"
    )
    told, telling = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", in_a_thread, str(told), *bench.options],
        env=bench.environment(HEADLESS),
        pass_fds=[told],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        process.stdin.write(b" " * 1_000_000)  # more than a pipe holds: the hook reads by now
        process.stdin.flush()
        os.write(telling, b"!")
        said = Said(
            process.wait(timeout=30),
            *(each.read().decode() for each in (process.stdout, process.stderr) if each),
        )
    os.close(told)
    os.close(telling)
    assert "it was ended by SIGTERM" in said.denial


# --- the store ------------------------------------------------------------------------------------------------------


def missing(bench: Bench) -> None:
    bench.path.unlink()


def empty(bench: Bench) -> None:
    for path in bench.folder.glob("decisions.db*"):
        path.unlink()
    bench.path.touch()


def folder(bench: Bench) -> None:
    bench.path.unlink()
    bench.path.mkdir()


def damaged(bench: Bench) -> None:
    for path in bench.folder.glob("decisions.db*"):
        path.unlink()
    bench.path.write_bytes(b"no database" * 1000)


@pytest.mark.parametrize("away", [missing, empty, folder, damaged], ids=lambda each: each.__name__)
@pytest.mark.parametrize("given", [BASH, CODEX], ids=["claude code", "codex"])
def test_a_store_that_is_away_denies_and_is_not_made(away: Any, given: dict[str, Any], bench: Bench) -> None:
    away(bench)
    before = sorted(path.name for path in bench.folder.iterdir())
    assert "approvals cannot be checked now" in bench.hook(given).denial
    assert sorted(path.name for path in bench.folder.iterdir() if "-" not in path.name) == [
        name for name in before if "-" not in name
    ]


def test_without_a_place_for_the_store_a_call_is_denied(bench: Bench) -> None:
    said = bench.hook(BASH, options=["--config", str(bench.book)]).denial
    assert "--db is missing, and no configuration has a database" in said


def test_the_place_of_the_store_may_come_from_the_configuration_and_not_from_a_variable(bench: Bench) -> None:
    changes = {**HEADLESS, "NEXUS_CONTROL_DB": str(bench.path)}
    assert bench.hook(BASH, changes, options=["--config", str(bench.book)]).denial
    bench.book.write_text(f'database = "decisions.db"\n{bench.book.read_text()}', encoding="utf-8")
    assert bench.hook(BASH, options=["--config", str(bench.book)]).verdict == "defer"


def test_a_store_that_was_rolled_back_lets_no_approved_call_run(bench: Bench) -> None:
    bench.hook(BASH)
    request_id = bench.approve()
    kept = bench.folder / "kept"
    kept.mkdir()
    with NexusControlTools(bench.path) as tools:
        data_of(tools.status(request_id))
    shutil.copy(bench.path, kept)
    assert bench.hook(BASH).verdict == "allow"
    bench.hook(RAN)
    for path in (bench.path, *bench.folder.glob("decisions.db-*")):
        path.unlink(missing_ok=True)
    shutil.copy(kept / "decisions.db", bench.path)
    assert "STORE_ROLLED_BACK" in bench.hook(BASH).denial


@pytest.mark.skipif(not IN_FULL, reason="waits for a lock, which takes 15 seconds: make joints")
def test_a_store_that_somebody_keeps_locked_denies(bench: Bench) -> None:
    with sqlite3.connect(bench.path, isolation_level=None) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert "approvals cannot be checked now" in bench.hook(BASH).denial
        connection.execute("ROLLBACK")
    connection.close()


# --- how it is called -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--db", "decisions.db"], "--db must be an absolute path"),
        (["--config=book.toml"], "--config must be an absolute path"),
        (["--db"], "--db needs a value"),
        (["--dbb", "/x"], "--dbb is not an option of hook"),
        (["--origin"], "--origin needs a value"),
        (["/x"], "/x is not an option of hook"),
    ],
)
def test_a_hook_that_is_registered_wrongly_denies(options: list[str], said: str, bench: Bench) -> None:
    assert said in bench.hook(BASH, options=options).denial


def test_options_before_the_command_are_understood(bench: Bench) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "nexus_control", "--db", str(bench.path), "hook", "--config", str(bench.book)],
        input=json.dumps(BASH).encode(),
        env=bench.environment(HEADLESS),
        cwd=bench.folder,
        capture_output=True,
        timeout=120,
    )
    assert b'"permissionDecision": "defer"' in ended.stdout


def test_a_hook_costs_at_most_half_more_than_a_look_at_a_request(bench: Bench) -> None:
    bench.hook(BASH)
    (request_id,) = bench.requests()
    with by_children() as looking:
        ended = nexus_control("status", request_id, "--db", str(bench.path))
    assert ended.returncode == 0
    with by_children() as asking:
        assert bench.hook(BASH).verdict == "defer"
    assert asking.seconds < 1.5 * looking.seconds


# --- whose claim it is ----------------------------------------------------------------------------------------------

HOST = """
import os, subprocess, sys
environment = {**os.environ, "CLAUDE_PID": sys.argv[1] or str(os.getpid())}
given = sys.stdin.buffer.readline()
shell = ["sh", "-c", '"$@"; exit $?', "sh"]
ended = subprocess.run([*shell, *sys.argv[2:]], env=environment, input=given, stdout=subprocess.PIPE)
sys.stdout.buffer.write(ended.stdout or b"{}\\n")
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.mark.parametrize("given", [BASH, CODEX], ids=["claude code", "codex"])
@pytest.mark.parametrize("named", ["", "1", "no number", "999999999999999999999"])
def test_a_claim_is_the_host_s_while_it_lives_and_its_outcome_is_unknown_afterwards(
    named: str, given: dict[str, Any], bench: Bench
) -> None:
    bench.hook(given)
    request_id = bench.approve()
    with subprocess.Popen(
        [sys.executable, "-c", HOST, named, *bench.words()],
        env=bench.environment(HEADLESS),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as host:
        assert host.stdin
        assert host.stdout
        host.stdin.write(json.dumps(given).encode() + b"\n")
        host.stdin.flush()
        host.stdout.readline()
        with NexusControlTools(bench.path) as tools:
            assert data_of(tools.recover())["recovered"] == []
        assert bench.state(request_id) == "executing"
        host.kill()
    assert "it may or may not have taken effect" in bench.hook(given).denial
    assert bench.state(request_id) == "outcome_unknown"


def test_a_second_signal_does_not_keep_the_first_ones_denial_back(bench: Bench) -> None:
    for _ in range(ROUNDS // 4):
        with bench.start() as process:
            assert process.stdin
            process.stdin.write(b" " * 1_000_000)  # more than a pipe holds: the hook reads by now
            process.stdin.flush()
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                process.send_signal(number)
            process.wait(timeout=60)
            assert process.stdout
            assert process.stderr
            document = json.loads(process.stdout.read())
            process.stderr.read()
        assert process.returncode == 2
        assert document["hookSpecificOutput"]["permissionDecision"] == "deny"
