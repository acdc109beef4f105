"""The head: how far the log had come when something was done that must not be forgotten.

`<database>.head` lies beside a store, in a slot (`storage.slot`), and is three lines that always have the same length:

    nexus-control/head/v1\\n
    0000000000000042\\n          how many entries the log had: 16 digits, at most 2^53-1
    9f86d081...0f00a08\\n        the root of their Merkle tree (RFC 6962): 64 hex digits

It is brought forward after the commit of a claim, before the router is called, and after that of a denial, a
revocation, a withdrawal, or an import. A claim is refused while the log does not continue the head: an older copy of
the database would dispatch again what was executed, denied or taken back since it was made.

* It only moves forward, and never while the log does not continue it; a head that is missing or cannot be read
  refuses nothing, and the next head takes its place.
* It is not flushed to the disk: after a loss of power it may be older than the log, never newer.
* Between the commit and the new head a process can be killed. A claim was not dispatched then, and who gave a verdict
  got no answer; what is lost is that an older copy, put back just then, is not noticed.

The owner of a store can accept what an older copy of it has lost. That is an entry of the log, which names the head,
and the checkpoint if there was one, that the log does not continue:

    rollback entry = {"head": {"root": <64 hex digits>, "size": <integer>}, "checkpoint": <signed note>}

Either is null when it was not lost. From then on the log is taken to continue them.
"""

import re
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from nexus_control.canonical_json import MAX_SAFE_INTEGER, parse_json_object
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.merkle import tree_root
from nexus_control.integrity import is_bare
from nexus_control.log.entries import ROLLBACKS
from nexus_control.log.ledger import Ledger
from nexus_control.log.session import ReadSession
from nexus_control.storage.contract import Entry
from nexus_control.storage.sidecar import Sidecar
from nexus_control.storage.slot import Slot
from nexus_control.values.records import always_written, check, decode

_NAME = "head"
_CONTENT = re.compile(rb"nexus-control/head/v1\n([0-9]{16})\n([0-9a-f]{64})\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A log of `size` entries, and the root of its tree in bare hex."""

    size: int = check(lambda size: 0 <= size <= MAX_SAFE_INTEGER, "a size")
    root: str = check(is_bare, "64 hex digits")

    def to_bytes(self) -> bytes:
        return f"nexus-control/head/v1\n{self.size:016}\n{self.root}\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What the owner of a store accepted: the payload of a rollback's entry."""

    head: Head | None = always_written(None)
    checkpoint: str | None = always_written(None)


def parse_head(content: bytes) -> Head | None:
    """The head that this content spells, or None."""
    matched = _CONTENT.fullmatch(content)
    if matched is None or int(matched[1]) > MAX_SAFE_INTEGER:
        return None
    return Head(size=int(matched[1]), root=matched[2].decode())


def slot_of(sidecar: Sidecar) -> Slot:
    return sidecar.slot(_NAME)


def place_of(sidecar: Sidecar) -> str:
    """Where the head is, for people."""
    return sidecar.place(_NAME)


def look_at(ledger: Ledger) -> bytes:
    """The content of the slot for commands that only look; empty where it cannot be read."""
    try:
        return slot_of(ledger.sidecar).read()
    except NexusControlError:
        return b""


def head_of(session: ReadSession) -> Head:
    """The head of the log as this session sees it."""
    size = session.rows.log_size()
    return Head(size=size, root=tree_root(size, session.rows.subtree).hex())


def losses(session: ReadSession) -> list[Loss]:
    """What was ever accepted as lost."""
    return [loss_of(entry) for entry in session.rows.entries("rollback", ROLLBACKS, 0)]


def loss_of(entry: Entry) -> Loss:
    """What the entry of a rollback says. Raises JSON_INVALID or REPLAY_INVALID for a payload that is not a loss."""
    content = parse_json_object(entry.payload)
    return decode(Loss, content, where="rollback", code=ErrorCode.REPLAY_INVALID)


def is_continued(session: ReadSession, head: Head) -> bool:
    """Whether the log continues this head, or its owner accepted that it does not.

    The session sees the log as it was when the head was read, or later.
    """
    read = session.rows.subtree
    if head.size <= session.rows.log_size() and tree_root(head.size, read).hex() == head.root:
        return True
    return any(loss.head == head for loss in losses(session))


def require_continued(session: ReadSession, sidecar: Sidecar, content: bytes) -> Head | None:
    """The head in this content of the slot, which the log continues. Raises STORE_ROLLED_BACK."""
    head = parse_head(content)
    if head is not None and not is_continued(session, head):
        size = session.rows.log_size()
        raise NexusControlError(
            ErrorCode.STORE_ROLLED_BACK,
            "The database is an older copy, or another one: it does not continue the"
            f" {head.size} entries that {place_of(sidecar)} knows of",
            {"path": place_of(sidecar), "head_size": head.size, "log_size": size},
        )
    return head


def advance(ledger: Ledger, known: bytes, head: Head) -> None:
    """Bring the head forward to this one, which is committed. `known` is a content of the slot whose head it continues.

    Raises STORE_ROLLED_BACK where another history's head lies there now, STORE_UNAVAILABLE where it cannot be written.
    """
    slot = slot_of(ledger.sidecar)
    while (found := _replace(slot, known, head)) != known:  # somebody was faster
        with ledger.reading() as session:
            theirs = require_continued(session, ledger.sidecar, found)
        if theirs is not None and theirs.size >= head.size:
            return
        known = found


def _replace(slot: Slot, known: bytes, head: Head) -> bytes:
    return slot.update(lambda found: head.to_bytes() if found == known else None)


@contextmanager
def remembering(ledger: Ledger) -> Generator[None]:
    """What is committed in the block must not be forgotten: the head learns of it, also of a store that is closed."""
    with ledger.held():
        yield
        remember(ledger)


def remember(ledger: Ledger) -> None:
    """Bring the head forward to the log as it is, if that can be done. A verdict that is committed stands without it,
    and is not answered with a fault; `doctor` says that the head does not know of it.
    """
    with suppress(NexusControlError):
        known = slot_of(ledger.sidecar).read()
        with ledger.reading() as session:
            require_continued(session, ledger.sidecar, known)
            head = head_of(session)
        advance(ledger, known, head)
