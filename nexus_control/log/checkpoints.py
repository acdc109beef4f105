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
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

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
from nexus_control.storage.log_folder import NAME_ONE
from nexus_control.storage.sidecar import Sidecar
from nexus_control.values.records import decode, encode

KEY, NEXT_KEY, LAST = "key", "key.next", "checkpoint"
"""The names of the contents beside the store."""

_KEY_TEXT = "nexus-control/key/v1"


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
    settle_key(ledger)
    with continuing(ledger) as session:
        return publish_in(session, ledger.sidecar)


def require_continued(
    ledger: Ledger, note: str, trusted: Verifier | None = None, *, size: int | None = None
) -> Consistency:
    """Prove that the log continues the checkpoint in this signed note, which was saved elsewhere some time ago.

    The tree is computed again from the entries. `trusted` is the key that must have signed the note; None trusts the
    keys that the log itself names. The proof leads to the first `size` entries, or to all. Raises LOG_INCONSISTENT,
    SIGNATURE_INVALID, INTEGRITY_MISMATCH; INVALID_ARGUMENT for a size beyond the log, or below that of the checkpoint.
    """
    with ledger.reading() as session:
        known = [record.verifier for record in _records(session)] if trusted is None else [trusted]
        earlier = _signed_checkpoint(note, known)
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
    signed = _signed_checkpoint(note, [trusted])
    leaves = [bytes.fromhex(leaf_hash(line)) for line in lines.split(b"\n")[:-1]]
    _require_continues(signed, len(leaves), reader(whole_tree(leaves)))
    return signed


def last_published(ledger: Ledger) -> Checkpoint | None:
    """The checkpoint beside the store. Raises LOG_INCONSISTENT where the log does not continue it."""
    with ledger.reading() as session:
        last = last_in(session, ledger.sidecar)
    return None if last is None else last.checkpoint


def lost_checkpoint(session: ReadSession, sidecar: Sidecar) -> str | None:
    """The note beside the store, if the log does not continue it; else None. Raises LOG_INCONSISTENT where the file
    holds no note, STORE_UNAVAILABLE where it cannot be read.
    """
    try:
        last_in(session, sidecar)
        return None
    except NexusControlError as fault:
        content = sidecar.read(LAST) or b""
        if fault.code != ErrorCode.LOG_INCONSISTENT:
            raise
        with suppress(UnicodeDecodeError):
            return content.decode()
        raise _inconsistent(f"{sidecar.place(LAST)} is not a checkpoint: move it away") from None


def keys_of(ledger: Ledger) -> list[KeyRecord]:
    """All keys that the log ever had, oldest first: the current one is the last."""
    with ledger.reading() as session:
        return _records(session)


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
    """Make sure that a committed entry names the log's key, and that the key is in its place. Raises KEY_UNUSABLE.

    This takes a transaction of its own: a checkpoint must not cover an entry that could still be rolled back.
    """
    with continuing(ledger) as session:
        _current(session, ledger.sidecar)


def publish_in(session: WriteSession, sidecar: Sidecar) -> Published:
    """Like `publish`, in a transaction of `continuing` after `settle_key`."""
    verifier, key = _current(session, sidecar)
    last = last_in(session, sidecar)
    size = session.rows.log_size()
    root = tree_root(size, session.rows.subtree)
    checkpoint = Checkpoint(origin=verifier.name, size=size, root=root)
    note = sign_note(checkpoint.to_text(), verifier.name, key)
    if last is None or last.checkpoint != checkpoint:
        sidecar.replace(LAST, note.encode())
    return Published(checkpoint=checkpoint, note=note, verifier=verifier)


def last_in(session: ReadSession, sidecar: Sidecar) -> Published | None:
    """The checkpoint beside the store; None without one, and for one whose loss was accepted. Raises LOG_INCONSISTENT
    where the log does not continue it.
    """
    content = sidecar.read(LAST)
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
    verifiers = [record.verifier for record in _records(session)]
    try:
        note = content.decode()
        last = _signed_checkpoint(note, verifiers)
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


def _signed_checkpoint(note: str, known: list[Verifier]) -> Checkpoint:
    opened = open_note(note, known)
    checkpoint = parse_checkpoint(opened.text)
    if checkpoint.origin not in [signature.verifier.name for signature in opened.signatures]:
        raise NexusControlError(
            ErrorCode.SIGNATURE_INVALID,
            "No key that is trusted for this log signed the checkpoint",
            advice="Use a checkpoint of this store's log, or name the key that signed it.",
        )
    if not checkpoint.size:
        raise NexusControlError(ErrorCode.INTEGRITY_MISMATCH, "A checkpoint of no entries proves nothing")
    return checkpoint


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


def require_own_key(session: ReadSession, sidecar: Sidecar) -> None:
    """Raises KEY_UNUSABLE where the key that the log names is not there: only the log's owner has it."""
    records = _records(session)
    keys = [key_in(sidecar, name) for name in (KEY, NEXT_KEY)] if records else []
    if records and not any(key is not None and key.public == records[-1].verifier.key for key in keys):
        raise not_the_key(sidecar, records[-1].verifier)


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
    KEY_UNUSABLE, and names the file; also beside a store that has no place for a key.
    """
    if sidecar.absent is not None:
        raise without_place(sidecar.absent)
    place = sidecar.place(name)
    try:
        pem = sidecar.read_secret(name)
    except NexusControlError as error:
        raise _unusable(error.message, **error.details) from error.__cause__
    if not pem:
        return None
    try:
        return private_from_pem(pem)
    except NexusControlError as error:
        raise _unusable(f"{place} holds no key of a log: {error.message}", path=place) from None


def without_place(why: str) -> NexusControlError:
    """KEY_UNUSABLE: there is no place for the log's key here."""
    return NexusControlError(
        ErrorCode.KEY_UNUSABLE, f"The log's key has no place here: {why}", {"without_place": True}, NAME_ONE
    )


def has_no_place(fault: NexusControlError) -> bool:
    """Whether the fault says that there is no place for the log's key here."""
    return fault.details.get("without_place") is True


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


def _inconsistent(problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.LOG_INCONSISTENT, problem)


def _unusable(problem: str, **details: object) -> NexusControlError:
    return NexusControlError(ErrorCode.KEY_UNUSABLE, problem, details)
