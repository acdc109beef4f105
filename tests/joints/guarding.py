"""An agent host with the hook that `install --hook` prints for it, and the people at the store behind it."""

import subprocess
import sys
from pathlib import Path

from tests.support.hooking import Bench

SOME = """
default = "{default}"
[[rules]]
tool = "Bash"
template = "one"
[[rules]]
tool = "mcp__notes__*"
template = "one"
"""


def office(folder: Path, default: str = "allow") -> Bench:
    """A store under whose rule book the shell and the tools of one server need an approval."""
    folder.mkdir()
    return Bench(folder, SOME.format(default=default))


def registration(bench: Bench, host: str) -> str:
    """What `install --hook` prints for this store and this rule book."""
    return _run(bench, "install", "--host", host, "--hook", "--config", str(bench.book))


def approve(bench: Bench) -> str:
    """In a process of its own a person approves the one request that waits."""
    (request_id,) = bench.requests(state="pending_approval")
    _run(bench, "approve", request_id, "--as", "human:bob", "--yes")
    return request_id


def deny(bench: Bench, reason: str) -> None:
    (request_id,) = bench.requests(state="pending_approval")
    _run(bench, "deny", request_id, "--as", "human:bob", "--reason", reason, "--yes")


def _run(bench: Bench, *words: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "nexus_control", *words, "--db", str(bench.path)],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
