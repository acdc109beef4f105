"""The standard streams of a command: what becomes of an answer that cannot be printed.

Standard output raises `PrintingFailed` for whatever keeps a byte from being written, once; what comes after that, the
interpreter's own flush at its end too, is dropped. So a command can say what it did, and nothing else is heard of it.
Standard error never fails: nobody is left to be told. Both escape a character that their encoding lacks (`\\xe9`).

A stream that is closed when the process begins is opened again, the wrong way round, so that using it fails. Otherwise
the first file that is opened, perhaps the database, would become the standard output of what prints here.
"""

import fcntl
import io
import json
import os
import select
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.system.signals import end_by

if TYPE_CHECKING:
    from typing_extensions import Buffer

_INPUT, _OUTPUT, _ERROR = 0, 1, 2
_WRONG_WAY: Final = {_INPUT: os.O_WRONLY, _OUTPUT: os.O_RDONLY, _ERROR: os.O_RDONLY}


class PrintingFailed(OSError):  # noqa: N818 - it says what happened, as BrokenPipeError does
    """Standard output takes no more. It has no `errno`: typer ends the process itself when it sees that of a pipe."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or type(error).__name__)
        self.reason = str(self)
        self.is_broken_pipe = isinstance(error, BrokenPipeError)


class StandardStream(io.FileIO):
    """A descriptor that stays open; once it has failed, it takes whatever comes."""

    has_failed = False

    def write(self, content: "Buffer", /) -> int:
        if self.has_failed:
            return len(memoryview(content))
        try:
            return self._write(content)
        except OSError as error:
            self.has_failed = True
            if self.fileno() == _OUTPUT:
                raise PrintingFailed(error) from error
            return len(memoryview(content))

    def _write(self, content: "Buffer") -> int:
        while True:
            written: int | None = super().write(content)
            if written is not None:
                return written
            select.select([], [self], [])  # our parent made it non-blocking, and it is full for now


def open_standard_streams() -> None:
    """Make the standard streams of this process as this module says. Called once, before anything is opened."""
    for descriptor, flags in _WRONG_WAY.items():
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)  # the lowest that is free, which is this one
    sys.stdin = sys.stdin or _reading()
    sys.stdout = _writing(_OUTPUT, sys.stdout)
    sys.stderr = _writing(_ERROR, sys.stderr)


def require_shown() -> None:
    """That what was written to standard error was taken. Raises NOT_CONFIRMED."""
    sys.stderr.flush()
    raw = getattr(getattr(sys.stderr, "buffer", None), "raw", None)
    if isinstance(raw, StandardStream) and raw.has_failed:
        raise NexusControlError(
            ErrorCode.NOT_CONFIRMED,
            "The request could not be shown on standard error, so nobody can be asked",
        )


def print_document(text: str) -> None:
    """Exactly these characters on standard output, in UTF-8 whatever its encoding: for programs, or to be kept."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def visible(text: str) -> str:
    """`text` with everything but printable characters and line ends escaped."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def visible_json(data: object, encoding: str = "utf-8") -> str:
    """`data` as JSON, indented, with all that does not print in JSON's own escapes: a parser reads the same value.
    Where the encoding lacks a character, everything beyond ASCII is escaped.
    """
    text = json.dumps(data, indent=2, ensure_ascii=False)
    if text.encode(encoding, "replace") != text.encode("utf-8", "replace"):
        text = json.dumps(data, indent=2)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def print_json(data: object) -> None:
    """On standard output."""
    print(visible_json(data, sys.stdout.encoding))


def is_refusal_printed(fault: NexusControlError) -> bool:
    """Print a refusal as one JSON document; False where standard output does not take it."""
    try:
        print_json(
            {"code": str(fault.code), "message": fault.message, "details": fault.details, "next": fault.next}
        )
        sys.stdout.flush()
    except PrintingFailed:
        return False
    return True


def tell_nothing_changed(failure: PrintingFailed) -> None:
    """For an answer that could not be printed: one sentence, or an end by SIGPIPE where nobody reads on."""
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


@contextmanager
def output_is_ours() -> Generator[None]:
    """In the block, what a router or an adapter of somebody else prints goes to standard error. A child that one of
    them forked ends with the block: nobody waits for its answer.
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
