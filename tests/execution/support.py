"""What the tests of execution share: plans, processes that must not live, a clock that counts."""

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nexus_control.execution.adapter import Adapters
from nexus_control.execution.argv_template import ArgvTemplate
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.subprocess_adapter import ArgvAdapter, ArgvTool, ProcessSettings

VECTORS = Path(__file__).parent.parent / "vectors" / "router"


def vector(name: str) -> dict[str, Any]:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def step(method: str, step_id: str = "s1", tool: str = "keys", **args: object) -> dict[str, Any]:
    return {"step_id": step_id, "intent": "test", "call": {"tool": tool, "method": method, "args": args}}


def plan(*steps: Mapping[str, object]) -> str:
    return json.dumps(steps)


def tool(*argv: str, dry_run: list[str] | None = None) -> ArgvTool:
    return ArgvTool(
        argv=ArgvTemplate.of(argv), dry_run_argv=ArgvTemplate.of(dry_run) if dry_run is not None else None
    )


def keys_adapter(
    base: Path, tools: dict[str, ArgvTool], *, timeout_seconds: int = 20, max_output_bytes: int = 100_000
) -> ArgvAdapter:
    settings = ProcessSettings(base=base, timeout_seconds=timeout_seconds, max_output_bytes=max_output_bytes)
    return ArgvAdapter("keys", tools, capabilities=["apply", "dry_run"], settings=settings)


def keys_router(base: Path, tools: dict[str, ArgvTool]) -> LocalRouter:
    return LocalRouter(Adapters([keys_adapter(base, tools)]))


class CountingClock:
    """A second later each time it is asked, and ids that count."""

    def __init__(self) -> None:
        self._instant = datetime(2026, 1, 1, tzinfo=UTC)
        self._ids = 0

    def now(self) -> datetime:
        self._instant += timedelta(seconds=1)
        return self._instant

    def new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids}"


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def carrying(variable: str) -> list[int]:
    """The living processes that were started with this variable (NAME=VALUE) in their environment."""
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _carries(entry, variable.encode())]


def _carries(process: Path, variable: bytes) -> bool:
    try:
        return variable in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def eventually(condition: Callable[[], bool], seconds: float = 240.0) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def pids_in(path: Path, count: int) -> list[int]:
    """The process ids that a test's processes wrote to a file, one a line, once there are `count`."""
    assert eventually(lambda: path.exists() and len(path.read_text().split()) >= count), "nobody wrote a pid"
    return [int(pid) for pid in path.read_text().split()]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, not paths
