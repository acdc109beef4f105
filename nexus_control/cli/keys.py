"""The commands about keys: key generate, list, rotate, export.

The log's key lies beside the database, `<database>.key`; `key generate FILE` makes one to sign packages with, and puts
its public half into `FILE.pub`.
"""

from pathlib import Path
from typing import Annotated, TypedDict

import typer

from nexus_control.cli.commands import group
from nexus_control.cli.files import create_secret, output_file
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.screen import DONE, Screen, columns
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.evidence.formats import keys
from nexus_control.log import log_keys
from nexus_control.log.log_keys import KeyRecord

key = group(
    help="The key of the store's log, and keys to sign packages with.\n\nExample: nexus-control key list"
)


@key.command()
@shared_options("db")
def generate(
    frame: Frame,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            parser=output_file,
            help="Where to put a key for signing packages. Default: the log's key.",
        ),
    ] = None,
) -> Answer:
    """Make a key for signing packages, in FILE and FILE.pub; without FILE, the log's key if it has none or has lost it.

    Example: nexus-control key generate packages.key
    """
    if file is None:
        with frame.store(makes=True) as store:
            record = log_keys.give_key(store)
        return _signing(record, f"The log has the key {record.verifier}")
    frame.require_writable("FILE", file)
    made, public = keys.generate(), file.with_name(f"{file.name}.pub")
    frame.require_writable("FILE", public)
    create_secret("FILE", file, made.to_pem())
    text = made.public.to_pem()
    try:
        frame.write_bytes("FILE", public, text.encode())
    except NexusControlError:
        file.unlink()
        raise

    def show(screen: Screen) -> None:
        said = f"The private key is in {file}, the public one in {public}."
        screen.prose(f"{said} Give that one to those who verify:", DONE)
        screen.verbatim(text.rstrip())

    fingerprint = made.public.fingerprint
    data = {"path": str(file), "public_path": str(public), "key": text, "fingerprint": fingerprint}
    return Answer(data, show, f"The key is in {file}")


@key.command("list")
@shared_options("db")
def list_keys(frame: Frame) -> Answer:
    """All keys that the log ever had; the last one signs.

    Example: nexus-control key list
    """
    with frame.store() as store:
        records = [_record(each) for each in log_keys.keys_of(store)]

    def show(screen: Screen) -> None:
        if not records:
            screen.prose("The log has no key yet; the first checkpoint or package makes one.")
            return
        screen.grid(columns("since|fingerprint", [(each["since"], each["fingerprint"]) for each in records]))
        screen.verbatim(records[-1]["key"])

    return Answer({"keys": records}, show)


@key.command()
@shared_options("db")
def rotate(frame: Frame) -> Answer:
    """Replace the log's key by a new key. The old key signs a last note that names the new one; the log records it.

    Example: nexus-control key rotate
    """
    with frame.store() as store:
        record = log_keys.rotate(store)
    return _signing(record, f"The log's key was replaced by {record.verifier}")


@key.command()
@shared_options("db")
def export(frame: Frame) -> Answer:
    """Print the log's verifier key. Hand it to the people who verify, in a way that they trust.

    Example: nexus-control key export
    """
    with frame.store() as store:
        records = log_keys.keys_of(store)
    if not records:
        fault = invalid_argument("--db", "names a store whose log has no key yet: make one")
        fault.details["command"] = frame.command("key", "generate")
        raise fault
    return Answer(_record(records[-1]), lambda _: print(records[-1].verifier))


class _Record(TypedDict):
    key: str
    fingerprint: str
    since: str
    note: str | None


def _record(record: KeyRecord) -> _Record:
    return {
        "key": str(record.verifier),
        "fingerprint": record.verifier.key.fingerprint,
        "since": record.since,
        "note": record.note,
    }


def _signing(record: KeyRecord, done: str) -> Answer:
    """The answer that names the key with which the log is signed from now on."""

    def show(screen: Screen) -> None:
        screen.prose("The log is signed with this key. Give it to those who verify:", DONE)
        screen.verbatim(str(record.verifier))

    return Answer(_record(record), show, done)
