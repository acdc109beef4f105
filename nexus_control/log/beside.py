"""Looks at what lies beside a store: its head, the key of its log, and its last checkpoint.

Each look passes, fails, or is skipped. A look is skipped where there is nothing to compare the log with; its reason
then says what that means. A file that is there and cannot be read is a failure, but says nothing about the log.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import EventType
from nexus_control.evidence.formats.note import open_note, parse_checkpoint
from nexus_control.log import checkpoints, head, log_keys
from nexus_control.log.ledger import Ledger
from nexus_control.storage.contract import Entry
from nexus_control.storage.moved import migrated

LookStatus: TypeAlias = Literal["pass", "fail", "skipped"]

_REMEMBERED = {
    EventType.EXECUTION_REQUESTED,
    EventType.APPROVAL_DENIED,
    EventType.APPROVAL_REVOKED,
    EventType.DECISION_WITHDRAWN,
}
"""The head is brought forward after these events."""

_UNNOTICED = "it would not notice an older copy of the database"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The result of one look. `code` names a failure; `reason` says why the look failed or was skipped."""

    status: LookStatus
    reason: str = ""
    code: str = ""


_PASSED = Look(status="pass")


def look_beside(ledger: Ledger) -> dict[str, Look]:
    """The contents that the log is compared with: its `head` and its `checkpoint`."""
    return {"head": look_at_head(ledger), "checkpoint": look_at_checkpoint(ledger)}


def look_at_head(ledger: Ledger) -> Look:
    """Does the log continue what was executed, denied or taken back?"""
    with ledger.reading() as session:
        moved = session.rows.moved()
    if moved is not None:
        return _failed("STORE_MIGRATED", migrated(moved).message)
    if ledger.sidecar.absent is not None:
        return _skipped(f"{ledger.sidecar.absent}: {_UNNOTICED}")
    try:
        content = head.slot_of(ledger.sidecar).read()
    except NexusControlError as fault:
        reason = f"{fault.message}; nothing is executed until it can be. Make it readable, or move it away"
        return _failed("HEAD_UNREADABLE", reason)
    try:
        with ledger.reading() as session:
            head.require_continued(session, ledger.sidecar, content)
    except NexusControlError as fault:
        if fault.code not in (ErrorCode.STORE_ROLLED_BACK, ErrorCode.STORE_MIGRATED):
            raise
        code = "STORE_RESTORED" if fault.details.get("restored") else fault.code.value
        return _failed(code, fault.message)
    unknown = unknown_to_head(ledger, content)
    return _PASSED if unknown is None else _skipped(unknown)


def unknown_to_head(ledger: Ledger, content: bytes | None = None) -> str | None:
    """Why the head beside this store might not notice an older copy of it; None where it would. `content` is that of
    the head's slot.
    """
    place = head.place_of(ledger.sidecar)
    found = head.look_at(ledger) if content is None else content
    known = head.parse_head(found)
    with ledger.reading() as session:
        start = 0 if known is None else known.size
        later = [placed for placed in session.rows.log(start) if _is_remembered(placed.entry)]
    if known is not None and not later:
        return None
    if known is not None:
        return (
            f"{place} does not know of entry {later[-1].position}: it could not be written, and {_UNNOTICED}"
        )
    problem = "is no head" if found else "is not there"
    if found or not later:
        return (
            f"{place} {problem}: it is written when something is executed, denied, revoked, withdrawn or imported;"
            f" until then {_UNNOTICED}"
        )
    return (
        f"{place} {problem}, though it is written with entries such as {later[-1].position}: it was lost or taken away,"
        f" and {_UNNOTICED}"
    )


def look_at_key(ledger: Ledger) -> Look:
    """Is the key that the log names there, to sign with?"""
    sidecar = ledger.sidecar
    if sidecar.absent is not None:
        return _skipped(f"{sidecar.absent}: nothing is signed here")
    place = sidecar.place(log_keys.KEY)
    try:
        names = (log_keys.KEY, log_keys.NEXT_KEY)
        found = [key for key in (log_keys.key_in(sidecar, name) for name in names) if key is not None]
    except NexusControlError as fault:
        if isinstance(fault.__cause__, PermissionError):
            return _skipped(
                f"{fault.message}: only a user who may read it can tell whether it is the log's key"
            )
        if fault.details.get("read_by_others"):
            return _failed("KEY_EXPOSED", f"{fault.details['path']} may be read by others than its owner")
        return _failed("KEY_UNUSABLE", f"{fault.message}; nothing is signed with it")
    records = log_keys.keys_of(ledger)
    if not records:
        if found and not _log_size(ledger):
            detail = (
                f"the log is empty, and {place} says that it was not: the database was replaced or emptied"
            )
            return _failed("STORE_EMPTIED", detail)
        return _skipped("the log has no key yet: the first checkpoint, package or statement makes one")
    if not found:
        return _skipped(f"{place} is not there: nothing is signed here until it is put back")
    if any(key.public == records[-1].verifier.key for key in found):
        return _PASSED
    return _failed("KEY_UNUSABLE", log_keys.not_the_key(sidecar, records[-1].verifier).message)


def look_at_checkpoint(ledger: Ledger) -> Look:
    """Does the log continue the last checkpoint that was signed?"""
    if ledger.sidecar.absent is not None:
        return _skipped(f"{ledger.sidecar.absent}: nothing is known here of what the log was")
    place = ledger.sidecar.place(checkpoints.LAST)
    try:
        content = ledger.sidecar.read(checkpoints.LAST)
    except NexusControlError as fault:
        return _failed("CHECKPOINT_UNREADABLE", f"{fault.message}. It says nothing about the log")
    if content is None:
        return _skipped(_without_checkpoint(ledger, place))
    if not _spells_a_checkpoint(content):
        detail = f"{place} cannot be read: it is not a signed checkpoint, and says nothing about the log"
        return _failed("CHECKPOINT_UNREADABLE", detail)
    try:
        checkpoints.last_published(ledger)
    except NexusControlError as fault:
        if fault.code != ErrorCode.LOG_INCONSISTENT:
            raise
        return _failed("CHECKPOINT_DIFFERS", fault.message)
    return _PASSED


def _without_checkpoint(ledger: Ledger, place: str) -> str:
    if not log_keys.keys_of(ledger):
        return "no checkpoint was signed yet: nothing is known of what the log was"
    return (
        f"{place} is not there, and nothing is known of what the log was. A statement makes the log's key, and no"
        " checkpoint. Where a checkpoint was signed, or a package exported, it was lost or taken away: hold the log"
        " against one that was kept elsewhere"
    )


def _spells_a_checkpoint(content: bytes) -> bool:
    try:
        parse_checkpoint(open_note(content.decode(), []).text)
    except (NexusControlError, UnicodeDecodeError):
        return False
    return True


def _log_size(ledger: Ledger) -> int:
    with ledger.reading() as session:
        return session.rows.log_size()


def _is_remembered(entry: Entry) -> bool:
    return entry.kind == "import" or (
        entry.kind == "decision" and entry.origin == "local" and entry.event_type in _REMEMBERED
    )


def _failed(code: str, reason: str) -> Look:
    return Look(status="fail", reason=reason, code=code)


def _skipped(reason: str) -> Look:
    return Look(status="skipped", reason=reason)
