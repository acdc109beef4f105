"""The command line, to which something happens at a named moment of an execution:

    python -m tests.support.mishaps MISHAP MOMENT WORD...      # nexus-control WORD...

A moment is just before a function is called that every execution calls; everything else is as it is for users.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from nexus_control.__main__ import main
from nexus_control.execution.run_log import RunLog
from nexus_control.system.clock import SystemClock
from nexus_control.usecases import executing
from tests.support.room import no_file_beyond

MOMENTS: dict[str, tuple[object, str, str]] = {
    # where the function is, its name, and the type that one of the run's events must have
    "before the claim": (executing, "take", ""),
    "before the dispatch": (executing, "dispatch", ""),
    "before the end of the step is logged": (RunLog, "append", "STEP_COMPLETED"),
    "before the end of the run is logged": (RunLog, "append", "RUN_COMPLETED"),
    "before the outcome is recorded": (executing, "record_outcome", ""),
    "after the outcome is recorded": (executing, "_answer", ""),
}

Act = Callable[[], Any]


def killed(act: Act) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)
    return act()


def full(act: Act) -> Any:
    """From now on, none of our files can grow."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    return act()


def full_for_a_moment(act: Act) -> Any:
    with no_file_beyond(0):
        return act()


def clock_back(act: Act) -> Any:
    """From now on it is an hour earlier."""
    now = SystemClock.now

    def earlier(self: SystemClock) -> datetime:
        return now(self) - timedelta(hours=1)

    SystemClock.now = earlier
    return act()


def clock_back_and_killed(act: Act) -> Any:
    return clock_back(lambda: killed(act))


def program_gone(act: Act) -> Any:
    Path("keys").unlink()
    return act()


def weighed(act: Act) -> Any:
    """Write the most memory that this process had so far, in kilobytes, to the file `weight`."""
    (peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM:" in line]
    Path("weight").write_text(peak.split()[1])
    return act()


MISHAPS: dict[str, Callable[[Act], Any]] = {
    each.__name__: each
    for each in (killed, full, full_for_a_moment, clock_back, clock_back_and_killed, program_gone, weighed)
}


def arrange(mishap: str, moment: str) -> None:
    """Let it happen once, at the first such moment."""
    owner, name, event_type = MOMENTS[moment]
    original, left = getattr(owner, name), [MISHAPS[mishap]]

    def called(*arguments: Any, **keywords: Any) -> Any:
        types = [kind for events in arguments[2:] for kind, _ in events] if event_type else [""]
        if left and event_type in types:
            return left.pop()(lambda: original(*arguments, **keywords))
        return original(*arguments, **keywords)

    setattr(owner, name, called)


if __name__ == "__main__":
    mishap, moment, *words = sys.argv[1:]
    arrange(mishap, moment)
    sys.argv = ["nexus-control", *words]
    main()
