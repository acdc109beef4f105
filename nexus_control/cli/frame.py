"""What every command shares: which database, for whom, and how it ends.

Exit codes: 0 done; 1 refused; 2 usage, or a file that is missing or cannot be read; 3 verification failed. With
`--json` one document goes to standard output, also for a refusal: {code, message, details, next}. Without it people
read the answer on standard output and a refusal on standard error.
"""

import os
import pwd
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from nexus_control.actors import Actor
from nexus_control.cli.screen import Mark, Screen, visible_json
from nexus_control.commands import Options, command, shell_line
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.payloads import Assurance
from nexus_control.results import fault_of
from nexus_control.storage import place_of
from nexus_control.store import DecisionStore

Data = dict[str, Any]

REFUSED, USAGE, NOT_VERIFIED = 1, 2, 3
DEFAULT_DATABASE = "nexus-control.db"
_USAGE_CODES = {
    ErrorCode.INVALID_ARGUMENT,
    ErrorCode.CONFIG_INVALID,
    ErrorCode.JSON_INVALID,
    ErrorCode.STORE_UNAVAILABLE,
}
_NOT_VERIFIED_CODES = {ErrorCode.LOG_INCONSISTENT, ErrorCode.SIGNATURE_INVALID}

Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="PATH",
        help=f"The database. Default: NEXUS_CONTROL_DB, else {DEFAULT_DATABASE} in this folder.",
    ),
]
RequestId = Annotated[str, typer.Argument(metavar="ID", help="The request's id.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write it here rather than to standard output."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
ActingAs = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="TYPE:ID",
        envvar="NEXUS_CONTROL_ACTOR",
        help="Act as this human or system. Default: your login here.",
    ),
]


AllowedSigners = Annotated[
    Path | None,
    typer.Option(
        "--allowed-signers",
        metavar="FILE",
        help="Whose signed approvals count: an OpenSSH allowed signers file. Default: NEXUS_CONTROL_ALLOWED_SIGNERS.",
    ),
]


@dataclass(frozen=True, slots=True)
class Frame:
    """What was said before the command, or after it; after it wins."""

    database: str | None = None
    as_json: bool = False
    allowed_signers: Path | None = None

    @property
    def path(self) -> str:
        """Where the store is, whatever the folder and the links through which it was named."""
        return place_of(self.database or DEFAULT_DATABASE)

    def with_options(self, database: str | None, as_json: bool, allowed_signers: Path | None) -> "Frame":
        return Frame(
            database or self.database,
            as_json or self.as_json,
            allowed_signers or self.allowed_signers,
        )

    def command(self, *verbs: str, argument: str | Path | None = None, options: Options | None = None) -> str:
        """What somebody is given to run on this store next, from whatever folder."""
        named = {"--db": self.path, **(options or {})}
        return shell_line(command(*verbs, argument=argument, options=named))

    def store(self) -> DecisionStore:
        return DecisionStore(self.path, allowed_signers=self.allowed_signers)


def from_environment() -> Frame:
    """What holds when nothing is said, before the command or after it."""
    signers = os.environ.get("NEXUS_CONTROL_ALLOWED_SIGNERS")
    return Frame(
        os.environ.get("NEXUS_CONTROL_DB") or None, allowed_signers=Path(signers) if signers else None
    )


def frame_of(
    context: typer.Context,
    database: str | None,
    as_json: bool,
    allowed_signers: Path | None = None,
) -> Frame:
    before = cast("Frame", context.obj)
    return before.with_options(database, as_json, allowed_signers)


def carry_out(
    frame: Frame, action: Callable[[DecisionStore], Data], show: Callable[[Screen, Data], None]
) -> Data:
    """Run `action` on the store and show its data; or say why not, and exit with 1 or 2."""

    def run() -> Data:
        with frame.store() as store:
            return action(store)

    return answer(frame, run, show)


def answer(frame: Frame, action: Callable[[], Data], show: Callable[[Screen, Data], None]) -> Data:
    """Run `action` and show its data; or say why not, and exit with 1 or 2."""
    outcome = fault_of(action)
    if isinstance(outcome, NexusControlError):
        raise refuse(frame, outcome)
    if frame.as_json:
        print(visible_json(outcome))
    else:
        show(Screen(sys.stdout), outcome)
    return outcome


def refuse(frame: Frame, fault: NexusControlError) -> typer.Exit:
    """Say what is wrong and what to do next; the exit to raise."""
    advice = fault.next
    if frame.as_json:
        answer = {
            "code": str(fault.code),
            "message": fault.message,
            "details": fault.details,
            "next": advice,
        }
        print(visible_json(answer))
    else:
        screen = Screen(sys.stderr)
        screen.prose(fault.message, Mark(f"{fault.code}:", "bad"))
        screen.prose(advice)
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
