"""What an approved step calls, and how it misbehaves: a program, a Python function and an MCP server. Each takes the
fault's name.

An effect is a line in the file `effect` of the folder. Every process of a case has the variable FAULTY in its
environment, and `FAULTY=0` lets a step simply work.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from nexus_control import LocalRouter, PythonAdapter
from nexus_control.execution.config import load_adapters
from nexus_control.execution.tool_pins import pin_of, write_pins
from tests.support import raw_server

SETTINGS_FILE = "nexus-control.toml"
SETTINGS = """
[adapters.keys]
kind = "{kind}"
capabilities = ["apply"]
timeout_seconds = {seconds}
max_output_bytes = 10_000
env = {{ FAULTY = "{marker}" }}
"""
CALLED = {
    "subprocess": '[adapters.keys.tools.act]\nargv = ["./keys", "{fault}"]\n',
    "mcp": 'command = "./keys"\ntools = ["act"]\n',
}

PROGRAM = r"""#!/bin/sh
act() { echo done >> effect; }
end_ours() { kill -KILL "$(sed -n 's/^PPid:\t//p' "/proc/$PPID/status")"; }
idle() { sleep 3600 & sleep 3601; }
case $1 in
"works") act ;;
"exits before the effect") exit 3 ;;
"exits after the effect") act; exit 3 ;;
"dies before the effect") kill -SEGV $$ ;;
"dies after the effect") act; kill -SEGV $$ ;;
"hangs before the effect") idle; act ;;
"hangs after the effect") act; idle ;;
"prints garbage") act; printf '\377\000\033[2J\r{"id":'; printf '\200\n' >&2 ;;
"floods 100 MB") act; head -c 100000000 /dev/zero ;;
"claims to have failed") act; echo '{"run_id": "other", "status": "failed", "error": "no", "effect": "none"}' ;;
"claims to have acted") echo '{"status": "completed", "effect": "done"}' ;;
"asks back") echo 'Really? [y/N]'; read -r answer && act ;;
"asks at the terminal") read -r answer < /dev/tty && act ;;
"leaves children behind") act; set -m; sleep 3600 & sleep 3601 & ;;
"fills the disk") act; cat /dev/zero > filler ;;
"kills us before the effect") end_ours; idle; act ;;
"kills us after the effect") act; end_ours; idle ;;
esac
"""


SERVER = f"#!{sys.executable} -IS\n{Path(raw_server.__file__).read_text()}"


def act(fault: str) -> Any:
    """The Python function of a step."""
    misbehave = FAULTS.get(fault) if os.environ.get("FAULTY", "0") != "0" else None
    return effect() if misbehave is None else misbehave()


def effect() -> str:
    with Path("effect").open("a") as file:
        file.write("done\n")
    return "done"


def _exit() -> NoReturn:
    sys.exit(3)


def _raise() -> NoReturn:
    raise ValueError("no")


def _die() -> NoReturn:
    os._exit(3)


def _end_by(number: signal.Signals) -> None:
    """As somebody who ends the command does it, while the function hangs."""
    os.kill(os.getpid(), number)
    threading.Event().wait()


class _Garbage:
    def __repr__(self) -> str:
        return "\ud800\x1b[2J\0"


def _flood() -> str:
    for _ in range(100):
        sys.stdout.write("x" * 1_000_000)
    return "x" * 2_000_000  # more than is kept of an answer


def _claim_failure() -> dict[str, str]:
    effect()
    return {"run_id": "other", "status": "failed", "error": "no", "effect": "none"}


def _after(misbehave: Callable[[], Any]) -> Callable[[], Any]:
    def acted() -> Any:
        effect()
        return misbehave()

    return acted


FAULTS: dict[str, Callable[[], Any]] = {
    "exits before the effect": _exit,
    "exits after the effect": _after(_exit),
    "raises before the effect": _raise,
    "raises after the effect": _after(_raise),
    "ends us before the effect": _die,
    "ends us after the effect": _after(_die),
    "hangs before the effect": lambda: _end_by(signal.SIGTERM),
    "hangs after the effect": _after(lambda: _end_by(signal.SIGTERM)),
    "prints garbage": _after(lambda: [_Garbage(), float("nan"), 2**70]),
    "floods 100 MB": _after(_flood),
    "claims to have failed": _claim_failure,
    "claims to have acted": lambda: {"status": "completed", "effect": "done"},
    "asks back": lambda: input("Really? [y/N]") and effect(),
    "kills us before the effect": lambda: _end_by(signal.SIGKILL),
    "kills us after the effect": _after(lambda: _end_by(signal.SIGKILL)),
}


def python_router() -> LocalRouter:
    """The router that `--router` makes: its runs are beside the store of this folder, as those of a configured one."""
    methods = {} if os.environ.get("MISSING") else {"act": _changed if os.environ.get("CHANGED") else act}
    return LocalRouter([PythonAdapter("keys", methods, capabilities=["apply"])], "store.db.runs")


def _changed(fault: str, harder: bool = True) -> Any:
    return act(fault)


def configured_router() -> LocalRouter:
    return LocalRouter(load_adapters(SETTINGS_FILE), "store.db.runs")


def pin() -> None:
    """Pin the server's tool, as its owner who looked at it does."""
    write_pins(Path(SETTINGS_FILE), {"mcp:keys": {"act": pin_of(raw_server.TOOL)}})
