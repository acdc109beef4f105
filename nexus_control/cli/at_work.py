"""Tells a person at a terminal that a command is still reading: after one second, and then every five.

It goes to standard error, and only to a terminal, so that pipes and logs get the answer alone.
"""

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from itertools import chain, repeat
from typing import Final

from nexus_control.cli.screen import Screen

_FIRST: Final = 1
_EVERY: Final = 5


@contextmanager
def telling(doing: str) -> Generator[None]:
    """While the block runs, say what is being done (`checking package.json`)."""
    if not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    teller = threading.Thread(target=_tell, args=(doing, over), daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()  # so that nothing is told after the answer


def _tell(doing: str, over: threading.Event) -> None:
    seconds = 0
    for pause in chain([_FIRST], repeat(_EVERY)):
        if over.wait(pause):
            return
        seconds += pause
        Screen(sys.stderr).prose(f"Still {doing}: {seconds} s.")
