"""Routers for `serve --router tests.mcp.python_routers:NAME`: Python code, which nothing can stop."""

import os
import threading
from pathlib import Path
from typing import Any

from tests.support.routers import ScriptedRouter, good_answer


def quick() -> ScriptedRouter:
    return ScriptedRouter(good_answer)


def endless() -> ScriptedRouter:
    """Its run makes the file `started` in the current folder, and never comes back."""

    def act() -> Any:
        Path("started").write_text(str(os.getpid()))
        threading.Event().wait()

    return ScriptedRouter(act)
