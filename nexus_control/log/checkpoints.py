"""A store's log for people elsewhere: its name and keys, and its signed checkpoints.

The log's leaves are the chain hashes of the store's entries, by position. A checkpoint (`evidence.formats.note`) states
how many leaves there are and their root; a proof (`log.proving`) leads from one leaf to a checkpoint.

The first use makes an Ed25519 key beside the store, and names the log; one entry of the log records both. Each later
key is another entry, with a note that the key before it signed:

    key entry  = {"key": <verifier key>, "note": "nexus-control/key/v1\\n<origin>\\n<verifier key>\\n" signed}

The head and the last checkpoint lie beside the store. Nothing is signed unless the log continues both: so an older copy
of the database, or another history, is noticed. Once the store's owner has accepted the loss of a checkpoint
(`log.head`), the next one replaces it. Somebody who owns both the store and the key can still rewrite what was appended
since the last checkpoint that left this machine.

A log that did not grow is not signed again. What was decoded or verified last is kept by its content: the records of
keys by their entries, a checkpoint by its note and the keys that it was verified with, the private key by its PEM. The
entries and files themselves are read each time, so another process may rotate the key, or put back an older file.
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache

from nexus_control.canonical_json import parse_json_object
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.chain import leaf_hash
from nexus_control.evidence.formats.keys import PrivateKey, generate, private_from_pem
from nexus_control.evidence.formats.merkle import (
    Read,
    consistency_path,
    reader,
    tree_root,
    whole_tree,
)
from nexus_control.evidence.formats.note import (
    Checkpoint,
    Verifier,
    open_note,
    parse_checkpoint,
    parse_verifier,
    sign_note,
)
from nexus_control.log import head
from nexus_control.log.entries import leaf_data_of_each
from nexus_control.log.ledger import Ledger
from nexus_control.log.session import ReadSession, WriteSession
from nexus_control.storage.contract import Entry
from nexus_control.storage.sidecar import Sidecar
from nexus_control.values.records import decode, encode

KEY, NEXT_KEY, LAST = "key", "key.next", "checkpoint"
"""The names of the contents beside the store."""

_KEY_TEXT = "nexus-control/key/v1"
_KEPT = 16
"""So many records of keys, and so many verified checkpoints, are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A signed checkpoint, and the log's current key."""

    checkpoint: Checkpoint
    note: str
    verifier: Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key of the log, and when it was recorded. The key before it signed `note`. The first key, and one that replaces
    a lost key, signed their own note.
    """

    verifier: Verifier
    since: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeyDetails:
    """The payload of the entry that names a key."""

    key: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """A log of `size` leaves continues an earlier checkpoint; the path proves it to others (RFC 9162, 2.1.4)."""

    earlier: Checkpoint
    size: int
    root: bytes
    path: tuple[bytes, ...]


@contextmanager
def continuing(ledger: Ledger) -> Generator[WriteSession]:
    """The store's writer, for signing with the log's key and for naming one. Raises STORE_ROLLED_BACK: an older copy of
    the store may do neither.
    """
    known = head.look_at(ledger)  # before the transaction: waiting here holds up no other writer
    with ledger.writing() as session:
        head.require_continued(session, ledger.sidecar, known)
        yield session


def origin_of(session: WriteSession, sidecar: Sidecar) -> str:
    """The name of the store's log; it gets one when it has none. Raises KEY_UNUSABLE."""
    return _current(session, sidecar)[0].name


def origin_in(session: ReadSession) -> str | None:
    """The name of the log, if it has one."""
    records = _records(session)
    return records[0].verifier.name if records else None


def publish(ledger: Ledger) -> Published:
    """Sign the log as it is now, and keep the checkpoint beside the store. Raises LOG_INCONSISTENT, KEY_UNUSABLE."""
    seen = look_beside(ledger)
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
        known = _verifiers(session) if trusted is None else (trusted,)
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


def keys_of(ledger: Ledger) -> list[KeyRecord]:
    """All keys that the log ever had, oldest first: the current one is the last."""
    with ledger.reading() as session:
        return _records(session)


@lru_cache(_KEPT)
def key_record_of(entry: Entry) -> KeyRecord:
    """The key that an entry names. Raises JSON_INVALID, REPLAY_INVALID or INVALID_ARGUMENT for an entry that names
    none.
    """
    content = parse_json_object(entry.payload)
    details = decode(_KeyDetails, content, where="key", code=ErrorCode.REPLAY_INVALID)
    return KeyRecord(verifier=parse_verifier(details.key), since=entry.ts, note=details.note)


def rotate(ledger: Ledger) -> KeyRecord:
    """Replace the log's key by a new one. The old key signs a note that says to trust the new one, and is then deleted.

    The new key lies beside the old one until the log names it, so a crash never loses the key that the log names.
    """
    sidecar = ledger.sidecar
    with continuing(ledger) as session:
        verifier, old = _current(session, sidecar)
        new = key_in(sidecar, NEXT_KEY) or _keep_new_key(sidecar, NEXT_KEY)
        _append_key(session, verifier.name, new, signed_by=old)
        record = _records(session)[-1]
    settle_key(ledger)
    return record


def give_key(ledger: Ledger) -> KeyRecord:
    """Give the log a key where it has none, or has lost it. Raises KEY_UNUSABLE while its key is there.

    The lost key signed no note for the new one, so verifiers who trusted it must decide again. A key file that is
    there, and that the log does not name, becomes the key.
    """
    sidecar = ledger.sidecar
    with continuing(ledger) as session:
        records, key = _records(session), key_in(sidecar, KEY)
        if records and key is not None and key.public == records[-1].verifier.key:
            place = sidecar.place(KEY)
            raise _unusable(f"{place} is the log's key: rotate it instead", path=place)
        _make_key(session, sidecar)
        return _records(session)[-1]


def leaf_lines(ledger: Ledger) -> bytes:
    """The bytes of every leaf before hashing, one line each, by position: anybody can compute the root from them."""
    with ledger.reading() as session:
        return b"".join(data + b"\n" for data in leaf_data_of_each(session.rows.log()))


def settle_key(ledger: Ledger) -> None:
    """Make sure that a committed entry names the log's key, and that the key is in its place. Raises KEY_UNUSABLE."""
    with continuing(ledger) as session:
        _current(session, ledger.sidecar)


@contextmanager
def publishing(ledger: Ledger) -> Generator[tuple[ReadSession, Published]]:
    """Like `publish`, with a session that sees the log as it was signed.

    It is that of the store's writer, so that no other process puts an older checkpoint in the place of this one. It
    writes nothing: a key is settled in a transaction of its own, because a checkpoint must not cover an entry that
    could still be rolled back.
    """
    with continuing(ledger) as session:
        if (found := _settled(session, ledger.sidecar)) is not None:
            yield session, _publish(session, ledger.sidecar, *found)
            return
    settle_key(ledger)
    with continuing(ledger) as session:
        if (found := _settled(session, ledger.sidecar)) is None:
            place = ledger.sidecar.place(KEY)
            raise _unusable(f"{place} was changed at this moment: try again", path=place)
        yield session, _publish(session, ledger.sidecar, *found)


def _publish(session: WriteSession, sidecar: Sidecar, verifier: Verifier, key: PrivateKey) -> Published:
    last = last_in(session, sidecar, sidecar.read(LAST))
    size = session.rows.log_size()
    root = tree_root(size, session.rows.subtree)
    checkpoint = Checkpoint(origin=verifier.name, size=size, root=root)
    note = sign_note(checkpoint.to_text(), verifier.name, key)
    if last is None or last.checkpoint != checkpoint:
        sidecar.replace(LAST, note.encode())
    return Published(checkpoint=checkpoint, note=note, verifier=verifier)


@dataclass(frozen=True, slots=True)
class Beside:
    """The contents of head and checkpoint, read before the transaction that holds the log against them: so the log
    cannot be older than they are only because another process wrote to both meanwhile.
    """

    head: bytes
    checkpoint: bytes | None


def look_beside(ledger: Ledger) -> Beside:
    """What lies beside the store. What cannot be read counts as not there: `publishing` will say so."""
    content = None
    with suppress(NexusControlError):
        content = ledger.sidecar.read(LAST)
    return Beside(head.look_at(ledger), content)


def signed_already(session: ReadSession, sidecar: Sidecar, seen: Beside) -> Published | None:
    """The checkpoint beside the store, if it is of the whole log and signed with the key that signs now: it need not be
    signed again. Where anything is to be refused, it is None, and `publishing` refuses it.
    """
    content = seen.checkpoint
    if content is None or not _says(content, session.rows.log_size()):
        return None
    try:
        head.require_continued(session, sidecar, seen.head)
        found, last = _settled(session, sidecar), last_in(session, sidecar, content)
    except NexusControlError:
        return None
    if found is None or last is None or found[0] not in _opened(last.note, _verifiers(session))[1]:
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
    if content is None:
        return None
    try:
        return _continued(session, sidecar, content)
    except NexusControlError:
        accepted = [loss.checkpoint.encode() for loss in head.losses(session) if loss.checkpoint is not None]
        if content in accepted:
            return None
        raise


def _continued(session: ReadSession, sidecar: Sidecar, content: bytes) -> Published:
    verifiers = _verifiers(session)
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


@lru_cache(_KEPT)
def _opened(note: str, known: tuple[Verifier, ...]) -> tuple[Checkpoint, tuple[Verifier, ...]]:
    """The checkpoint in this note, and whose signatures it has. Raises SIGNATURE_INVALID, INTEGRITY_MISMATCH."""
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


def _settled(session: ReadSession, sidecar: Sidecar) -> tuple[Verifier, PrivateKey] | None:
    """The key that the log names, if it is in its place. Raises KEY_UNUSABLE where what is there cannot be read."""
    records, key = _records(session), key_in(sidecar, KEY)
    if not records or key is None or key.public != records[-1].verifier.key:
        return None
    return records[-1].verifier, key


def _current(session: WriteSession, sidecar: Sidecar) -> tuple[Verifier, PrivateKey]:
    """The log's current key, made now if the log has none yet."""
    records = _records(session)
    if not records:
        return _make_key(session, sidecar)
    verifier = records[-1].verifier
    for name in (KEY, NEXT_KEY):
        key = key_in(sidecar, name)
        if key is not None and key.public == verifier.key:
            if name == NEXT_KEY:  # a rotation that was interrupted after the log had named the new key
                sidecar.rename(NEXT_KEY, KEY)
            return verifier, key
    raise not_the_key(sidecar, verifier)


def not_the_key(sidecar: Sidecar, verifier: Verifier) -> NexusControlError:
    place, named = sidecar.place(KEY), str(verifier)
    problem = f"{place} is not the key that the log names ({named}): put that back"
    return _unusable(problem, path=place, verifier=named)


def _make_key(session: WriteSession, sidecar: Sidecar) -> tuple[Verifier, PrivateKey]:
    key = key_in(sidecar, KEY) or _keep_new_key(sidecar, KEY)
    records = _records(session)
    name = records[0].verifier.name if records else _new_origin(session)
    _append_key(session, name, key, signed_by=key)
    return Verifier(name=name, key=key.public), key


def key_in(sidecar: Sidecar, name: str) -> PrivateKey | None:
    """The private key beside the store; None for an empty file, which a kill of an earlier version could leave. Raises
    KEY_UNUSABLE, and names the file.
    """
    place = sidecar.place(name)
    try:
        pem = sidecar.read_secret(name)
    except NexusControlError as error:
        raise _unusable(error.message, **error.details) from error.__cause__
    if not pem:
        return None
    try:
        return _private(pem)
    except NexusControlError as error:
        raise _unusable(f"{place} holds no key of a log: {error.message}", path=place) from None


@lru_cache(1)  # no longer than until another key is read: a key that was replaced is forgotten
def _private(pem: bytes) -> PrivateKey:
    return private_from_pem(pem)


def _keep_new_key(sidecar: Sidecar, name: str) -> PrivateKey:
    key = generate()
    if sidecar.read_secret(name) is None:
        sidecar.create_secret(name, key.to_pem())
    else:  # empty
        sidecar.replace(name, key.to_pem(), secret=True)
    return key


def _new_origin(session: WriteSession) -> str:
    return "nexus-control.local/" + session.clock.new_id().replace("-", "")[-16:]


def _append_key(session: WriteSession, name: str, key: PrivateKey, *, signed_by: PrivateKey) -> None:
    verifier = Verifier(name=name, key=key.public)
    note = sign_note(f"{_KEY_TEXT}\n{name}\n{verifier}\n", name, signed_by)
    session.append_key(name, encode(_KeyDetails(key=str(verifier), note=note)))


def _records(session: ReadSession) -> list[KeyRecord]:
    first = session.rows.first_entries("key")
    entries = session.rows.entries("key", first[0].stream, 0) if first else []
    return [key_record_of(entry) for entry in entries]


def _verifiers(session: ReadSession) -> tuple[Verifier, ...]:
    return tuple(record.verifier for record in _records(session))


def _inconsistent(problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.LOG_INCONSISTENT, problem)


def _unusable(problem: str, **details: object) -> NexusControlError:
    return NexusControlError(ErrorCode.KEY_UNUSABLE, problem, details)
