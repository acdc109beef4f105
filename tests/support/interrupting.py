"""KeyboardInterrupt at a line of one's choice, as a signal may bring it."""

import sys
from collections.abc import Callable
from types import FrameType


class AtLine:
    """A trace function that raises KeyboardInterrupt at the n-th line of the frames that `watches` chooses."""

    def __init__(self, number: int, watches: Callable[[FrameType], bool]) -> None:
        self.remaining = number
        self._watches = watches

    def __call__(self, frame: FrameType, event: str, _argument: object) -> "AtLine | None":
        if not self._watches(frame):
            return None
        if event == "line":
            self.remaining -= 1
            if self.remaining == 0:
                raise KeyboardInterrupt
        return self


def has_ended(trace: AtLine, call: Callable[[], object]) -> bool:
    """Whether the call ended before it was interrupted."""
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return False
    finally:
        sys.settrace(None)
    return True
