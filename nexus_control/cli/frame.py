"""The parts that all commands share: the database, the acting person, and how a command ends.

Exit codes: 0 done; 1 refused; 2 usage, or a file that is missing or cannot be read; 3 verification failed. With
`--json` one document goes to standard output, also for a refusal: {code, message, details, next}. Without it people
read the answer on standard output and a refusal on standard error.

If the answer cannot be printed, the command ends with 1 and one sentence on standard error, which says what the command
changed, or that it changed nothing. A command that changed nothing and whose reader is gone (`| head`) prints no
sentence and ends by SIGPIPE, as `cat` does. A refusal that cannot be printed keeps its code and goes to standard error.

Only the commands that bring the first content of a store create the database: for a request, a template, an import, a
key or a server. Every other command refuses if there is no database.
"""

import inspect
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, Final

import typer

from nexus_control.cli.candidates import show_candidates
from nexus_control.cli.exit_codes import NOT_VERIFIED, REFUSED, USAGE
from nexus_control.cli.files import blaming, is_one_of, read_bytes, require_writable, write_bytes
from nexus_control.cli.options import (
    ActingAs,
    AdaptersFrom,
    AllowedSigners,
    AsJson,
    Database,
    InUtc,
    LogFolder,
    Origins,
    UsualConfig,
)
from nexus_control.cli.places import require_file, require_on_server
from nexus_control.cli.screen import DONE, Mark, Screen
from nexus_control.cli.settings import ORIGINS_VARIABLE, Settings, adapters_file
from nexus_control.cli.signed_beside import newly_signed, signed_beside
from nexus_control.cli.streams import (
    PrintingFailed,
    is_refusal_printed,
    print_document,
    print_json,
    tell_nothing_changed,
)
from nexus_control.cli.wording import options_named
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.formats.allowed_signers import parse_allowed_signers
from nexus_control.storage import files_of, is_file, is_postgres, scheme_problem
from nexus_control.store import DecisionStore
from nexus_control.system.commands import Options, absolute, approving, command, shell_line
from nexus_control.system.login import login_at_host
from nexus_control.system.whole_files import is_folder, is_regular, is_there
from nexus_control.usecases.grouping import groups_in
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import Assurance
from nexus_control.values.results import fault_of, is_made

_SHARED: Final[dict[str, tuple[object, object]]] = {
    "acting_as": (ActingAs, None),
    "allowed_signers": (AllowedSigners, None),
    "origin": (Origins, None),
    "db": (Database, None),
    "log_folder": (LogFolder, None),
    "utc": (InUtc, False),
    "as_json": (AsJson, False),
}
"""The shared options in the order of the help: how each is read, and its default."""

_USAGE_CODES = {
    ErrorCode.INVALID_ARGUMENT,
    ErrorCode.AMBIGUOUS_ID,
    ErrorCode.CONFIG_INVALID,
    ErrorCode.JSON_INVALID,
    ErrorCode.STORE_UNAVAILABLE,
}
_NOT_VERIFIED_CODES = {ErrorCode.LOG_INCONSISTENT, ErrorCode.SIGNATURE_INVALID}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a command. With `--json` it prints `data`; otherwise `show` shows the answer to people."""

    data: Mapping[str, object]
    show: Callable[[Screen], None]
    done: str | None = None
    """Says what the command changed, as the beginning of a sentence; None if it changed nothing."""
    code: int = 0
    """The exit code of the command after the answer was shown."""


def told(text: str, mark: Mark | None = DONE) -> Callable[[Screen], None]:
    """A `show` that prints a paragraph with `mark` at its beginning."""
    return lambda screen: screen.prose(text, mark)


@dataclass(frozen=True, kw_only=True)
class Frame(Settings):
    """The shared options, given before or after the command's name; after the name wins."""

    as_json: bool = False
    acting_as: str | None = None
    utc: bool = False
    """Whether people are shown times in UTC."""

    @property
    def actor(self) -> Actor:
        """The actor in whose name the command acts. Raises INVALID_ARGUMENT."""
        return identity(self.acting_as)[0]

    def command(self, *verbs: str, argument: str | Path | None = None, options: Options | None = None) -> str:
        """The next command to run on this store, written so that it works in any folder."""
        named = {"--db": self.path, "--log-folder": self.log_folder, **(options or {})}
        self.tell_of_password()
        return shell_line(command(*verbs, argument=argument, options=named))

    def approving(self, request_id: str, *, config: Path | None = None, signed: bool) -> str:
        """The command with which a person approves, from any folder: `system.commands.approving`."""
        self.tell_of_password()
        return approving(
            request_id,
            self.path,
            config=config,
            allowed_signers=self.allowed_signers,
            signed=signed,
        )

    def executing(
        self, request_id: str, *, config: Path | None, options: Options | None = None, rehearses: bool = False
    ) -> str:
        """The command that executes a request, or rehearses it, with the adapters of `config`, from any folder."""
        verbs = ("execute", "--dry-run") if rehearses else ("execute",)
        return self.command(
            *verbs, argument=request_id, options={**(options or {}), "--adapters-from": config}
        )

    def store(self, *, makes: bool = False) -> DecisionStore:
        """The store; with `makes` it is created if it is missing. Raises INVALID_ARGUMENT, STORE_UNAVAILABLE."""
        self.require_place(makes=makes)
        signers = self.allowed_signers
        if signers is not None and is_one_of(signers, self.own_files()):
            raise invalid_argument(
                "--allowed-signers", f"names {signers}, which is a file of the store itself"
            )
        self.look_at_signers()
        return self.opened()

    def opened(self) -> DecisionStore:
        """The store, without a look at the file of signers. Raises STORE_UNAVAILABLE."""
        return DecisionStore(
            self.path,
            allowed_signers=self.allowed_signers,
            passkey_origins=self.passkey_origins,
            log_folder=self.log_folder,
            groups=partial(groups_in, self.configuration),
        )

    def look_at_signers(self) -> None:
        """Note on standard error if the file of signers lets nobody sign. A file that cannot be read raises
        INVALID_ARGUMENT if an option named it; if the environment named it, that is only noted too.
        """
        if self.allowed_signers is None:
            return
        try:
            problem = _without_signers(self.allowed_signers)
        except NexusControlError as fault:
            if "--allowed-signers" in self.given:
                raise
            configured = self.configured("allowed_signers")
            origin = str(configured.source.path) if configured else "NEXUS_CONTROL_ALLOWED_SIGNERS"
            problem = f"{origin}: {fault.message}"
        if problem:
            Screen(sys.stderr).prose(f"{problem}. No signed approval counts.", Mark("Note:", "stopped"))

    def require_place(self, *, makes: bool, maker: str = "request") -> None:
        """Returns if there is a store or, with `makes`, may be one; `maker` is the command that is named as one that
        makes it. Raises INVALID_ARGUMENT, STORE_UNAVAILABLE.
        """
        if problem := scheme_problem(self.path):
            raise invalid_argument("--db", problem)
        if is_file(self.path):
            require_file(Path(self.path), self.database_named_by, makes=makes, maker=maker)
        elif is_postgres(self.path):
            require_on_server(self.path, self.log_folder, self.database_named_by, makes=makes)

    def require_writable(self, option: str, path: Path | None, read: Sequence[Path | None] = ()) -> None:
        """Returns when the named file, if any, may be written: it is neither a file of the store nor one that the
        command reads. Raises INVALID_ARGUMENT.
        """
        if path is not None:
            inputs = [each for each in (*read, self.allowed_signers) if each is not None]
            require_writable(option, path, self.own_files(), inputs)

    def write_bytes(self, option: str, path: Path, content: bytes, read: Sequence[Path | None] = ()) -> None:
        """Write to the file that a person named, as `cp` would, after `require_writable`. Raises INVALID_ARGUMENT."""
        self.require_writable(option, path, read)
        write_bytes(option, path, content)

    def put_out(
        self, output: Path | None, content: bytes, data: Mapping[str, object], **whole: object
    ) -> Answer:
        """The answer of a command that makes a document: `data` with `whole`, the content. With `--output` it writes
        the content to that file and answers `data` with the file's path. Raises INVALID_ARGUMENT.
        """
        if output is None:
            return Answer({**data, **whole}, lambda _: print_document(content.decode()))
        self.write_bytes("--output", output, content)
        done = f"{output} is written"
        return Answer({"path": str(output), **data}, told(f"{done}.", None), done)

    def own_files(self) -> tuple[Path, ...]:
        """The store's files; empty if no store is named and the folder of the default store is gone."""
        try:
            return files_of(self.path, self.log_folder)
        except NexusControlError:
            if self.database is not None:
                raise
            return ()


def _without_signers(file: Path) -> str | None:
    """Why this file of signers lets nobody sign; None if somebody may. Raises INVALID_ARGUMENT if it is unreadable."""
    if (
        is_there(file) and not is_regular(file) and not is_folder(file)
    ):  # a pipe can be read only once, which is left to its user
        return None
    option = "--allowed-signers"
    content = read_bytes(option, absolute(file))
    with blaming(option, str(file)):
        allowed = parse_allowed_signers(content)
    if allowed.signers or not allowed.skipped:
        return None
    first = allowed.skipped[0]
    return f"No line of {file} can be used; line {first.line}: {first.why}"


def from_environment() -> Frame:
    """The defaults of the shared options, from the environment."""
    signers, folder = (os.environ.get(f"NEXUS_CONTROL_{name}") for name in ("ALLOWED_SIGNERS", "LOG_FOLDER"))
    origins = os.environ.get(ORIGINS_VARIABLE)
    return Frame(
        database=os.environ.get("NEXUS_CONTROL_DB") or None,
        named_log_folder=Path(folder) if folder else None,
        named_signers=Path(signers) if signers else None,
        named_origins=tuple(map(str.strip, origins.split(","))) if origins else None,
    )


def frame_of(
    context: typer.Context,
    *,
    db: str | None = None,
    log_folder: Path | None = None,
    as_json: bool = False,
    allowed_signers: Path | None = None,
    origin: list[str] | None = None,
    acting_as: str | None = None,
    config: Path | None = None,
    utc: bool = False,
) -> Frame:
    """The shared options of a command: given after its name, otherwise before it, otherwise from the environment."""
    before, unsaid = context.find_root().params, from_environment()
    named = before["db"] if db is None else db
    folder = log_folder or before["log_folder"]
    signers = allowed_signers or before["allowed_signers"]
    origins = tuple(origin or before["origin"] or ()) or None
    options = {"--db": named, "--log-folder": folder, "--allowed-signers": signers, "--origin": origins}
    return Frame(
        database=unsaid.database if named is None else named,
        as_json=as_json or before["as_json"],
        named_log_folder=folder or unsaid.named_log_folder,
        named_signers=signers or unsaid.named_signers,
        named_origins=origins or unsaid.named_origins,
        given=frozenset(option for option, value in options.items() if value is not None),
        acting_as=acting_as,
        config=config,
        utc=utc,
    )


def shared_options(*names: str) -> Callable[[Callable[Concatenate[Frame, ...], Answer]], Callable[..., None]]:
    """Make a command from a function that takes the frame, then the command's own arguments and options. `names` lists
    the shared options that the command has; every command has `--json`; one with `UsualConfig` has `--adapters-from`.

        @shared_options("acting_as", "db")
        def withdraw(frame: Frame, request_id: RequestId, reason: Reason) -> Answer:
    """
    with_them = {"db": "log_folder", "allowed_signers": "origin"}
    wanted = {*names, "as_json", *(with_them[name] for name in names if name in with_them)}
    named = [name for name in _SHARED if name in wanted]

    def commanded(body: Callable[Concatenate[Frame, ...], Answer]) -> Callable[..., None]:
        @wraps(body)
        def run(context: typer.Context, **given: Any) -> None:
            config, adapters_from = given.get("config"), given.pop("adapters_from", None)
            frame = frame_of(context, config=config, **{name: given.pop(name) for name in named})

            def act() -> Answer:
                if "config" in given:
                    given["config"] = adapters_file(config, adapters_from)
                with options_named(signature.parameters):
                    return body(frame, **given)

            answer(frame, act, on_store="db" in names)

        _, *own = inspect.signature(body).parameters.values()
        own = [each for name in own for each in _with_adapters_from(name)]
        first = inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        )
        shared = [
            first.replace(name=name, annotation=_SHARED[name][0], default=_SHARED[name][1]) for name in named
        ]
        signature = inspect.Signature([first, *own, *shared])
        vars(run)["__signature__"] = signature
        run.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
        return run

    return commanded


def _with_adapters_from(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """The parameter, and after a `--config` that names adapters too that of the other option for the same file."""
    if parameter.annotation is not UsualConfig:
        return [parameter]
    return [parameter, parameter.replace(name="adapters_from", annotation=AdaptersFrom, default=None)]


def answer(frame: Frame, action: Callable[[], Answer], *, on_store: bool = False) -> None:
    """Run `action`, show its answer or its fault, and exit. With `on_store` the action uses the frame's store: a key or
    checkpoint that was made beside the store is then named as a change too.
    """
    before = signed_beside(frame) if on_store else None
    outcome = fault_of(action)
    if isinstance(outcome, NexusControlError):
        raise refuse(frame, outcome)
    signed = None if before is None or outcome.done else newly_signed(before, signed_beside(frame))
    with printing(outcome.done or signed):
        if frame.as_json:
            print_json(outcome.data)
        else:
            outcome.show(Screen(sys.stdout))
    raise typer.Exit(outcome.code)


@contextmanager
def printing(done: str | None) -> Generator[None]:
    """The block prints the answer. If that fails, `done` is printed on standard error, and the command exits with 1.
    If nothing was changed and the reader is gone, the process ends here.
    """
    try:
        yield
        sys.stdout.flush()
    except PrintingFailed as failure:
        if done is None:
            tell_nothing_changed(failure)
        else:
            Screen(sys.stderr).prose(f"{done}, but the answer could not be printed: {failure.reason}.")
        raise typer.Exit(REFUSED) from None


def refuse(frame: Frame, fault: NexusControlError) -> typer.Exit:
    """Print what is wrong and what to do next; returns the exit to raise."""
    if not frame.as_json or not is_refusal_printed(fault):
        screen = Screen(sys.stderr)
        screen.prose(fault.message, Mark(f"{fault.code}:", "bad"))
        screen.prose(fault.next)
        show_candidates(screen, fault)
        if isinstance(to_run := fault.details.get("command"), str):
            screen.verbatim(to_run)
    if fault.code in _NOT_VERIFIED_CODES:
        return typer.Exit(NOT_VERIFIED)
    return typer.Exit(USAGE if fault.code in _USAGE_CODES and not is_made(fault) else REFUSED)


def identity(acting_as: str | None, *, option: str = "--as") -> tuple[Actor, Assurance]:
    """Who acts, and how that is known: one's own login is "local", a name that was given is "declared"."""
    if acting_as is None:
        return Actor(type="human", id=login_at_host()), "local"
    kind, _, name = acting_as.partition(":")
    if kind not in ("human", "system") or not name:
        raise invalid_argument(option, "must be human:ID or system:ID")
    return Actor(type=kind, id=name), "declared"
