"""The commands about keys: key generate, list, rotate, export.

The log's key lies beside the database, `<database>.key`; `key generate FILE` makes one to sign packages with, and puts
its public half into `FILE.pub`.
"""

from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.commands import group
from nexus_control.cli.files import create_secret, output_file
from nexus_control.cli.frame import Data, answer, carry_out, frame_of
from nexus_control.cli.options import AsJson, Database
from nexus_control.cli.screen import Mark, Screen, columns
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.evidence.formats import keys
from nexus_control.log import checkpoints
from nexus_control.log.checkpoints import KeyRecord
from nexus_control.store import DecisionStore

key = group("The key of the store's log, and keys to sign packages with.")


@key.command()
def generate(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            parser=output_file,
            help="Where to put a key for signing packages. Default: the log's key.",
        ),
    ] = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Make a key for signing packages, in FILE and FILE.pub; without FILE, the log's key if it has none or has lost it.

    Example: nexus-control key generate packages.key
    """
    frame = frame_of(context, db, as_json)
    if file is None:
        carry_out(frame, _give_key, _show_key, lambda data: f"The log has the key {data['key']}", makes=True)
        return

    def run() -> Data:
        frame.require_writable("FILE", file)
        made, public = keys.generate(), file.with_name(f"{file.name}.pub")
        frame.require_writable("FILE", public)
        create_secret("FILE", file, made.to_pem())
        try:
            frame.write_bytes("FILE", public, made.public.to_pem().encode())
        except NexusControlError:
            file.unlink()
            raise
        return {
            "path": str(file),
            "public_path": str(public),
            "key": made.public.to_pem(),
            "fingerprint": made.public.fingerprint,
        }

    answer(frame, run, _show_file, lambda data: f"The key is in {data['path']}")


@key.command("list")
def list_keys(context: typer.Context, db: Database = None, as_json: AsJson = False) -> None:
    """All keys that the log ever had; the last one signs.

    Example: nexus-control key list
    """

    def run(store: DecisionStore) -> Data:
        return {"keys": [_record(record) for record in checkpoints.keys_of(store)]}

    def show(screen: Screen, data: Data) -> None:
        if not data["keys"]:
            screen.prose("The log has no key yet; the first checkpoint or package makes one.")
            return
        screen.grid(
            columns("since|fingerprint", [(each["since"], each["fingerprint"]) for each in data["keys"]])
        )
        screen.verbatim(data["keys"][-1]["key"])

    carry_out(frame_of(context, db, as_json), run, show)


@key.command()
def rotate(context: typer.Context, db: Database = None, as_json: AsJson = False) -> None:
    """Replace the log's key by a new key. The old key signs a last note that names the new one; the log records it.

    Example: nexus-control key rotate
    """

    def run(store: DecisionStore) -> Data:
        return _record(checkpoints.rotate(store))

    def done(data: Data) -> str:
        return f"The log's key was replaced by {data['key']}"

    carry_out(frame_of(context, db, as_json), run, _show_key, done)


@key.command()
def export(context: typer.Context, db: Database = None, as_json: AsJson = False) -> None:
    """Print the log's verifier key. Hand it to the people who verify, in a way that they trust.

    Example: nexus-control key export
    """
    frame = frame_of(context, db, as_json)

    def run(store: DecisionStore) -> Data:
        records = checkpoints.keys_of(store)
        if not records:
            fault = invalid_argument("--db", "names a store whose log has no key yet: make one")
            fault.details["command"] = frame.command("key", "generate")
            raise fault
        return _record(records[-1])

    def show(_screen: Screen, data: Data) -> None:
        print(data["key"])

    carry_out(frame, run, show)


def _give_key(store: DecisionStore) -> Data:
    return _record(checkpoints.give_key(store))


def _record(record: KeyRecord) -> Data:
    return {
        "key": str(record.verifier),
        "fingerprint": record.verifier.key.fingerprint,
        "since": record.since,
        "note": record.note,
    }


def _show_key(screen: Screen, data: Data) -> None:
    screen.prose("The log is signed with this key. Give it to those who verify:", Mark("Done.", "good"))
    screen.verbatim(data["key"])


def _show_file(screen: Screen, data: Data) -> None:
    screen.prose(
        f"The private key is in {data['path']}, the public one in {data['public_path']}. Give that one to those who"
        " verify:",
        Mark("Done.", "good"),
    )
    screen.verbatim(data["key"].rstrip())
