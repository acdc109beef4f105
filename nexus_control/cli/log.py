"""The commands about a store's log: log checkpoint, prove, consistency, export, verify.

Keep a checkpoint in another place, and you can later check that the log still continues it. `log verify` needs no
database.
"""

from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.commands import group
from nexus_control.cli.files import Output, read_bytes, read_text
from nexus_control.cli.frame import Answer, Frame, shared_options, told
from nexus_control.cli.naming import whole
from nexus_control.cli.options import RequestId
from nexus_control.cli.screen import Mark, Screen
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.base64_text import to_base64
from nexus_control.evidence.formats.note import Checkpoint, parse_verifier
from nexus_control.log import checkpoints
from nexus_control.log.proving import prove as prove_event
from nexus_control.log.upkeep import find_faults

CheckpointFile = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint that you kept.")]

log = group(
    help="The store's log: signed checkpoints, and proofs against them.\n\nExample: nexus-control log checkpoint"
)


@log.command()
@shared_options("db")
def checkpoint(frame: Frame, output: Output = None) -> Answer:
    """Sign the log as it is now. Keep the checkpoint elsewhere: the log can be compared with it later.

    Example: nexus-control log checkpoint -o checkpoints/2026-11-23
    """
    with frame.store() as store:
        frame.require_writable("--output", output)  # before anything is signed
        published = checkpoints.publish(store)
        data = {**_checkpoint(published.checkpoint), "key": str(published.verifier)}
        return frame.put_out(output, published.note.encode(), data, checkpoint=published.note)


@log.command()
@shared_options("db")
def prove(frame: Frame, request_id: RequestId, output: Output = None) -> Answer:
    """Print the proof that a request's last event, and so all its events, are in the log.

    Example: nexus-control log prove 0d1c0d39
    """
    with frame.store() as store:
        frame.require_writable("--output", output)
        decision = store.load(whole(store, request_id))
        last = decision.facts.event_count - 1
        proof = prove_event(store, decision.decision_id, decision.generation, last)
        data = {"request_id": decision.decision_id, "index": proof.index, "leaf": f"sha256:{decision.head}"}
        text = proof.to_text()
        return frame.put_out(output, text.encode(), data, proof=text)


@log.command()
@shared_options("db")
def consistency(
    frame: Frame,
    file: CheckpointFile,
    log_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="The log's verifier key, NAME+ID+BASE64, as you got it from its owner."
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Prove up to the log's first N entries. Default: all entries."),
    ] = None,
) -> Answer:
    """Check that the store still has, unchanged, all entries that a checkpoint covered. Exits with 3 if not.

    Example: nexus-control log consistency checkpoints/2026-11-23
    """
    with frame.store() as store:
        faults = find_faults(store)
        if faults:
            raise NexusControlError(
                ErrorCode.LOG_INCONSISTENT,
                f"The store is not whole: {faults[0].detail}",
                {"faults": [fault.code for fault in faults][:100]},
            )
        trusted = parse_verifier(log_key) if log_key else None
        found = checkpoints.require_continued(store, read_text("CHECKPOINT", file), trusted, size=size)
    proof = [to_base64(step) for step in found.path]

    def show(screen: Screen) -> None:
        signed = f"The first {found.earlier.size} entries are the signed ones"
        screen.prose(f"{signed}. The proof up to entry {found.size}:", Mark("Consistent.", "good"))
        for step in proof:
            screen.verbatim(step)

    known = {"ok": True, "checkpoint": _checkpoint(found.earlier)}
    return Answer({**known, "size": found.size, "root": to_base64(found.root), "proof": proof}, show)


@log.command()
@shared_options("db")
def export(frame: Frame, output: Output = None) -> Answer:
    """Print the data of every leaf of the log, a line each. Anybody can compute the log's root from it.

    Example: nexus-control log export -o log.jsonl
    """
    with frame.store() as store:
        lines = checkpoints.leaf_lines(store)
        return frame.put_out(output, lines, {"size": lines.count(b"\n")}, leaves=lines.decode())


@log.command()
@shared_options()
def verify(
    frame: Frame,
    file: CheckpointFile,
    leaves: Annotated[Path, typer.Option(metavar="FILE", help="What `log export` wrote.")],
    log_key: Annotated[
        str, typer.Option("--log-key", metavar="KEY", help="The log's verifier key, NAME+ID+BASE64.")
    ],
) -> Answer:
    """Check that an exported log has the root that a checkpoint signs. Needs no database; exits with 3 if not.

    Example: nexus-control log verify checkpoint --leaves log.jsonl --log-key "$KEY"
    """
    note, lines = read_text("CHECKPOINT", file), read_bytes("--leaves", leaves)
    signed = checkpoints.require_leaves(note, lines, parse_verifier(log_key))
    entries = lines.count(b"\n")
    text = f"{signed.size} of {entries} entries have the root that was signed."
    data = {"ok": True, "checkpoint": _checkpoint(signed), "leaves": entries}
    return Answer(data, told(text, Mark("Verified.", "good")))


def _checkpoint(checkpoint: Checkpoint) -> dict[str, str | int]:
    return {"origin": checkpoint.origin, "size": checkpoint.size, "root": to_base64(checkpoint.root)}
