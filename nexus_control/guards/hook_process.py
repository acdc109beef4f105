"""`nexus-control hook` as a process: it reads one JSON document, and writes at most one.

1. Standard output is kept aside, and descriptor 1 becomes standard error: what a library or a child prints is not read
   by the host.
2. A signal that ends a process, and a deadline before the host's own, are exceptions. A host that kills its hook at the
   end of its patience may run the tool.
3. Whatever happens, also an exception that nobody expected, the process ends with a reply of `guards.hook_replies`: a
   denial, unless the hook decided otherwise.
4. The process leaves at once when its reply is written. No thread and no exit handler of a library holds it up.

A reply that cannot be written is given back (`Reply.undelivered`), and the exit code denies.
"""

import errno
import json
import os
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from nexus_control.guards.hook_replies import DENIED, Reply, denial
from nexus_control.system.signals import FATAL

if TYPE_CHECKING:
    from types import FrameType

    from nexus_control.guards.hook import Places

DEADLINE_SECONDS: Final = 40.0
TIMEOUT_SECONDS: Final = 60
"""What a host is told to wait: the deadline, and the longest wait for a lock that the deadline cannot cut short."""
_OPTIONS: Final = {
    "--db": "database",
    "--log-folder": "log_folder",
    "--allowed-signers": "allowed_signers",
    "--config": "config",
    "--origin": "origins",
}
_INPUT, _OUTPUT, _ERROR = 0, 1, 2
_CHUNK = 1024 * 1024


class _EndedError(BaseException):
    """A signal, or the deadline. It is no `Exception`, so that nothing on the way takes it for a fault."""


def main(words: Sequence[str]) -> NoReturn:
    """Reply to the host, and end the process. `words` are those after `hook`."""
    ours = _own_output()
    try:
        for number in FATAL:
            signal.signal(number, _end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FATAL)  # the host may have blocked some
        signal.setitimer(signal.ITIMER_REAL, DEADLINE_SECONDS)
        reply = _replied(words)
    except BaseException as error:  # noqa: BLE001 - whatever happens, the call is denied
        reply = denial(_unexpected(error))
    signal.pthread_sigmask(signal.SIG_BLOCK, FATAL)
    code = _delivered(reply, ours)
    with suppress(Exception):  # what libraries printed; standard error may be gone
        sys.stdout.flush()
    os._exit(code)


def _replied(words: Sequence[str]) -> Reply:
    hook = import_module("nexus_control.guards.hook")
    places: Places = hook.Places(**_options(words))
    return hook.reply(_standard_input(import_module("nexus_control.guards.hook_input").MAX_INPUT), places)


_ended_by: list[int] = []
"""The first signal. Later ones change nothing: the denial is on its way."""


def _end(number: int, _frame: "FrameType | None") -> None:
    _ended_by.append(number)
    if len(_ended_by) > 1:
        return
    name = next((each.name for each in signal.Signals if each == number), f"signal {number}")
    raise _EndedError("its time was up" if number == signal.SIGALRM else f"it was ended by {name}")


def _unexpected(error: BaseException) -> str:
    try:
        what = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - runs the __str__ of foreign exceptions
        what = type(error).__name__
    what = str(error) if isinstance(error, _EndedError | _UsageError) else what
    return f"Not run: approvals cannot be checked now (the hook failed: {what}). Say so to the person you work for."


class _UsageError(Exception):
    """The hook was registered wrongly."""


def _options(words: Sequence[str]) -> dict[str, object]:
    """The places that the options name. A relative one would lie where the agent works."""
    given: dict[str, object] = {}
    origins: list[str] = []
    rest = list(words)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option not in _OPTIONS:
            raise _UsageError(f"{option} is not an option of hook")
        if not equals:
            if not rest:
                raise _UsageError(f"{option} needs a value")
            value = rest.pop(0)
        if option == "--origin":
            origins.append(value)
            given[_OPTIONS[option]] = tuple(origins)
            continue
        if not value.startswith("/") and not (option == "--db" and "://" in value):
            raise _UsageError(
                f"{option} must be an absolute path, because the hook runs where the agent works"
            )
        given[_OPTIONS[option]] = value if option == "--db" else Path(value)
    return given


def _own_output() -> int | None:
    """Standard output for this module alone; None where it is closed."""
    try:
        os.fstat(_ERROR)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_RDONLY), _ERROR)  # writing fails, as on a closed one
    try:
        ours = os.dup(_OUTPUT)
    except OSError:
        ours = None
    os.dup2(_ERROR, _OUTPUT)
    return ours


def _standard_input(most: int) -> bytes:
    """All of it, or one byte too much. A signal ends the wait whenever it comes: one that comes between Python's look
    for signals and the system's wait, or in another thread, would not interrupt a read.
    """
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    waiting = select.poll()
    waiting.register(_INPUT, select.POLLIN)
    waiting.register(woken, select.POLLIN)
    parts: list[bytes] = []
    size = 0
    while size <= most:
        if _INPUT not in dict(waiting.poll()):
            continue
        part = os.read(_INPUT, _CHUNK)
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)[: most + 1]


def _delivered(reply: Reply, ours: int | None) -> int:
    """Write the reply; the exit code."""
    document = reply.document
    is_written = document is None or _is_written(ours, f"{json.dumps(document)}\n")
    if not is_written and reply.undelivered is not None:
        try:
            reply.undelivered()
        except Exception as error:  # noqa: BLE001 - the call is denied in any case
            reply = denial(_unexpected(error))
    is_denied = reply.verdict == "deny" or not is_written
    text = reply.text if is_written or reply.text else "Not run."
    is_told = not (is_denied or reply.code) or _is_written(_ERROR, f"{text}\n")
    if not is_denied:
        return reply.code
    # Exit 2 without a text lets the call run in Codex; the document alone denies everywhere.
    return DENIED if is_told or not is_written else 0


def _is_written(descriptor: int | None, text: str) -> bool:
    if descriptor is None:
        return False
    rest = text.encode("utf-8", "replace")
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except OSError as error:
            if error.errno != errno.EAGAIN:
                return False
            select.select([], [descriptor], [], DEADLINE_SECONDS)
    return True
