"""The keys of a store's log, and which one signs now.

The first use makes an Ed25519 key beside the store, and names the log; one entry of the log records both. Each later
key is another entry, with a note that the key before it signed:

    key entry  = {"key": <verifier key>, "note": "nexus-control/key/v1\\n<origin>\\n<verifier key>\\n" signed}

What was decoded last is kept by its content: the records of keys by their entries, the private key by its PEM. The
entries and the file are read each time, so another process may rotate the key, and an older key may be put back.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from nexus_control.canonical_json import parse_json_object
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.keys import PrivateKey, generate, private_from_pem
from nexus_control.evidence.formats.note import Verifier, parse_verifier, sign_note
from nexus_control.log import head
from nexus_control.log.ledger import Ledger
from nexus_control.log.session import ReadSession, WriteSession
from nexus_control.storage.contract import Entry
from nexus_control.storage.log_folder import NAME_ONE
from nexus_control.storage.sidecar import Sidecar
from nexus_control.values.records import decode, encode

KEY, NEXT_KEY = "key", "key.next"
"""The names of the contents beside the store."""

_KEY_TEXT = "nexus-control/key/v1"
_KEPT = 64
"""So many records of keys are kept."""


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
    records = records_in(session)
    return records[0].verifier.name if records else None


def keys_of(ledger: Ledger) -> list[KeyRecord]:
    """All keys that the log ever had, oldest first: the current one is the last."""
    with ledger.reading() as session:
        return records_in(session)


def records_in(session: ReadSession) -> list[KeyRecord]:
    first = session.rows.first_entries("key")
    entries = session.rows.entries("key", first[0].stream, 0) if first else []
    return [key_record_of(entry) for entry in entries]


def verifiers_in(session: ReadSession) -> tuple[Verifier, ...]:
    return tuple(record.verifier for record in records_in(session))


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
        record = records_in(session)[-1]
    settle_key(ledger)
    return record


def give_key(ledger: Ledger) -> KeyRecord:
    """Give the log a key where it has none, or has lost it. Raises KEY_UNUSABLE while its key is there.

    The lost key signed no note for the new one, so verifiers who trusted it must decide again. A key file that is
    there, and that the log does not name, becomes the key.
    """
    sidecar = ledger.sidecar
    with continuing(ledger) as session:
        records, key = records_in(session), key_in(sidecar, KEY)
        if records and key is not None and key.public == records[-1].verifier.key:
            place = sidecar.place(KEY)
            raise unusable(f"{place} is the log's key: rotate it instead", path=place)
        _make_key(session, sidecar)
        return records_in(session)[-1]


def settle_key(ledger: Ledger) -> None:
    """Make sure that a committed entry names the log's key, and that the key is in its place. Raises KEY_UNUSABLE."""
    with continuing(ledger) as session:
        _current(session, ledger.sidecar)


def settled_key(session: ReadSession, sidecar: Sidecar) -> tuple[tuple[Verifier, ...], PrivateKey] | None:
    """All keys that the log names, and the last of them with its private half, if that is in its place. Raises
    KEY_UNUSABLE where what is there cannot be read.
    """
    verifiers, key = verifiers_in(session), key_in(sidecar, KEY)
    if not verifiers or key is None or key.public != verifiers[-1].key:
        return None
    return verifiers, key


def _current(session: WriteSession, sidecar: Sidecar) -> tuple[Verifier, PrivateKey]:
    """The log's current key, made now if the log has none yet."""
    records = records_in(session)
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
    verifiers = verifiers_in(session)
    keys = [key_in(sidecar, name) for name in (KEY, NEXT_KEY)] if verifiers else []
    if verifiers and not any(key is not None and key.public == verifiers[-1].key for key in keys):
        raise not_the_key(sidecar, verifiers[-1])


def not_the_key(sidecar: Sidecar, verifier: Verifier) -> NexusControlError:
    place, named = sidecar.place(KEY), str(verifier)
    is_there = any(sidecar.read_secret(name) for name in (KEY, NEXT_KEY))
    problem = (
        f"{place} is not the key that the log names ({named}): put that back"
        if is_there
        else f"{place} is not there: put back the key that the log names ({named})"
    )
    return unusable(problem, path=place, verifier=named)


def unusable(problem: str, **details: object) -> NexusControlError:
    return NexusControlError(ErrorCode.KEY_UNUSABLE, problem, details)


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
        raise unusable(error.message, **error.details) from error.__cause__
    if not pem:
        return None
    try:
        return _private(pem)
    except NexusControlError as error:
        raise unusable(f"{place} holds no key of a log: {error.message}", path=place) from None


def without_place(why: str) -> NexusControlError:
    """KEY_UNUSABLE: there is no place for the log's key here."""
    return NexusControlError(
        ErrorCode.KEY_UNUSABLE, f"The log's key has no place here: {why}", {"without_place": True}, NAME_ONE
    )


def has_no_place(fault: NexusControlError) -> bool:
    """Whether the fault says that there is no place for the log's key here."""
    return fault.details.get("without_place") is True


@lru_cache(1)  # no longer than until another key is read: a key that was replaced is forgotten
def _private(pem: bytes) -> PrivateKey:
    return private_from_pem(pem)


def _make_key(session: WriteSession, sidecar: Sidecar) -> tuple[Verifier, PrivateKey]:
    key = key_in(sidecar, KEY) or _keep_new_key(sidecar, KEY)
    records = records_in(session)
    name = records[0].verifier.name if records else _new_origin(session)
    _append_key(session, name, key, signed_by=key)
    return Verifier(name=name, key=key.public), key


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
