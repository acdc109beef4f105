import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nexus_control.execution.stopping import Stop, heeding
from nexus_control.execution.supervised import run_supervised
from nexus_control.execution.supervision import Ended, spelled
from tests.execution.support import carrying, eventually, lives, open_descriptors, pids_in
from tests.support.cpu import by_children

ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C"}
ROOT = Path(__file__).parent.parent.parent


def run(folder: Path, *argv: str, seconds: float = 20, max_output_bytes: int = 100_000, **more: str) -> Ended:
    return run_supervised(
        argv,
        cwd=folder,
        environment={**ENVIRONMENT, **more},
        timeout_seconds=seconds,
        max_output_bytes=max_output_bytes,
    )


def test_output_exit_code_and_folder_are_the_commands_own(tmp_path: Path) -> None:
    ended = run(tmp_path, "sh", "-c", "pwd; echo no >&2; exit 3")
    assert ended == Ended(
        ending="exited", exit_code=3, stdout=f"{tmp_path}\n".encode(), stderr=b"no\n", last_words=b"no\n"
    )


@pytest.mark.parametrize("lang", ["C", "C.UTF-8", "en_US.UTF-8"])
def test_the_environment_is_exactly_what_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lang: str
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    ended = run(tmp_path, "env", "-0", LANG=lang, EMPTY="", ODD="a=b\nc é")
    given = {**ENVIRONMENT, "LANG": lang, "EMPTY": "", "ODD": "a=b\nc é"}
    assert set(ended.stdout.decode().split("\0")) == {f"{k}={v}" for k, v in given.items()} | {""}


@pytest.mark.parametrize(
    "argument",
    ["; rm -rf /", "a b", "a\nb", "$(id)", "`id`", "*", "é 日本 🔑", "", "'", '"', "\\", "-", "a\tb", "\x7f"],
)
def test_an_argument_arrives_as_it_was_given(tmp_path: Path, argument: str) -> None:
    ended = run(tmp_path, "printf", "%s|", argument, "end")
    assert ended.stdout.decode() == f"{argument}|end|"


def test_standard_input_is_empty_and_no_descriptor_of_ours_is_open(tmp_path: Path) -> None:
    ended = run(tmp_path, "sh", "-c", "cat; ls /proc/self/fd")
    assert ended.stdout.split() in ([b"0", b"1", b"2", b"3"], [b"0", b"1", b"2"])


def test_signals_have_their_default_meaning(tmp_path: Path) -> None:
    ended = run(tmp_path, "sh", "-c", "yes | head -n 1; kill -TERM $$")
    assert (ended.stdout, ended.exit_code) == (b"y\n", -signal.SIGTERM)


@pytest.mark.parametrize(
    "program", ["./nothing", "nothing-of-this-name", "/", "./not-executable", "./not-a-program"]
)
def test_a_program_that_cannot_be_started_did_not_start(tmp_path: Path, program: str) -> None:
    (tmp_path / "not-executable").write_text("#!/bin/sh\n")
    (tmp_path / "not-a-program").write_bytes(b"\0\1\2")
    (tmp_path / "not-a-program").chmod(0o755)
    ended = run(tmp_path, program)
    assert ended.ending == "not_started"
    assert ended.detail


def test_a_folder_or_an_argument_that_the_system_refuses_is_a_command_that_did_not_start(
    tmp_path: Path,
) -> None:
    assert run(tmp_path / "nowhere", "true").ending == "not_started"
    assert run(tmp_path, "true", "x" * 10_000_000).ending == "not_started"


def test_at_its_time_limit_a_command_is_killed_with_all_its_descendants(tmp_path: Path) -> None:
    # `set -m` gives each job a process group of its own; the last shell ignores what can be ignored.
    script = """
    set -m
    echo $$ >> pids
    sleep 3600 && echo of itself >> ended & echo $! >> pids
    (trap '' TERM HUP INT; sleep 3601 & echo $! >> pids; wait) &
    echo begun
    wait
    """
    ended = run(tmp_path, "bash", "-c", script, seconds=3)
    assert (ended.ending, ended.exit_code, ended.stdout) == ("timed_out", None, b"begun\n")
    assert not (tmp_path / "ended").exists()
    assert not [pid for pid in pids_in(tmp_path / "pids", 3) if lives(pid)]


def test_beyond_its_output_limit_a_command_goes_on_to_its_end_and_its_output_is_cut(tmp_path: Path) -> None:
    script = "yes | head -c 5000000; echo done > work; echo why >&2; exit 3"
    ended = run(tmp_path, "sh", "-c", script, max_output_bytes=5000)
    assert (ended.ending, ended.exit_code, ended.cut) == ("exited", 3, {"stdout", "stderr"})
    assert (ended.stdout, ended.stderr) == (b"y\n" * 2500, b"")
    assert ended.last_words == b"why\n"
    assert (tmp_path / "work").read_text() == "done\n"


def test_beyond_its_output_limit_a_command_that_does_not_end_is_killed_at_its_time_limit(
    tmp_path: Path,
) -> None:
    ended = run(tmp_path, "sh", "-c", "echo $$ >> pids; exec yes", seconds=3, max_output_bytes=5000)
    assert (ended.ending, ended.stdout) == ("timed_out", b"y\n" * 2500)
    assert not lives(pids_in(tmp_path / "pids", 1)[0])


@pytest.mark.parametrize(
    ("script", "cut"),
    [
        ("printf 12345", set[str]()),
        ("printf 123456", {"stdout"}),
        ("printf 123 >&2; printf 45", set[str]()),
        ("printf 12345 >&2; printf 6 >&2", {"stderr"}),
    ],
)
def test_output_is_cut_where_there_is_more_than_the_limit(tmp_path: Path, script: str, cut: set[str]) -> None:
    ended = run(tmp_path, "sh", "-c", script, max_output_bytes=5)
    assert (ended.cut, len(ended.stdout) + len(ended.stderr)) == (cut, 5)


def test_output_up_to_the_limit_is_whole(tmp_path: Path) -> None:
    ended = run(tmp_path, "sh", "-c", "head -c 50000 /dev/zero; head -c 50000 /dev/zero >&2")
    assert (ended.ending, len(ended.stdout), len(ended.stderr)) == ("exited", 50_000, 50_000)


def test_what_a_command_leaves_in_its_session_ends_with_it_and_is_counted(tmp_path: Path) -> None:
    # Both hold the output open; `set -m` gives each a process group of its own.
    script = "set -m; sleep 3600 & echo $! >> pids; sleep 3601 & echo $! >> pids; echo over; exit 0"
    ended = run(tmp_path, "bash", "-c", script)
    assert (ended.ending, ended.exit_code, ended.stdout, ended.left_behind) == ("exited", 0, b"over\n", 2)
    assert not [pid for pid in pids_in(tmp_path / "pids", 2) if lives(pid)]


def test_a_command_that_waits_for_its_children_leaves_nothing_behind(tmp_path: Path) -> None:
    assert run(tmp_path, "sh", "-c", "sleep 0 & wait; true | true").left_behind == 0


def test_a_daemon_that_holds_the_output_open_does_not_hold_us(tmp_path: Path) -> None:
    script = (
        "setsid sh -c 'echo $$ >> pids; exec sleep 3600' & while ! test -s pids; do sleep 0.01; done; echo up"
    )
    ended = run(tmp_path, "sh", "-c", script)
    (daemon,) = pids_in(tmp_path / "pids", 1)
    os.kill(daemon, signal.SIGKILL)  # it left the session, which is documented as not stopped
    assert (ended.ending, ended.exit_code, ended.stdout) == ("exited", 0, b"up\n")


SESSION = "set -m; sleep 3600 & sleep 3601 & set +m; sleep 3602 & echo $$ >> pids"


@pytest.mark.parametrize(
    ("attack", "ending", "seconds"),
    [
        ("kill -KILL $PPID", "lost", 60),
        ("kill -STOP $PPID", "lost", 60),
        ("kill -STOP $PPID; exit 0", "lost", 60),
        ("kill -KILL 0", "exited", 60),
        ("kill -STOP 0", "timed_out", 1),
        ("kill -STOP $PPID; kill -KILL $PPID; kill -KILL 0", "lost", 60),
    ],
)
def test_nothing_is_left_of_a_command_that_turns_on_its_supervisor(
    tmp_path: Path, attack: str, ending: str, seconds: float
) -> None:
    marker = f"marked={tmp_path}"
    ended = run(tmp_path, "bash", "-c", f"{SESSION}; {attack}; wait", seconds=seconds, marked=str(tmp_path))
    assert ended.ending == ending
    assert ended.exit_code in (None, -signal.SIGKILL)
    assert eventually(lambda: not carrying(marker)), "a process of the session is left"


STOPPED = """
import os
from pathlib import Path
from nexus_control.execution import supervised
supervised.is_stopped = lambda _: False  # it is killed before it notices
supervised.run_supervised(
    ["bash", "-c", "set -m; sleep 3600 & set +m; kill -STOP $PPID; echo $PPID >> pids; sleep 3601; sleep 3602"],
    cwd=Path.cwd(), environment={"PATH": os.environ["PATH"], "marked": str(Path.cwd())},
    timeout_seconds=60, max_output_bytes=99,
)
"""


def test_nothing_outlives_us_even_if_the_command_has_stopped_its_supervisor(tmp_path: Path) -> None:
    with _python(tmp_path, STOPPED) as parent:
        pids_in(tmp_path / "pids", 1)
        parent.kill()
        parent.communicate()
        assert eventually(lambda: not carrying(f"marked={tmp_path}")), "a child outlived its parent"


def test_a_supervisor_that_is_told_to_end_kills_its_command(tmp_path: Path) -> None:
    ended = run(tmp_path, "sh", "-c", "kill -TERM $PPID; exec sleep 3600")
    assert (ended.ending, ended.exit_code) == ("exited", -signal.SIGKILL)


def test_a_command_may_signal_its_whole_group(tmp_path: Path) -> None:
    ended = run(tmp_path, "sh", "-c", "trap 'exit 7' TERM; kill -TERM 0")
    assert (ended.ending, ended.exit_code) == ("exited", 7)


def test_nothing_of_ours_stays_open(tmp_path: Path) -> None:
    run(tmp_path, "true")
    before = open_descriptors()
    for argv in (["true"], ["./nothing"], ["sh", "-c", "exit 1"]):
        run(tmp_path, *argv)
    run(tmp_path / "nowhere", "true")
    assert open_descriptors() == before


PARENT = """
import os
from pathlib import Path
from nexus_control.execution.supervised import run_supervised
run_supervised(
    ["sh", "-c", "echo $$ >> pids; sleep 3600 & echo $! >> pids; wait"],
    cwd=Path.cwd(), environment={"PATH": os.environ["PATH"]}, timeout_seconds=60, max_output_bytes=99,
)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_us_however_we_die(tmp_path: Path, number: signal.Signals) -> None:
    with _python(tmp_path, PARENT) as parent:
        pids = pids_in(tmp_path / "pids", 2)
        assert all(map(lives, pids))
        parent.send_signal(number)
        parent.communicate()
        assert eventually(lambda: not any(map(lives, pids))), "a child outlived its parent"


LIFELINE_HOLDER = """
import os, threading, time
from pathlib import Path
from nexus_control.execution.supervised import run_supervised
def run():
    run_supervised(
        ["sh", "-c", "echo $$ >> pids; exec sleep 3600"],
        cwd=Path.cwd(), environment={"PATH": os.environ["PATH"]}, timeout_seconds=60, max_output_bytes=99,
    )
threading.Thread(target=run, daemon=True).start()
while not Path("pids").exists():
    time.sleep(0.01)
if os.fork() == 0:
    Path("holder").write_text(str(os.getpid()))
time.sleep(3600)
"""


def test_nothing_outlives_us_even_if_a_fork_of_us_holds_the_lifeline(tmp_path: Path) -> None:
    with _python(tmp_path, LIFELINE_HOLDER) as parent:
        (holder,) = pids_in(tmp_path / "holder", 1)
        (child,) = pids_in(tmp_path / "pids", 1)
        parent.kill()
        parent.wait()
        try:
            assert eventually(lambda: not lives(child))
            assert lives(holder)
        finally:
            os.kill(holder, signal.SIGKILL)


def test_an_interrupt_kills_the_command_and_goes_on_up(tmp_path: Path) -> None:
    with _python(tmp_path, PARENT) as parent:
        pids = pids_in(tmp_path / "pids", 2)
        parent.send_signal(signal.SIGINT)
        _, said = parent.communicate()
    assert b"KeyboardInterrupt" in said
    assert not any(map(lives, pids))


def test_a_command_costs_at_most_ten_starts_of_a_bare_python(tmp_path: Path) -> None:
    with by_children() as bare:
        for _ in range(5):
            subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True)
    with by_children() as spent:
        for _ in range(5):
            run(tmp_path, "true")
    assert spent.seconds < 10 * bare.seconds


def _python(folder: Path, source: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", source],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )


def test_a_command_whose_parent_died_while_it_was_started_does_not_live(tmp_path: Path) -> None:
    # The script alone, elsewhere: it needs nothing but Python. Its lifeline has ended when it gets its command.
    script = shutil.copy(ROOT / "nexus_control" / "execution" / "supervisor.py", tmp_path)
    commands, commands_end = socket.socketpair()
    report, report_end = os.pipe()
    with commands, commands_end, os.fdopen(report) as reports, Path(os.devnull).open("rb") as null:
        command = spelled(["sleep", "3600"], tmp_path, ENVIRONMENT)
        socket.send_fds(commands, [len(command).to_bytes(8, "big") + command], [null.fileno()] * 3)
        subprocess.run(
            [sys.executable, "-I", "-S", script, *map(str, (os.getpid(), commands_end.fileno(), report_end))],
            stdin=subprocess.DEVNULL,
            pass_fds=[commands_end.fileno(), report_end],
            check=True,
            timeout=240,
        )
        os.close(report_end)
        assert reports.readlines()[-1].split()[0] == "exit"


def test_an_order_to_stop_kills_a_command_with_all_its_descendants(tmp_path: Path) -> None:
    stop = Stop()

    def order() -> None:
        pids_in(tmp_path / "pids", 2)
        stop.order("the server ended")

    ordering = threading.Thread(target=order)
    ordering.start()
    with heeding(stop):
        ended = run(tmp_path, "sh", "-c", "echo $$ >> pids; sleep 3600 & echo $! >> pids; wait", seconds=60)
    ordering.join()
    assert (ended.ending, ended.exit_code, ended.detail) == ("stopped", None, "the server ended")
    assert not [pid for pid in pids_in(tmp_path / "pids", 2) if lives(pid)]


def test_an_order_to_stop_is_for_those_who_heed_it(tmp_path: Path) -> None:
    stop = Stop()
    stop.order("the server ended")
    with heeding(Stop()):
        assert run(tmp_path, "true").ending == "exited"
    assert run(tmp_path, "true").ending == "exited"
