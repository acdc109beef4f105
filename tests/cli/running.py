"""Runs the command line as its users do."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.places import REPOSITORY


def environment(**changes: str) -> dict[str, str]:
    """Ours, but for what would choose width or colour."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error", **changes}


def nexus_control(
    *arguments: str, folder: Path | None = None, changes: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """One run of the command line in a process of its own, as from a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "nexus_control", *arguments],
        cwd=folder,
        env=environment(**(changes or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
