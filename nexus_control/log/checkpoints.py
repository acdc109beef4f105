"""A store's log for people elsewhere: its signed checkpoints.

The log's leaves are the chain hashes of the store's entries, by position. A checkpoint (`evidence.formats.note`) states
how many leaves there are and their root, signed with the log's key (`log.log_keys`); a proof (`log.proving`) leads from
one leaf to a checkpoint.

The head and the last checkpoint lie beside the store. Nothing is signed unless the log continues both: so an older copy
of the database, or another history, is noticed. Once the store's owner has accepted the loss of a checkpoint
(`log.head`), the next one replaces it. Somebody who owns both the store and the key can still rewrite what was appended
since the last checkpoint that left this machine.

A log that did not grow is not signed again. A checkpoint that was verified or signed here is not verified again with
the same keys; it is read each time, and compared with the log, because another process may have replaced either.
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.chain import leaf_hash
from nexus_control.evidence.formats.keys import PrivateKey
from nexus_control.evidence.formats.merkle import (
    Read,
    consistency_path,
    reader,
    tree_root,
    whole_tree,
)
from nexus_control.evidence.formats.note import Checkpoint, Verifier, open_note, parse_checkpoint, sign_note
from nexus_control.log import head
from nexus_control.log.entries import leaf_data_of_each
from nexus_control.log.ledger import Ledger
from nexus_control.log.log_keys import KEY, continuing, settle_key, settled_key, unusable, verifiers_in
from nexus_control.log.session import ReadSession, WriteSession
from nexus_control.storage.sidecar import Sidecar

LAST = "checkpoint"
"""The name of the content beside the store."""

_Verified: TypeAlias = tuple[Checkpoint, tuple[Verifier, ...]]
"""A checkpoint, and who of the known signers signed it."""

_MOST_VERIFIED = 16
_verified: dict[tuple[str, tuple[Verifier, ...]], _Verified] = {}
"""What was verified last, by the note and the known signers. A note that was refused is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A signed checkpoint, and the log's current key."""

    checkpoint: Checkpoint
    note: str
    verifier: Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """A log of `size` leaves continues an earlier checkpoint; the path proves it to others (RFC 9162, 2.1.4)."""

    earlier: Checkpoint
    size: int
    root: bytes
    path: tuple[bytes, ...]


def publish(ledger: Ledger) -> Published:
    """Sign the log as it is now, and keep the checkpoint beside the store. Raises LOG_INCONSISTENT, KEY_UNUSABLE."""
    seen = look(ledger)
    with ledger.reading() as session:
        if (last := signed_already(session, ledger.sidecar, seen)) is not None:
            return last
    with publishing(ledger) as (_, published):
        return published


def require_continued(
    ledger: Ledger, note: str, trusted: Verifier | None = None, *, size: int | None = None
) -> Consistency:
    """Prove that the log continues the checkpoint in this signed note, which was saved elsewhere some time ago.

    The tree is computed again from the entries. `trusted` is the key that must have signed the note; None trusts the
    keys that the log itself names. The proof leads to the first `size` entries, or to all. Raises LOG_INCONSISTENT,
    SIGNATURE_INVALID, INTEGRITY_MISMATCH; INVALID_ARGUMENT for a size beyond the log, or below that of the checkpoint.
    """
    with ledger.reading() as session:
        known = verifiers_in(session) if trusted is None else (trusted,)
        earlier, _ = _opened(note, known)
        leaves = [bytes.fromhex(leaf_hash(data)) for data in leaf_data_of_each(session.rows.log())]
    read = reader(whole_tree(leaves))
    _require_continues(earlier, len(leaves), read)
    until = len(leaves) if size is None else size
    if not earlier.size <= until <= len(leaves):
        raise invalid_argument("size", f"must be from {earlier.size} to {len(leaves)}")
    path = consistency_path(earlier.size, until, read)
    return Consistency(earlier=earlier, size=until, root=tree_root(until, read), path=tuple(path))


def require_leaves(note: str, lines: bytes, trusted: Verifier) -> Checkpoint:
    """The checkpoint in this signed note. Its root must be that of the first of these lines (`leaf_lines`).

    Raises LOG_INCONSISTENT, SIGNATURE_INVALID, INTEGRITY_MISMATCH.
    """
    signed, _ = _opened(note, (trusted,))
    leaves = [bytes.fromhex(leaf_hash(line)) for line in lines.split(b"\n")[:-1]]
    _require_continues(signed, len(leaves), reader(whole_tree(leaves)))
    return signed


def last_published(ledger: Ledger) -> Checkpoint | None:
    """The checkpoint beside the store. Raises LOG_INCONSISTENT where the log does not continue it."""
    content = ledger.sidecar.read(LAST)
    with ledger.reading() as session:
        last = last_in(session, ledger.sidecar, content)
    return None if last is None else last.checkpoint


def lost_checkpoint(session: ReadSession, sidecar: Sidecar) -> str | None:
    """The note beside the store, if the log does not continue it; else None. Raises LOG_INCONSISTENT where the file
    holds no note, STORE_UNAVAILABLE where it cannot be read.
    """
    content = sidecar.read(LAST)
    try:
        last_in(session, sidecar, content)
        return None
    except NexusControlError as fault:
        content = content or b""
        if fault.code != ErrorCode.LOG_INCONSISTENT:
            raise
        with suppress(UnicodeDecodeError):
            return content.decode()
        raise _inconsistent(f"{sidecar.place(LAST)} is not a checkpoint: move it away") from None


def leaf_lines(ledger: Ledger) -> bytes:
    """The bytes of every leaf before hashing, one line each, by position: anybody can compute the root from them."""
    with ledger.reading() as session:
        return b"".join(data + b"\n" for data in leaf_data_of_each(session.rows.log()))


@contextmanager
def publishing(ledger: Ledger) -> Generator[tuple[ReadSession, Published]]:
    """Like `publish`, with a session that sees the log as it was signed.

    It is that of the store's writer, so that no other process puts an older checkpoint in the place of this one. It
    writes nothing: a key is settled in a transaction of its own, because a checkpoint must not cover an entry that
    could still be rolled back.
    """
    with continuing(ledger) as session:
        if (found := settled_key(session, ledger.sidecar)) is not None:
            yield session, _publish(session, ledger.sidecar, *found)
            return
    settle_key(ledger)
    with continuing(ledger) as session:
        if (found := settled_key(session, ledger.sidecar)) is None:
            place = ledger.sidecar.place(KEY)
            raise unusable(f"{place} was changed at this moment: try again", path=place)
        yield session, _publish(session, ledger.sidecar, *found)


def _publish(
    session: WriteSession, sidecar: Sidecar, verifiers: tuple[Verifier, ...], key: PrivateKey
) -> Published:
    last = _last_in(session, sidecar, sidecar.read(LAST), verifiers)
    size, verifier = session.rows.log_size(), verifiers[-1]
    root = tree_root(size, session.rows.subtree)
    checkpoint = Checkpoint(origin=verifier.name, size=size, root=root)
    note = sign_note(checkpoint.to_text(), verifier.name, key)
    if last is None or last.checkpoint != checkpoint:
        sidecar.replace(LAST, note.encode())
        _keep(note, verifiers, (checkpoint, (verifier,)))
    return Published(checkpoint=checkpoint, note=note, verifier=verifier)


@dataclass(frozen=True, slots=True)
class Seen:
    """The contents of head and checkpoint, read before the transaction that holds the log against them: so the log
    cannot be older than they are only because another process wrote to both meanwhile.
    """

    head: bytes
    checkpoint: bytes | None


def look(ledger: Ledger) -> Seen:
    """What lies beside the store. What cannot be read counts as not there: `publishing` will say so."""
    content = None
    with suppress(NexusControlError):
        content = ledger.sidecar.read(LAST)
    return Seen(head.look_at(ledger), content)


def signed_already(session: ReadSession, sidecar: Sidecar, seen: Seen) -> Published | None:
    """The checkpoint beside the store, if it is of the whole log and signed with the key that signs now: it need not be
    signed again. Where anything is to be refused, it is None, and `publishing` refuses it.
    """
    content = seen.checkpoint
    if content is None or not _says(content, session.rows.log_size()):
        return None
    try:
        head.require_continued(session, sidecar, seen.head)
        if (found := settled_key(session, sidecar)) is None:
            return None
        verifiers, _ = found
        last = _last_in(session, sidecar, content, verifiers)
    except NexusControlError:
        return None
    if last is None or verifiers[-1] not in _opened(last.note, verifiers)[1]:
        return None
    return last


def _says(content: bytes, size: int) -> bool:
    """Whether the content says that it is the checkpoint of a log of this size. Nothing of it is verified."""
    return content.split(b"\n", 2)[1:2] == [str(size).encode()]


def last_in(session: ReadSession, sidecar: Sidecar, content: bytes | None) -> Published | None:
    """The checkpoint in this content, which lay beside the store; None without one, and for one whose loss was
    accepted. Raises LOG_INCONSISTENT where the log does not continue it.

    A session that only reads was begun after the content was read.
    """
    return None if content is None else _last_in(session, sidecar, content, verifiers_in(session))


def _last_in(
    session: ReadSession, sidecar: Sidecar, content: bytes | None, verifiers: tuple[Verifier, ...]
) -> Published | None:
    if content is None:
        return None
    try:
        return _continued(session, sidecar, content, verifiers)
    except NexusControlError:
        accepted = [loss.checkpoint.encode() for loss in head.losses(session) if loss.checkpoint is not None]
        if content in accepted:
            return None
        raise


def _continued(
    session: ReadSession, sidecar: Sidecar, content: bytes, verifiers: tuple[Verifier, ...]
) -> Published:
    try:
        note = content.decode()
        last, _ = _opened(note, verifiers)
    except (NexusControlError, UnicodeDecodeError) as error:
        raise _inconsistent(f"{sidecar.place(LAST)} is not a checkpoint of this log: {error}") from None
    _require_continues(last, session.rows.log_size(), session.rows.subtree)
    return Published(checkpoint=last, note=note, verifier=verifiers[-1])


def _require_continues(earlier: Checkpoint, size: int, read: Read) -> None:
    if size < earlier.size:
        raise _inconsistent(
            f"the log had {earlier.size} entries when it was signed, and has {size}: this is an older copy of it"
        )
    if tree_root(earlier.size, read) != earlier.root:
        raise _inconsistent(f"the first {earlier.size} entries are not the ones that were signed")


def _opened(note: str, known: tuple[Verifier, ...]) -> _Verified:
    """Raises SIGNATURE_INVALID, INTEGRITY_MISMATCH."""
    found = _verified.get((note, known))
    return _keep(note, known, _verify(note, known)) if found is None else found


def _keep(note: str, known: tuple[Verifier, ...], verified: _Verified) -> _Verified:
    if len(_verified) >= _MOST_VERIFIED:
        _verified.clear()
    _verified[note, known] = verified
    return verified


def _verify(note: str, known: tuple[Verifier, ...]) -> _Verified:
    opened = open_note(note, known)
    checkpoint = parse_checkpoint(opened.text)
    signers = tuple(signature.verifier for signature in opened.signatures)
    if checkpoint.origin not in [signer.name for signer in signers]:
        raise NexusControlError(
            ErrorCode.SIGNATURE_INVALID,
            "No key that is trusted for this log signed the checkpoint",
            advice="Use a checkpoint of this store's log, or name the key that signed it.",
        )
    if not checkpoint.size:
        raise NexusControlError(ErrorCode.INTEGRITY_MISMATCH, "A checkpoint of no entries proves nothing")
    return checkpoint, signers


def _inconsistent(problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.LOG_INCONSISTENT, problem)
