"""Signed verdicts: the options of `approve`, `deny` and `revoke` for signing, and the command `statement`.

The approver's key stays with ssh-keygen. ssh-keygen signs in a process of its own, which asks for passphrases and for
touches of hardware keys at the terminal, or on another machine. The signed bytes are passed on unchanged.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.files import Output, read_bytes, read_text
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.naming import whole
from nexus_control.cli.options import RequestId
from nexus_control.cli.screen import Screen, one_line
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.evidence.formats.ssh_keys import public_line_in
from nexus_control.evidence.statement import NAMESPACE, Verdict, parse_statement
from nexus_control.render.stated import statement_facts
from nexus_control.store import DecisionStore
from nexus_control.system.commands import USUAL_KEY, absolute, shell_line
from nexus_control.system.whole_files import is_regular, is_there
from nexus_control.usecases import arguments as door
from nexus_control.usecases.answers import StatementData
from nexus_control.usecases.signing import approval_statement, require_may_sign
from nexus_control.values.actors import Actor

SignKey = Annotated[
    Path | None,
    typer.Option(
        "--sign",
        metavar="KEY",
        help="Sign with this SSH key: a private key, or a .pub whose private half is in ssh-agent.",
    ),
]
SignatureFile = Annotated[
    Path | None,
    typer.Option(
        "--signature", metavar="FILE", help="The signature that ssh-keygen made of a statement elsewhere."
    ),
]
StatementFile = Annotated[
    Path | None,
    typer.Option(
        "--statement",
        metavar="FILE",
        help="The statement that was signed. Default: the signature's FILE without .sig.",
    ),
]

_SIGNER = "ssh-keygen"
_SUFFIX = ".sig"


@dataclass(frozen=True, slots=True)
class Signing:
    """The options that say how a verdict is signed, if at all."""

    verdict: str
    key: Path | None = None
    signature: Path | None = None
    statement: Path | None = None
    expires_at: str | None = None

    @property
    def is_asked_for(self) -> bool:
        return self.key is not None or self.signature is not None

    def require_usable(self, frame: Frame, store: DecisionStore, actor: Actor) -> None:
        """Check the options before anybody is asked anything. Raises INVALID_ARGUMENT for options that do not fit, and
        SIGNATURE_INVALID if no line of the allowed signers would let this key sign.
        """
        if self.key is not None and self.signature is not None:
            raise invalid_argument("--sign", "and --signature exclude each other")
        if self.statement is not None and self.signature is None:
            raise invalid_argument("--statement", "needs --signature, the signature of it")
        if self.key is not None and shutil.which(_SIGNER) is None:
            raise invalid_argument(
                "--sign",
                f"needs {_SIGNER}, which is not on PATH: install OpenSSH, or sign elsewhere what `nexus-control"
                " statement` writes, and hand it in with --signature",
            )
        if self.is_asked_for and frame.allowed_signers is None:
            raise invalid_argument(
                "--allowed-signers",
                "is needed for a signed verdict: the file that says whose keys count here (also"
                " NEXUS_CONTROL_ALLOWED_SIGNERS)",
            )
        if self.key is not None:
            _require_may_sign(store, actor, self.key)

    def stated(self, store: DecisionStore, request_id: str, actor: Actor) -> str | None:
        """The statement of this verdict; None if the verdict is not signed. Raises INVALID_ARGUMENT."""
        if self.key is not None:
            return _state(store, request_id, actor, self.verdict, self.expires_at)["statement"]
        return None if self.signature is None else self._read(self.signature)

    def signature_of(self, statement: str) -> str:
        """The signature of the statement. Raises INVALID_ARGUMENT if a file or ssh-keygen is missing."""
        if self.key is not None:
            return _sign(self.key, statement)
        assert self.signature is not None
        return read_text("--signature", self.signature)

    def _read(self, signature: Path) -> str:
        if self.statement is None and signature.suffix != _SUFFIX:
            raise invalid_argument(
                "--statement",
                f"is needed: {signature.name} does not end in {_SUFFIX}, so its name is not known",
            )
        statement = self.statement or Path(str(signature).removesuffix(_SUFFIX))
        if self.statement is None and not is_regular(statement):
            raise invalid_argument("--statement", f"is needed: there is no {statement} beside the signature")
        return read_text("--statement", statement)


@shared_options("acting_as", "db")
def statement(
    frame: Frame,
    request_id: RequestId,
    verdict: Annotated[Verdict, typer.Option(help="What is signed.")] = "approve",
    expires_at: Annotated[
        str | None, typer.Option(help="When the approval is to run out (ISO 8601).")
    ] = None,
    output: Output = None,
) -> Answer:
    """Print the exact bytes that an approver signs. Sign them elsewhere, then hand the signature in.

    Example: nexus-control statement 0d1c0d39 -o approval.json
    """
    with frame.store() as store:
        if expires_at is not None and verdict != "approve":
            raise invalid_argument("--expires-at", "is for --verdict approve: other verdicts do not expire")
        frame.require_writable("--output", output)
        data = _state(store, whole(store, request_id), frame.actor, verdict, expires_at)
        saved = frame.put_out(output, data["statement"].encode(), data)

    def show(screen: Screen) -> None:
        if output is None:
            saved.show(screen)
        _advise(frame, data, output)

    return replace(saved, show=show)


def _advise(frame: Frame, data: StatementData, output: Path | None) -> None:
    """Print the next commands on standard error, because standard output holds only the bytes."""
    screen, file = Screen(sys.stderr), absolute(output or Path("approval.json"))
    if output is None:
        screen.blank()
    screen.prose("It says, as a page of the inbox does that has the same verdict signed:")
    for name, text in statement_facts(parse_statement(data["statement"])):
        screen.hanging(one_line(f"{name}: {text}"), 4)
    if output is None:
        screen.prose(f"Once these very bytes are in a file ({file}: --output writes it), sign them:")
    else:
        screen.prose(f"{file} is written. Sign it with your own key:")
    screen.verbatim(shell_line([_SIGNER, "-Y", "sign", "-f", USUAL_KEY, "-n", NAMESPACE, str(file)]))
    screen.prose("Then hand both in:")
    options = {
        "--signature": Path(f"{file}{_SUFFIX}"),
        "--reason": None if data["verdict"] == "approve" else "WHY",
        "--as": frame.acting_as,
        "--allowed-signers": frame.allowed_signers,
    }
    screen.verbatim(frame.command(data["verdict"], argument=data["request_id"], options=options))


def _require_may_sign(store: DecisionStore, actor: Actor, key: Path) -> None:
    if is_there(key) and not is_regular(key):
        raise invalid_argument(
            "--sign", f"names {key}, which is not a regular file: it is read more than once"
        )
    if is_there(key) or is_there(f"{key}.pub"):  # otherwise ssh-keygen says that there is no such key
        require_may_sign(store, actor.id, _public_line(key))


def _public_line(key: Path) -> str | None:
    """The line of the public key with which ssh-keygen would sign; None if no file holds that key unencrypted."""
    for file in (key, Path(f"{key}.pub")):
        try:
            line = public_line_in(read_bytes("--sign", file, waits=False).decode(errors="replace"))
        except NexusControlError:
            continue
        if line is not None:
            return line
    return None


def _state(
    store: DecisionStore, request_id: str, actor: Actor, verdict: str, expires_at: str | None
) -> StatementData:
    values = {"request_id": request_id, "approver": actor.id, "verdict": verdict, "expires_at": expires_at}
    return approval_statement(store, door.validated(door.StatementArguments, values))


def _sign(key: Path, text: str) -> str:
    """The signature that ssh-keygen makes of these bytes. Its messages and questions go to this command's user."""
    command = [_SIGNER, "-Y", "sign", "-f", str(key), "-n", NAMESPACE]
    try:
        ran = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, check=False)
    except OSError as error:
        raise invalid_argument("--sign", f"cannot run {_SIGNER}: {error.strerror}") from None
    if ran.returncode != 0:
        raise invalid_argument(
            "--sign",
            f"got no signature from {_SIGNER} with {key}; what it said is on standard error. It takes a private"
            " key, or a .pub whose private half is in ssh-agent (ssh-add -l lists them)",
        )
    return ran.stdout.decode(errors="replace")
