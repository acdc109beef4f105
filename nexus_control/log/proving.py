"""Proofs that an event is in a store's log, also for users who may not sign it.

Who may read the log's private key signs the log as it is, and the proof leads to that checkpoint. Everybody else gets a
proof to the last checkpoint, which the owner of the key signed and which lies beside the store. Entries that came later
are not proved until the owner signs again, and none where nothing lies beside the store (PostgreSQL without a log
folder):

    find_proof(...)  ->  Proven      a proof to a checkpoint that covers the event
                     ->  Unproven    no such checkpoint is here; `why` says what is
"""

from dataclasses import dataclass

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.merkle import inclusion_path
from nexus_control.evidence.formats.note import Verifier
from nexus_control.evidence.formats.tlog_proof import LogProof
from nexus_control.log import checkpoints, log_keys
from nexus_control.log.ledger import Ledger
from nexus_control.log.session import ReadSession
from nexus_control.storage.faults import is_without_permission


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """The event's proof, and the key with which the log signs now."""

    proof: LogProof
    key: Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Unproven:
    """The event is in the log, and this user cannot prove it."""

    why: str


def prove(ledger: Ledger, decision_id: str, generation: int, seq: int) -> LogProof:
    """The proof that this event is in the log. Raises DECISION_NOT_FOUND, LOG_INCONSISTENT, and KEY_UNUSABLE where
    it cannot be made.
    """
    found = find_proof(ledger, decision_id, generation, seq)
    if isinstance(found, Unproven):
        raise NexusControlError(
            ErrorCode.KEY_UNUSABLE,
            f"The event cannot be proved here: {found.why}",
            advice="Let the owner of the log's key run `nexus-control log checkpoint`, then try again.",
        )
    return found.proof


def find_proof(ledger: Ledger, decision_id: str, generation: int, seq: int) -> Proven | Unproven:
    """Like `prove`. KEY_UNUSABLE is raised only where a key is there that is not the log's, or is open to others."""
    seen = checkpoints.look(ledger)
    with ledger.reading() as session:
        position = session.rows.position("decision", decision_id, generation, seq)
        if position is None:
            raise NexusControlError(
                ErrorCode.DECISION_NOT_FOUND,
                f"There is no event {seq} of decision {decision_id!r:.80}",
                {"decision_id": decision_id[:80]},
            )
        if (last := checkpoints.signed_already(session, ledger.sidecar, seen)) is not None:
            return _proven(session, position, last)
    try:
        with checkpoints.publishing(ledger) as (session, published):
            return _proven(session, position, published)
    except NexusControlError as fault:
        if not may_not_sign(fault):
            raise
        return _proof_to_the_last(ledger, position, fault.message)


def may_not_sign(fault: NexusControlError) -> bool:
    """Whether the fault says that this user may not read the key, or not write to the store, or that the key has no
    place here.
    """
    is_hidden = fault.code is ErrorCode.KEY_UNUSABLE and isinstance(fault.__cause__, PermissionError)
    return is_hidden or is_without_permission(fault) or log_keys.has_no_place(fault)


def _proven(session: ReadSession, position: int, published: checkpoints.Published) -> Proven:
    path = inclusion_path(position, published.checkpoint.size, session.rows.subtree)
    return Proven(
        proof=LogProof(index=position, path=tuple(path), note=published.note), key=published.verifier
    )


def _proof_to_the_last(ledger: Ledger, position: int, problem: str) -> Proven | Unproven:
    if ledger.sidecar.absent is not None:
        return Unproven(why=problem)
    try:
        content = ledger.sidecar.read(checkpoints.LAST)
        with ledger.reading() as session:
            last = checkpoints.last_in(session, ledger.sidecar, content)
            if last is not None and last.checkpoint.size > position:
                return _proven(session, position, last)
    except NexusControlError as fault:
        if not isinstance(fault.__cause__, PermissionError):
            raise
        return Unproven(why=f"{problem}; {fault.message}")
    if last is None:
        return Unproven(why=f"{problem}; no checkpoint of this log lies beside the store")
    covered = f"the last checkpoint covers {last.checkpoint.size} entries, and this is entry {position + 1}"
    return Unproven(why=f"{problem}; {covered}")
