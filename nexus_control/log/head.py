"""The head: how long the log was when something was done that must not be forgotten.

`<database>.head` lies beside a store, in a slot (`storage.slot`), and is three lines that always have the same length:

    nexus-control/head/v1\\n
    0000000000000042\\n          how many entries the log had: 16 digits, at most 2^53-1
    9f86d081...0f00a08\\n        the root of their Merkle tree (RFC 6962): 64 hex digits

The head is brought forward after the commit of a claim and before the router is called; also after the commit of a
denial, a revocation, a withdrawal or an import. A claim is refused while the log does not continue the head: else an
older copy of the database would dispatch again what was executed, denied or taken back since the copy was made.

* The head only moves forward, and only while the log continues it. A head that is missing or cannot be read refuses
  nothing; the next head takes its place. In a log folder it is there from the beginning
  (`storage.log_folder`): while it is missing there, nothing is executed or signed.
* The head is not flushed to the disk: after a loss of power it may be older than the log, never newer.
* A process can be killed between the commit and the new head. A claim was then not dispatched, and a verdict was not
  answered. An older copy that is put back at that moment is not noticed.

A store that was laid out from a backup has a head that no log continues: its size is 2^53-1, its root is that of the
log in the backup. It says *restored*, to earlier versions too. A store that was migrated to another place has a head of
the size 2^53-2, with the root of the log that was migrated: it says *migrated*, as the mark in the database does
(`storage.moved`), which is there for those who do not see the head.

The owner of a store can accept a rollback, and go on with an older copy. An entry of the log then records the head and
the checkpoint that the log does not continue:

    rollback entry = {"head": {"root": <64 hex digits>, "size": <integer>}, "checkpoint": <signed note>}

Either is null when it was not lost. From then on the log counts as continuing them.
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
from nexus_control.storage.contract import Entry, Reader
from nexus_control.storage.moved import migrated as migrated_to
from nexus_control.storage.sidecar import Sidecar
from nexus_control.storage.slot import Slot
from nexus_control.values.records import always_written, check, decode

MIGRATED_SIZE = MAX_SAFE_INTEGER - 1
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
    """The loss that the owner of a store accepted: the payload of a rollback's entry."""

    head: Head | None = always_written(None)
    checkpoint: str | None = always_written(None)


def parse_head(content: bytes) -> Head | None:
    """The head in this content of the slot; None where it is not spelled exactly as above."""
    matched = _CONTENT.fullmatch(content)
    if matched is None or int(matched[1]) > MAX_SAFE_INTEGER:
        return None
    return Head(size=int(matched[1]), root=matched[2].decode())


def restored(root: str) -> Head:
    """The head of a store that was laid out from a backup, whose log has this root."""
    return Head(size=MAX_SAFE_INTEGER, root=root)


def migrated(root: str) -> Head:
    """The head of a store whose log, with this root, goes on at another place."""
    return Head(size=MIGRATED_SIZE, root=root)


def slot_of(sidecar: Sidecar) -> Slot:
    return sidecar.slot(_NAME)


def place_of(sidecar: Sidecar) -> str:
    """The place of the head, as people read it."""
    return sidecar.place(_NAME)


def look_at(ledger: Ledger) -> bytes:
    """The content of the slot; empty where it cannot be read. For commands that only look."""
    try:
        return slot_of(ledger.sidecar).read()
    except NexusControlError:
        return b""


def head_of(session: ReadSession) -> Head:
    """A head made from the log as this session sees it."""
    size = session.rows.log_size()
    return Head(size=size, root=root_of(session.rows, size))


def root_of(rows: Reader, size: int) -> str:
    """The root of the tree over the first entries, in bare hex."""
    return tree_root(size, rows.subtree).hex()


def losses(session: ReadSession) -> list[Loss]:
    """All losses that were ever accepted."""
    return [loss_of(entry) for entry in session.rows.entries("rollback", ROLLBACKS, 0)]


def loss_of(entry: Entry) -> Loss:
    """The loss that an entry records. Raises JSON_INVALID or REPLAY_INVALID for a payload that is not a loss."""
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
    """The head in this content of the slot. Raises STORE_ROLLED_BACK where the log does not continue it, STORE_MIGRATED
    where it goes on at another place.
    """
    if (moved := session.rows.moved()) is not None:
        raise migrated_to(moved)
    if is_lost(sidecar):
        raise NexusControlError(
            ErrorCode.STORE_ROLLED_BACK,
            f"{place_of(sidecar)} is not there, though it is made with its folder: the folder was laid out from a copy,"
            " and nobody knows what came after it",
            {"path": place_of(sidecar), "restored": True},
        )
    head = parse_head(content)
    if head is not None and not is_continued(session, head):
        if head.size == MAX_SAFE_INTEGER:
            raise NexusControlError(
                ErrorCode.STORE_ROLLED_BACK,
                "The database was laid out from a backup, and its owner has not accepted yet that it goes on without"
                " what came later",
                {"path": place_of(sidecar), "restored": True},
            )
        if head.size == MIGRATED_SIZE:
            raise NexusControlError(
                ErrorCode.STORE_MIGRATED,
                "The store was migrated to another place, where its log goes on: nothing is executed or signed here",
                {"path": place_of(sidecar)},
            )
        size = session.rows.log_size()
        raise NexusControlError(
            ErrorCode.STORE_ROLLED_BACK,
            "The database is an older copy, or another one: it does not continue the"
            f" {head.size} entries that {place_of(sidecar)} knows of",
            {"path": place_of(sidecar), "head_size": head.size, "log_size": size},
        )
    return head


def is_lost(sidecar: Sidecar) -> bool:
    """Whether a head was beside the store from the beginning, and is gone."""
    return sidecar.has_lost(_NAME)


def begin_again(sidecar: Sidecar) -> None:
    """Make the slot of a head that was lost, and whose loss was accepted."""
    slot_of(sidecar).require_writable()


def advance(ledger: Ledger, known: bytes, head: Head) -> None:
    """Bring the head forward to this one, whose entries are committed. It is known to continue the head in `known`, a
    content of the slot.

    Raises STORE_ROLLED_BACK where another history's head lies there now, STORE_UNAVAILABLE where it cannot be written.
    """
    slot = slot_of(ledger.sidecar)
    while (found := _replace(slot, known, head)) != known:  # another process was faster
        with ledger.reading() as session:
            theirs = require_continued(session, ledger.sidecar, found)
        if theirs is not None and theirs.size >= head.size:
            return
        known = found


def _replace(slot: Slot, known: bytes, head: Head) -> bytes:
    return slot.update(lambda found: head.to_bytes() if found == known else None)


@contextmanager
def remembering(ledger: Ledger) -> Generator[None]:
    """Bring the head forward to what the block commits, also where the store is closed meanwhile."""
    with ledger.held():
        yield
        remember(ledger)


def remember(ledger: Ledger) -> None:
    """Bring the head forward to the log as it is, if that can be done. Where it cannot, the committed verdict stands
    and is answered as a success; `doctor` reports that the head is behind.
    """
    with suppress(NexusControlError):
        known = slot_of(ledger.sidecar).read()
        with ledger.reading() as session:
            require_continued(session, ledger.sidecar, known)
            head = head_of(session)
        advance(ledger, known, head)
