"""A process that executes a decision with a router that blocks: `python -m tests.support.executor DB REQUEST_ID`.

It writes `running` to standard output inside the run, which ends when standard input does.
"""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from nexus_control import NexusControlTools
from tests.support.governed import ADAPTER, SCHEDULER
from tests.support.places import REPOSITORY
from tests.support.routers import ScriptedRouter, good_answer


@contextmanager
def executing(db_path: Path, request_id: str) -> Generator["subprocess.Popen[bytes]"]:
    """A child process in the middle of the router's run; killed at the end of the block if it still runs."""
    command = [sys.executable, "-m", "tests.support.executor", str(db_path), request_id]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"running\n"
            yield child
        finally:
            child.kill()


def _block() -> object:
    sys.stdout.write("running\n")
    sys.stdout.flush()
    sys.stdin.read()
    return good_answer()


if __name__ == "__main__":
    tools = NexusControlTools(db_path=sys.argv[1])
    result = tools.execute(sys.argv[2], ADAPTER, SCHEDULER, ScriptedRouter(_block))
    sys.stdout.write(f"{result.error_code}\n")
