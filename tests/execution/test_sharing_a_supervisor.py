"""Commands of one block have the same supervisor, and no more to do with each other than those of several."""

import os
import resource
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from nexus_control.execution.supervised import run_supervised, sharing_a_supervisor
from nexus_control.execution.supervision import Ended, Supervisor
from nexus_control.execution.talking import talking
from tests.execution.support import (
    eventually,
    keys_router,
    lives,
    open_descriptors,
    pids_in,
    plan,
    step,
    tool,
)

ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C"}
ROOT = Path(__file__).parent.parent.parent
TELL = 'echo "$PPID"'


def run(folder: Path, script: str, *, seconds: float = 20, **more: str) -> Ended:
    return run_supervised(
        ["bash", "-c", script],
        cwd=folder,
        environment={**ENVIRONMENT, **more},
        timeout_seconds=seconds,
        max_output_bytes=1000,
    )


def supervisors(*ended: Ended) -> set[bytes]:
    return {each.stdout for each in ended}


def test_commands_of_one_block_have_the_same_supervisor_and_others_have_their_own(tmp_path: Path) -> None:
    with sharing_a_supervisor():
        first = run(tmp_path, TELL)
        with sharing_a_supervisor():
            inner = run(tmp_path, TELL)
        second = run(tmp_path, TELL)
    assert len(supervisors(first, inner, second)) == 1
    assert len(supervisors(first, run(tmp_path, TELL), run(tmp_path, TELL))) == 3


def test_the_steps_of_a_run_have_the_same_supervisor_and_two_runs_have_not(tmp_path: Path) -> None:
    router = keys_router(tmp_path, {"tell": tool("sh", "-c", 'echo "$PPID" >> told')})
    for _ in range(2):
        router.run("g", "subprocess:keys", False, plan(step("tell", "s1"), step("tell", "s2")))
    first, second, third, fourth = (tmp_path / "told").read_text().split()
    assert (first, third) == (second, fourth)
    assert first != third


def test_a_command_knows_nothing_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with sharing_a_supervisor():
        run(tmp_path, "export LEFT=1; trap '' TERM PIPE; cd /; umask 0; ulimit -n 20", SECRET="s3cret")
        ended = run(tmp_path / "other", "pwd; env; ls /proc/self/fd | wc -l; (yes | head -n 1); trap")
    said = ended.stdout.decode().split()
    assert said[0] == str(tmp_path / "other")
    assert not {"LEFT=1", "SECRET=s3cret"} & set(said)
    assert said[-2:] == ["4", "y"]  # 0, 1, 2, and the folder that ls reads


@pytest.mark.parametrize(
    ("before", "ending"),
    [
        ("exit 3", "exited"),
        ("kill -TERM $$", "exited"),
        ("kill -TERM $PPID; sleep 3600", "exited"),
        ("kill -KILL $PPID; sleep 3600", "lost"),
        ("kill -STOP $PPID; sleep 3600", "lost"),
        ("sleep 3600", "timed_out"),
    ],
)
def test_whatever_becomes_of_a_command_the_next_one_runs(tmp_path: Path, before: str, ending: str) -> None:
    with sharing_a_supervisor():
        assert run(tmp_path, before, seconds=2 if ending == "timed_out" else 60).ending == ending
        assert run(tmp_path, "echo next") == Ended(ending="exited", exit_code=0, stdout=b"next\n")


def test_after_a_program_that_cannot_be_started_the_next_one_runs(tmp_path: Path) -> None:
    with sharing_a_supervisor():
        for argv, cwd in ((["./nothing"], tmp_path), (["true"], tmp_path / "nowhere")):
            ended = run_supervised(
                argv, cwd=cwd, environment=ENVIRONMENT, timeout_seconds=20, max_output_bytes=9
            )
            assert (ended.ending, ended.detail) == ("not_started", "No such file or directory")
        assert run(tmp_path, "echo next").stdout == b"next\n"


def test_where_no_more_files_can_be_opened_a_command_does_not_start_and_a_later_one_does(
    tmp_path: Path,
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with sharing_a_supervisor():
        os.close(free := os.dup(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, limits[1]))
        try:
            ended = run(tmp_path, "echo 1 > effect")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert (ended.ending, ended.detail) == ("not_started", "Too many open files")
        assert run(tmp_path, "echo next").stdout == b"next\n"
    assert not (tmp_path / "effect").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_a_supervisor_that_is_struck_between_two_commands_is_replaced(
    tmp_path: Path, number: signal.Signals
) -> None:
    with sharing_a_supervisor():
        struck = int(run(tmp_path, TELL).stdout)
        os.kill(struck, number)
        assert eventually(lambda: _state(struck) in "TZ")
        second = run(tmp_path, TELL)
    assert (second.ending, second.exit_code) == ("exited", 0)
    assert int(second.stdout) != struck
    assert not lives(struck)


def test_a_waiting_process_that_is_struck_between_two_commands_is_not_taken_for_a_command(
    tmp_path: Path,
) -> None:
    with sharing_a_supervisor():
        supervisor = int(run(tmp_path, TELL).stdout)
        assert eventually(lambda: len(_children_of(supervisor)) == 1)
        (waiting,) = _children_of(supervisor)
        os.kill(waiting, signal.SIGKILL)
        assert eventually(lambda: _children_of(supervisor) not in ([], [waiting]))
        ended = run(tmp_path, "echo next")
    assert ended.stdout == b"next\n"


def test_a_daemon_of_one_command_does_not_speak_in_the_output_of_the_next(tmp_path: Path) -> None:
    daemon = (
        "trap '' PIPE; echo \\$\\$ >> pids; until test -s go; do sleep 0.01; done; echo late; echo 1 > said"
    )
    with sharing_a_supervisor():
        run(tmp_path, f'setsid bash -c "{daemon}; exec sleep 3600" & until test -s pids; do sleep 0.01; done')
        ended = run(tmp_path, "echo 1 > go; until test -s said; do sleep 0.01; done; echo mine", seconds=60)
    os.kill(pids_in(tmp_path / "pids", 1)[0], signal.SIGKILL)
    assert ended.stdout == b"mine\n"


def test_a_block_leaves_neither_processes_nor_descriptors(tmp_path: Path) -> None:
    run(tmp_path, TELL)
    before, children = open_descriptors(), _children_of(os.getpid())
    with sharing_a_supervisor():
        ended = run(tmp_path, f"{TELL}; sleep 0")
        assert lives(int(ended.stdout))
    assert open_descriptors() == before
    assert not lives(int(ended.stdout))
    assert _children_of(os.getpid()) == children


PARENT = """
import os, sys
from pathlib import Path
from nexus_control.execution.supervised import run_supervised, sharing_a_supervisor
with sharing_a_supervisor():
    run_supervised(
        ["sh", "-c", "echo $PPID >> pids"],
        cwd=Path.cwd(), environment={"PATH": os.environ["PATH"]}, timeout_seconds=60, max_output_bytes=99,
    )
    if len(sys.argv) > 1 and os.fork() == 0:
        Path("holder").write_text(str(os.getpid()))
    sys.stdin.read()
"""


@pytest.mark.parametrize("held", [[], ["by a fork"]])
def test_a_supervisor_that_waits_for_a_command_does_not_outlive_us(tmp_path: Path, held: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *held],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
    ) as parent:
        (supervisor,) = pids_in(tmp_path / "pids", 1)
        holders = pids_in(tmp_path / "holder", 1) if held else []
        assert eventually(lambda: len(_children_of(supervisor)) == 1)
        (waiting,) = _children_of(supervisor)
        parent.kill()
        parent.wait()
        try:
            assert eventually(lambda: not lives(supervisor) and not lives(waiting))
            assert all(map(lives, holders))
        finally:
            for holder in holders:
                os.kill(holder, signal.SIGKILL)


def test_a_waiting_process_does_not_outlive_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    with sharing_a_supervisor():
        supervisor = int(run(tmp_path, TELL).stdout)
        assert eventually(lambda: len(_children_of(supervisor)) == 1)
        (waiting,) = _children_of(supervisor)
        os.kill(supervisor, signal.SIGKILL)
        assert eventually(lambda: not lives(waiting))


def test_a_fork_of_us_does_not_use_our_supervisor(tmp_path: Path) -> None:
    with sharing_a_supervisor():
        ours = run(tmp_path, TELL)
        child = os.fork()
        if child == 0:
            run(tmp_path, 'echo "$PPID" > told')
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert (tmp_path / "told").read_bytes() != ours.stdout
        assert run(tmp_path, TELL).stdout == ours.stdout


def test_a_fork_of_us_leaves_no_supervisor_of_its_own(tmp_path: Path) -> None:
    with sharing_a_supervisor():
        child = os.fork()
        if child == 0:
            for _ in range(2):
                run(tmp_path, TELL)
            os._exit(len(_children_of(os.getpid())))
        assert os.waitpid(child, 0)[1] == 0


def test_an_exception_while_a_supervisor_is_taken_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_supervisor: object) -> bool:
        raise KeyboardInterrupt

    children = _children_of(os.getpid())
    with sharing_a_supervisor():
        with monkeypatch.context() as patched:
            patched.setattr(Supervisor, "is_ready", property(interrupted))
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path, TELL)
        assert _children_of(os.getpid()) == children
        assert run(tmp_path, "echo next").stdout == b"next\n"


def test_with_many_open_files_a_command_runs_as_before(tmp_path: Path) -> None:
    limits, children = resource.getrlimit(resource.RLIMIT_NOFILE), _children_of(os.getpid())
    resource.setrlimit(resource.RLIMIT_NOFILE, (1400, limits[1]))
    with ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        for _ in range(1100):
            opened.callback(os.close, os.dup(0))
        with sharing_a_supervisor():
            ended = [run(tmp_path, "echo out; echo no >&2; exit 3") for _ in range(2)]
            assert run(tmp_path, "sleep 3600", seconds=1).ending == "timed_out"
        argv = ["sh", "-c", "read word; echo $word; exit 4"]
        with talking(argv, cwd=tmp_path, environment=ENVIRONMENT) as talk:
            os.write(talk.stdin, b"hello\n")
            assert talk.end(60) == "exited with code 4"
            assert os.read(talk.stdout, 99) == b"hello\n"
    assert {(each.stdout, each.stderr, each.exit_code) for each in ended} == {(b"out\n", b"no\n", 3)}
    assert _children_of(os.getpid()) == children


def _children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
