"""The commands about whose signed approvals count: approver add, list, check. They work on the allowed signers file."""

import fcntl
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypedDict

import typer

from nexus_control.canonical_json import MAX_TEXT_BYTES
from nexus_control.cli.commands import group
from nexus_control.cli.exit_codes import REFUSED
from nexus_control.cli.files import blaming, read_text, require_writable
from nexus_control.cli.frame import Answer, Frame, shared_options, told
from nexus_control.cli.screen import Mark, Screen
from nexus_control.errors import invalid_argument
from nexus_control.evidence.formats.allowed_signers import (
    AllowedSigner,
    AllowedSigners,
    Patterns,
    parse_allowed_signers,
    principal_problem,
)
from nexus_control.evidence.formats.base64_text import to_base64
from nexus_control.evidence.formats.ssh_keys import SshKey, parse_ssh_public_key
from nexus_control.evidence.statement import NAMESPACE
from nexus_control.storage.contract import BUSY_SECONDS
from nexus_control.system.clock import SYSTEM_CLOCK
from nexus_control.system.locking import lock_within
from nexus_control.system.whole_files import create_file, is_regular, is_there, read_regular, replace_file
from nexus_control.values.actors import fold_id, id_problem, new_id_problem, typed_problem
from nexus_control.values.instants import parse_instant

approver = group(
    help="Whose signed approvals count: the allowed signers file.\n\nExample: nexus-control approver list"
)

_READABLE = 0o644
_PATIENCE_SECONDS = BUSY_SECONDS
"""How long another `approver add` is waited for: as long as for the store's writer."""

Id = Annotated[str, typer.Argument(metavar="ID", help="The approver's id, such as alice@example.com.")]


class SignerLine(TypedDict):
    line: int
    ids: list[str]
    key_type: str
    fingerprint: str
    rp_id: str | None
    namespaces: list[str] | None
    valid_after: str | None
    valid_before: str | None


@approver.command()
@shared_options("allowed_signers", "db")
def add(
    frame: Frame,
    approver_id: Id,
    key: Annotated[
        Path,
        typer.Argument(
            metavar="KEY.pub",
            help="The public key, as ssh-keygen or an approver gives it; or a passkey's line.",
        ),
    ],
    valid_after: Annotated[str | None, typer.Option(help="From when the key counts (ISO 8601).")] = None,
    valid_before: Annotated[str | None, typer.Option(help="Until when the key counts (ISO 8601).")] = None,
    another: Annotated[
        bool, typer.Option("--another", help="One more key of somebody who is in the file already.")
    ] = False,
) -> Answer:
    """Let an approver sign with this key: one line more in the allowed signers file.

    Example: nexus-control approver add alice@example.com alice.pub --allowed-signers allowed_signers
    """
    file = _file(frame)
    line = _line(
        approver_id,
        _public_key(key, approver_id),
        _time("--valid-after", valid_after),
        _time("--valid-before", valid_before),
    )
    (signer,) = parse_allowed_signers(line).signers
    require_writable("--allowed-signers", file, frame.own_files())
    with _alone_in(file.parent):
        content = _read(file) if is_there(file) else b""
        _require_new(approver_id, signer.key, parse_allowed_signers(content), file, another=another)
        ended = content if not content or content.endswith(b"\n") else content + b"\n"
        _write(file, ended + line.encode())
    kind = "key" if signer.key.rp_id is None else f"passkey of {signer.key.rp_id}"
    text = f"{approver_id} may sign with the {kind} {signer.key.fingerprint}"
    data = {
        "file": str(file),
        "id": approver_id,
        "fingerprint": signer.key.fingerprint,
        "line": line.rstrip("\n"),
    }
    return Answer(data, told(f"{text}."), text)


@approver.command("list")
@shared_options("allowed_signers", "db")
def list_approvers(frame: Frame) -> Answer:
    """Who may sign, with which key, for what and when; and the lines that cannot be used.

    Example: nexus-control approver list --allowed-signers allowed_signers
    """
    file = _file(frame)
    allowed = _allowed(file)
    lines = [_described(each) for each in allowed.signers]
    skipped = [{"line": each.line, "why": each.why} for each in allowed.skipped]

    def show(screen: Screen) -> None:
        screen.verbatim(str(file))
        if not lines:
            screen.prose("No line lets anybody sign.")
        for signer in lines:
            screen.prose(_in_words(signer))
            screen.verbatim(signer["fingerprint"])
        for each in skipped:
            screen.prose(f"is not used: {each['why']}", Mark(f"Line {each['line']}", "bad"))

    return Answer({"file": str(file), "approvers": lines, "skipped": skipped}, show)


@approver.command()
@shared_options("acting_as", "allowed_signers", "db")
def check(
    frame: Frame,
    approver_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="The approver's id. Default: you, or --as.")
    ] = None,
) -> Answer:
    """Whether this approver's signature would count now, and with which key. Ends with 1 if it would not.

    Example: nexus-control approver check alice@example.com --allowed-signers allowed_signers
    """
    file, now = _file(frame), SYSTEM_CLOCK.now()
    asked = frame.actor.id if approver_id is None else _id(approver_id)
    allowed = _allowed(file)
    why = allowed.refusal_of_every_key(asked, NAMESPACE, now)
    usable = [
        _described(each)
        for each in allowed.signers
        if not allowed.refusal(asked, each.key, NAMESPACE, now) and each.principals.match(fold_id(asked))
    ]

    def show(screen: Screen) -> None:
        if why:
            screen.prose(f"{asked} cannot sign: {why}.", Mark("No.", "bad"))
        else:
            screen.prose(f"{asked} can sign with:", Mark("Yes.", "good"))
        for each in usable:
            screen.verbatim(f"{each['key_type']} {each['fingerprint']}{_of(each)}")

    data = {"file": str(file), "id": asked, "may_sign": not why, "keys": usable, "why": why or None}
    return Answer(data, show, code=REFUSED if why else 0)


def _file(frame: Frame) -> Path:
    """The file of signers, links followed."""
    if frame.allowed_signers is None:
        raise invalid_argument(
            "--allowed-signers",
            "is needed: no variable and no configuration names the file (config show says where they are looked for)",
        )
    return Path(os.path.realpath(frame.allowed_signers))


def _read(file: Path) -> bytes:
    try:
        return read_regular(file, MAX_TEXT_BYTES)
    except OSError as error:
        raise invalid_argument(
            "--allowed-signers", f"names {file}, which cannot be read: {error.strerror}"
        ) from None


def _allowed(file: Path) -> AllowedSigners:
    content = _read(file)
    with blaming("--allowed-signers", str(file)):
        return parse_allowed_signers(content)


def _id(approver_id: str) -> str:
    """The id, if it is not a pattern and has no type before it. Raises INVALID_ARGUMENT."""
    for problem_of in (typed_problem, id_problem, new_id_problem, principal_problem):
        if problem := problem_of(approver_id):
            raise invalid_argument("ID", problem)
    return approver_id


def _public_key(file: Path, approver_id: str) -> SshKey:
    """The key in the file: a .pub file, or the line of the allowed signers that the inbox shows for a new passkey."""
    text = read_text("KEY.pub", file)
    if "PRIVATE KEY" in text:
        raise invalid_argument(
            "KEY.pub", f"names {file}, a private key: give its public half, {file.name}.pub"
        )
    shown = parse_allowed_signers(text)
    if len(shown.signers) == 1 and not shown.skipped:
        return _key_in(shown.signers[0], file, approver_id)
    with blaming("KEY.pub", str(file)):
        return parse_ssh_public_key(text)


def _key_in(line: AllowedSigner, file: Path, approver_id: str) -> SshKey:
    """The key of this approver's line. Other options than the namespace of approvals would be lost: it has none."""
    names, limits = _patterns(line.principals), (line.valid_after, line.valid_before, line.verify_required)
    if names != [fold_id(approver_id)]:
        raise invalid_argument(
            "KEY.pub", f"names {file}, which is a line of {', '.join(names)}, not of {approver_id}"
        )
    if any(limits) or (line.namespaces is not None and _patterns(line.namespaces) != [NAMESPACE]):
        raise invalid_argument(
            "KEY.pub", f"names {file}, a line with options: put it into the file of signers by hand"
        )
    return line.key


def _time(option: str, given: str | None) -> datetime | None:
    if given is None:
        return None
    with blaming(option, given):
        return parse_instant(given)


def _line(approver_id: str, key: SshKey, after: datetime | None, before: datetime | None) -> str:
    """The line of the file, without the key's comment. Raises INVALID_ARGUMENT."""
    name = _id(approver_id)
    options = [f'namespaces="{NAMESPACE}"']
    for option, time in (("valid-after", after), ("valid-before", before)):
        if time is not None:
            options.append(f'{option}="{time:%Y%m%d%H%M%S}Z"')
    principal = f'"{name}"' if " " in name else name
    line = f"{principal} {','.join(options)} {key.type} {to_base64(key.blob)}\n"
    read = parse_allowed_signers(line)
    if len(read.signers) != 1:
        raise invalid_argument("ID", f"makes a line that cannot be used: {read.skipped_in_words}")
    return line


def _require_new(
    approver_id: str, key: SshKey, allowed: AllowedSigners, file: Path, *, another: bool
) -> None:
    for each in allowed.signers:
        if each.key == key:
            raise invalid_argument(
                "KEY.pub", f"is in {file} already, in line {each.line}: one key is one person"
            )
        if fold_id(approver_id) in each.principals.wanted and not another:
            raise invalid_argument(
                "ID",
                f"is in {file} already, in line {each.line}: --another adds one more key of theirs; to replace the"
                " key, take that line out",
            )


@contextmanager
def _alone_in(folder: Path) -> Generator[None]:
    """Keep other `approver add` out, which would lose this line. The folder is locked, as the file is replaced."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise invalid_argument(
            "--allowed-signers", f"is in {folder}, which cannot be opened: {error.strerror}"
        ) from None
    try:
        try:
            lock_within(_PATIENCE_SECONDS, descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise invalid_argument(
                "--allowed-signers",
                f"is in {folder}, which cannot be locked: {error.strerror}. Try again",
            ) from None
        yield
    finally:
        os.close(descriptor)


def _write(file: Path, content: bytes) -> None:
    try:
        if is_regular(file):
            found = file.stat()
            replace_file(file, content, stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid))
        else:
            create_file(file, content, _READABLE)
    except OSError as error:
        raise invalid_argument(
            "--allowed-signers", f"names {file}, which cannot be written: {error.strerror}"
        ) from None


def _patterns(patterns: Patterns) -> list[str]:
    return [*patterns.wanted, *(f"!{each}" for each in patterns.unwanted)]


def _utc(time: datetime | None) -> str | None:
    return None if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _described(signer: AllowedSigner) -> SignerLine:
    return {
        "line": signer.line,
        "ids": _patterns(signer.principals),
        "key_type": signer.key.type,
        "fingerprint": signer.key.fingerprint,
        "rp_id": signer.key.rp_id,
        "namespaces": None if signer.namespaces is None else _patterns(signer.namespaces),
        "valid_after": _utc(signer.valid_after),
        "valid_before": _utc(signer.valid_before),
    }


def _in_words(line: SignerLine) -> str:
    what = "everything" if line["namespaces"] is None else ", ".join(line["namespaces"])
    ends = [("from", line["valid_after"]), ("until", line["valid_before"])]
    valid = " ".join(f"{word} {time}" for word, time in ends if time)
    return f"{', '.join(line['ids'])}: {line['key_type']}{_of(line)}, for {what}, {valid or 'always'}"


def _of(line: SignerLine) -> str:
    return "" if line["rp_id"] is None else f" (a passkey of {line['rp_id']})"
