"""The standard streams of a command, also when an answer cannot be printed.

Standard output raises `PrintingFailed` once, for the first byte that cannot be written. Everything after that is
dropped, also the interpreter's own flush at its end, so the command's one sentence is the only message. Standard error
never raises, because there is no other stream to report on. Both escape characters that their encoding lacks (`\\xe9`).

If a stream is closed when the process begins, /dev/null takes its place, opened in the wrong direction, so that using
it fails. Otherwise the first opened file, perhaps the database, would become standard output and be printed into.
"""

import errno
import fcntl
import io
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.system.signals import end_by

if TYPE_CHECKING:
    from typing_extensions import Buffer

_INPUT, _OUTPUT, _ERROR = 0, 1, 2
_WRONG_WAY: Final = {_INPUT: os.O_WRONLY, _OUTPUT: os.O_RDONLY, _ERROR: os.O_RDONLY}


class PrintingFailed(OSError):  # noqa: N818 - it says what happened, as BrokenPipeError does
    """Standard output cannot be written. It has no `errno`, because at EPIPE typer would end the process itself."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or type(error).__name__)
        self.reason = str(self)
        self.is_broken_pipe = isinstance(error, BrokenPipeError)


class StandardStream(io.FileIO):
    """A descriptor that stays open. After its first failure it drops all content without an error."""

    has_failed = False

    def write(self, content: "Buffer", /) -> int:
        if self.has_failed:
            return len(memoryview(content))
        try:
            return self._write(content)
        except OSError as error:
            self.has_failed = True
            if self._is_output:
                raise PrintingFailed(error) from error
            return len(memoryview(content))
        except BaseException:
            # An interruption may come when it is written already: nothing is printed twice.
            self.has_failed = self._is_output
            raise

    @property
    def _is_output(self) -> bool:
        return self.fileno() == _OUTPUT

    def _write(self, content: "Buffer") -> int:
        while True:
            written: int | None = super().write(content)
            if written is not None:
                return written
            select.select([], [self], [])  # the parent made it non-blocking, and it is full now


def open_standard_streams() -> None:
    """Replace the standard streams by those that this module describes. Call it once, before any file is opened."""
    for descriptor, flags in _WRONG_WAY.items():
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)  # it gets the lowest free descriptor, which is this one
    sys.stdin = sys.stdin or _reading()
    sys.stdout = _writing(_OUTPUT, sys.stdout)
    sys.stderr = _writing(_ERROR, sys.stderr)


def require_shown() -> None:
    """Returns when all text for standard error was written. Raises NOT_CONFIRMED."""
    sys.stderr.flush()
    raw = getattr(getattr(sys.stderr, "buffer", None), "raw", None)
    if isinstance(raw, StandardStream) and raw.has_failed:
        raise NexusControlError(
            ErrorCode.NOT_CONFIRMED,
            "The request could not be shown on standard error, so nobody can be asked",
        )


def print_document(text: str) -> None:
    """Print exactly this text on standard output, always in UTF-8: it is for programs, or to be kept."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def wait_while_read(seconds: float, *, woken_by: int | None = None) -> None:
    """Wait this long, or until the descriptor `woken_by` can be read. Raises PrintingFailed as soon as the reader of
    standard output is gone.
    """
    poll = select.poll()
    poll.register(_OUTPUT, 0)  # errors are reported unasked
    if woken_by is not None:
        poll.register(woken_by, select.POLLIN)
    if any(descriptor == _OUTPUT for descriptor, _ in poll.poll(seconds * 1000)):
        raise PrintingFailed(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))


def require_output() -> None:
    """Returns if standard output was open for writing when the process began. Raises PrintingFailed."""
    if fcntl.fcntl(_OUTPUT, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise PrintingFailed(OSError(errno.EBADF, os.strerror(errno.EBADF)))


def visible(text: str) -> str:
    """`text` with every character escaped that is neither printable nor a line end."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def visible_json(data: object, encoding: str = "utf-8") -> str:
    """`data` as indented JSON. Unprintable characters become JSON's own escapes, so a parser reads the same value. If
    the encoding lacks a character, all characters beyond ASCII are escaped.
    """
    text = json.dumps(data, indent=2, ensure_ascii=False)
    if text.encode(encoding, "replace") != text.encode("utf-8", "replace"):
        text = json.dumps(data, indent=2)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def print_json(data: object) -> None:
    """Print `data` as JSON on standard output."""
    print(visible_json(data, sys.stdout.encoding))


def is_refusal_printed(fault: NexusControlError) -> bool:
    """Print a refusal as one JSON document; False if standard output cannot be written."""
    try:
        print_json(
            {"code": str(fault.code), "message": fault.message, "details": fault.details, "next": fault.next}
        )
        sys.stdout.flush()
    except PrintingFailed:
        return False
    return True


def tell_nothing_changed(failure: PrintingFailed) -> None:
    """After an answer could not be printed: print one sentence, or end by SIGPIPE if the reader is gone."""
    if failure.is_broken_pipe:
        end_by(signal.SIGPIPE)
    print(f"The answer could not be printed: {failure.reason}. Nothing was changed.", file=sys.stderr)


def _reading() -> TextIO:
    return open(_INPUT, encoding="utf-8", closefd=False)


def _writing(descriptor: int, before: TextIO | None) -> TextIO:
    raw = StandardStream(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=descriptor == _ERROR or raw.isatty(),
    )


class _KeptOutput(StandardStream):
    @property
    def _is_output(self) -> bool:
        return True


@contextmanager
def lines_on_output() -> Generator[Callable[[str], None]]:
    """What prints a line on standard output as it is now. It may be called from any thread, also while another one runs
    a router (`output_is_ours`), whose output goes elsewhere. Raises PrintingFailed.
    """
    sys.stdout.flush()
    descriptor = fcntl.fcntl(_OUTPUT, fcntl.F_DUPFD_CLOEXEC, _ERROR + 1)
    lock = threading.Lock()
    with _KeptOutput(descriptor, "w") as kept:

        def tell(line: str) -> None:
            with lock:
                rest = memoryview(f"{line}\n".encode(sys.stdout.encoding, "backslashreplace"))
                while rest:
                    rest = rest[kept.write(rest) :]

        yield tell


@contextmanager
def output_is_ours() -> Generator[None]:
    """In the block, output of a foreign router or adapter goes to standard error. A child process that one of them
    forked ends with the block, because only the parent gives the answer.
    """
    pid = os.getpid()
    sys.stdout.flush()
    ours = fcntl.fcntl(_OUTPUT, fcntl.F_DUPFD_CLOEXEC, _ERROR + 1)
    os.dup2(_ERROR, _OUTPUT)
    try:
        yield
    finally:
        if os.getpid() != pid and not isinstance(sys.exception(), SystemExit):
            os._exit(1)
        sys.stdout.flush()
        os.dup2(ours, _OUTPUT)
        os.close(ours)
