"""What every command shares: which database, for whom, and how it ends.

Exit codes: 0 done; 1 refused; 2 usage, or a file that is missing or cannot be read; 3 verification failed. With
`--json` one document goes to standard output, also for a refusal: {code, message, details, next}. Without it people
read the answer on standard output and a refusal on standard error.

An answer that cannot be printed ends a command with 1 and one sentence on standard error, which says what was done all
the same. Of a command that changed nothing that sentence says so; and when nobody reads on (`| head`), it ends by
SIGPIPE without a word, as `cat` does. A refusal that cannot be printed keeps its code, and goes to standard error.

A command makes the database only where it brings something that begins there: a request, a template, an import, a key,
a server. Every other command refuses where there is none.
"""

import os
import pwd
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from nexus_control.cli.exit_codes import NOT_VERIFIED, REFUSED, USAGE
from nexus_control.cli.files import (
    blaming,
    is_one_of,
    read_bytes,
    require_writable,
    write_bytes,
)
from nexus_control.cli.options import DEFAULT_DATABASE
from nexus_control.cli.screen import Mark, Screen
from nexus_control.cli.streams import PrintingFailed, is_refusal_printed, print_json, tell_nothing_changed
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.formats.allowed_signers import parse_allowed_signers
from nexus_control.storage import files_of, is_file, place_of, scheme_problem
from nexus_control.store import DecisionStore
from nexus_control.system.commands import Options, absolute, command, shell_line
from nexus_control.system.whole_files import is_folder, is_regular, is_there
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import Assurance
from nexus_control.values.results import fault_of

Data = dict[str, Any]
Done = Callable[[Data], str | None]
"""What a command did that lasts, as the beginning of a sentence; None where it changed nothing."""

_USAGE_CODES = {
    ErrorCode.INVALID_ARGUMENT,
    ErrorCode.CONFIG_INVALID,
    ErrorCode.JSON_INVALID,
    ErrorCode.STORE_UNAVAILABLE,
}
_NOT_VERIFIED_CODES = {ErrorCode.LOG_INCONSISTENT, ErrorCode.SIGNATURE_INVALID}


@dataclass(frozen=True, slots=True)
class Frame:
    """What was said before the command, or after it; after it wins."""

    database: str | None = None
    as_json: bool = False
    allowed_signers: Path | None = None
    signers_are_given: bool = False
    """By an option, and not by the environment."""

    @property
    def path(self) -> str:
        """Where the store is, whatever the folder and the links through which it was named. Raises INVALID_ARGUMENT."""
        if self.database == "":
            raise invalid_argument("--db", "is empty: name the database")
        named = DEFAULT_DATABASE if self.database is None else self.database
        if named.endswith("/") and not is_folder(named):
            raise invalid_argument("--db", f"names {named}, which is not a folder; a database is a file")
        with blaming("--db", named):
            return place_of(named)

    def command(self, *verbs: str, argument: str | Path | None = None, options: Options | None = None) -> str:
        """What somebody is given to run on this store next, from whatever folder."""
        named = {"--db": self.path, **(options or {})}
        return shell_line(command(*verbs, argument=argument, options=named))

    def store(self, *, makes: bool = False) -> DecisionStore:
        """The store; `makes` says that it may begin here. Raises INVALID_ARGUMENT, STORE_UNAVAILABLE."""
        self.require_place(makes=makes)
        signers = self.allowed_signers
        if signers is not None and is_one_of(signers, files_of(self.path)):
            raise invalid_argument(
                "--allowed-signers", f"names {signers}, which is a file of the store itself"
            )
        self.look_at_signers()
        return DecisionStore(self.path, allowed_signers=self.allowed_signers)

    def look_at_signers(self) -> None:
        """Say on standard error where the file of signers lets nobody sign. Raises INVALID_ARGUMENT where an option
        named one that cannot be read; where the environment did, that is said, too.
        """
        if self.allowed_signers is None:
            return
        try:
            problem = _without_signers(self.allowed_signers)
        except NexusControlError as fault:
            if self.signers_are_given:
                raise
            problem = f"NEXUS_CONTROL_ALLOWED_SIGNERS: {fault.message}"
        if problem:
            Screen(sys.stderr).prose(f"{problem}. No signed approval counts.", Mark("Note:", "stopped"))

    def require_place(self, *, makes: bool) -> None:
        """That a store is there, or may begin there. Raises INVALID_ARGUMENT, STORE_UNAVAILABLE."""
        if problem := scheme_problem(self.path):
            raise invalid_argument("--db", problem)
        if is_file(self.path):
            _require_usable(Path(self.path), makes=makes)

    def require_writable(self, option: str, path: Path | None, read: Sequence[Path | None] = ()) -> None:
        """That a file can be put there, if one was named: it is none of the store's own, nor one of those that the
        command reads. Raises INVALID_ARGUMENT.
        """
        if path is not None:
            inputs = [each for each in (*read, self.allowed_signers) if each is not None]
            require_writable(option, path, self._own_files(), inputs)

    def write_bytes(self, option: str, path: Path, content: bytes, read: Sequence[Path | None] = ()) -> None:
        """Write what a person named, as `cp` would, where `require_writable` lets it. Raises INVALID_ARGUMENT."""
        self.require_writable(option, path, read)
        write_bytes(option, path, content)

    def put_out(self, output: Path | None, content: bytes, *, printed: Data, described: Data) -> Data:
        """`printed`, which holds the content; with `--output`, once the content is in that file, `described` with the
        file's path. Raises INVALID_ARGUMENT.
        """
        if output is None:
            return printed
        self.write_bytes("--output", output, content)
        return {"path": str(output), **described}

    def _own_files(self) -> tuple[Path, ...]:
        """The store's; none where no store is named and the folder of the usual one is gone."""
        try:
            return files_of(self.path)
        except NexusControlError:
            if self.database is not None:
                raise
            return ()


def _without_signers(file: Path) -> str | None:
    """Why this file of signers, which can be read, lets nobody sign. Raises INVALID_ARGUMENT where it cannot be."""
    if (
        is_there(file) and not is_regular(file) and not is_folder(file)
    ):  # a pipe is read once, by the one who needs it
        return None
    option = "--allowed-signers"
    content = read_bytes(option, absolute(file))
    with blaming(option, str(file)):
        allowed = parse_allowed_signers(content)
    if allowed.signers or not allowed.skipped:
        return None
    first = allowed.skipped[0]
    return f"No line of {file} can be used; line {first.line}: {first.why}"


def _require_usable(database: Path, *, makes: bool) -> None:
    if is_folder(database):
        raise invalid_argument("--db", f"names {database}, which is a folder: name a file in it")
    try:
        is_there = database.stat().st_size > 0
    except FileNotFoundError:
        is_there = False
    except OSError as error:
        raise invalid_argument(
            "--db", f"names {database}, which cannot be looked at: {error.strerror}"
        ) from None
    if not is_there and not makes:
        raise NexusControlError(
            ErrorCode.STORE_UNAVAILABLE,
            f"There is no database at {database} (--db): `request` makes one",
            {"path": str(database)},
        )


def from_environment() -> Frame:
    """What holds when nothing is said, before the command or after it."""
    signers = os.environ.get("NEXUS_CONTROL_ALLOWED_SIGNERS")
    return Frame(
        os.environ.get("NEXUS_CONTROL_DB") or None, allowed_signers=Path(signers) if signers else None
    )


def frame_of(
    context: typer.Context, database: str | None, as_json: bool, allowed_signers: Path | None = None
) -> Frame:
    """What a command was told, with what was said before it and, where nothing was, with the environment."""
    before, unsaid = context.find_root().params, from_environment()
    named = before["db"] if database is None else database
    signers = allowed_signers or before["allowed_signers"]
    return Frame(
        unsaid.database if named is None else named,
        as_json or before["as_json"],
        signers or unsaid.allowed_signers,
        signers is not None,
    )


def carry_out(
    frame: Frame,
    action: Callable[[DecisionStore], Data],
    show: Callable[[Screen, Data], None],
    done: Done | None = None,
    *,
    makes: bool = False,
) -> Data:
    """Run `action` on the store and show its data; or say why not, and exit with 1 or 2. `makes` as for `Frame.store`,
    `done` as for `answer`.
    """
    before = _signed_beside(frame)

    def run() -> Data:
        with frame.store(makes=makes) as store:
            return action(store)

    def lasting(data: Data) -> str | None:
        return (done(data) if done is not None else None) or _newly_signed(before, _signed_beside(frame))

    return answer(frame, run, show, lasting)


def _signed_beside(frame: Frame) -> list[tuple[int, int] | None]:
    """Which key and which checkpoint lie beside the store: commands make them that are asked for something else."""
    try:
        path = frame.path
    except NexusControlError:  # the command is refused for it
        return [None, None]
    return [_identity_of(f"{path}{suffix}") for suffix in (".key", ".checkpoint")]


def _identity_of(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _newly_signed(before: Sequence[object], after: Sequence[object]) -> str | None:
    had_key, had_checkpoint = (earlier == later for earlier, later in zip(before, after, strict=True))
    if had_key:
        return None if had_checkpoint else "A new checkpoint of the log was signed and kept beside the store"
    if had_checkpoint:
        return "A key was made for the log"
    return "A key was made for the log, and a checkpoint signed and kept beside the store"


def answer(
    frame: Frame, action: Callable[[], Data], show: Callable[[Screen, Data], None], done: Done | None = None
) -> Data:
    """Run `action` and show its data; or say why not, and exit with 1 or 2. `done` says what lasts of it, if anything,
    for when that cannot be shown.
    """
    outcome = fault_of(action)
    if isinstance(outcome, NexusControlError):
        raise refuse(frame, outcome)
    with printing(done(outcome) if done is not None else None):
        if frame.as_json:
            print_json(outcome)
        else:
            show(Screen(sys.stdout), outcome)
    return outcome


def written(data: Data) -> str | None:
    """What a command did that changed nothing but the file that its output names."""
    return f"{data['path']} is written" if "path" in data else None


@contextmanager
def printing(done: str | None) -> Generator[None]:
    """The answer is printed in the block. If that fails, `done` is said on standard error, and we exit with 1."""
    try:
        yield
        sys.stdout.flush()
    except PrintingFailed as failure:
        raise _untold(failure, done) from None


def _untold(failure: PrintingFailed, done: str | None) -> typer.Exit:
    """Say what was done all the same; the exit to raise. Where nothing was done and nobody reads on, the process ends
    here.
    """
    if done is None:
        tell_nothing_changed(failure)
    else:
        Screen(sys.stderr).prose(f"{done}, but the answer could not be printed: {failure.reason}.")
    return typer.Exit(REFUSED)


def refuse(frame: Frame, fault: NexusControlError) -> typer.Exit:
    """Say what is wrong and what to do next; the exit to raise."""
    if not frame.as_json or not is_refusal_printed(fault):
        screen = Screen(sys.stderr)
        screen.prose(fault.message, Mark(f"{fault.code}:", "bad"))
        screen.prose(fault.next)
        if isinstance(to_run := fault.details.get("command"), str):
            screen.verbatim(to_run)
    if fault.code in _NOT_VERIFIED_CODES:
        return typer.Exit(NOT_VERIFIED)
    return typer.Exit(USAGE if fault.code in _USAGE_CODES else REFUSED)


def identity(acting_as: str | None, *, option: str = "--as") -> tuple[Actor, Assurance]:
    """Who acts, and how that is known: one's own login is "local", a name that was given is "declared"."""
    if acting_as is None:
        return Actor(type="human", id=f"{_login()}@{os.uname().nodename}"), "local"
    kind, _, name = acting_as.partition(":")
    if kind not in ("human", "system") or not name:
        raise invalid_argument(option, "must be human:ID or system:ID")
    return Actor(type=kind, id=name), "declared"


def _login() -> str:
    """The name of the process's user as the system knows it; LOGNAME and USER are anybody's to set."""
    user = os.getuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"uid-{user}"
