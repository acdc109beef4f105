"""From bundle to store. A refused import changes nothing. An accepted one supersedes the old history, and never deletes
it.

The checks of the bundle come first (`import_checks`), then the conflict with a decision that is here; then one atomic
write. `verify_digest=False` leaves out digests and header. `replay_after_import=False` leaves out that all events
belong to the decision. Either leaves out that each event and its time is possible. Both are for forensics: a decision
imported this way is never executed here.

Only the store's owner can replace a decision that is here: with `overwrite`, in Python or on the command line. The
bundle must extend the stored history, unless a rollback is allowed; even then the store remembers that the replaced
history had a run. A bundle of exactly the stored history changes nothing. An agent over MCP does not act for the owner:
it can only import decisions that are not here, with every check.

An imported approval is evidence, not authority, even when the owner imports it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

from typing_extensions import TypedDict

from nexus_control.bundle import DecisionBundle
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.import_checks import checked_bundle, parse_bundle
from nexus_control.log import head
from nexus_control.log.importing import ForeignHistory, import_history
from nexus_control.log.projection import ConflictMode, ImportRecord, Projection
from nexus_control.log.session import WriteSession
from nexus_control.store import DecisionStore
from nexus_control.values.actors import Actor, ActorData, require_new_actor
from nexus_control.values.instants import format_instant
from nexus_control.values.lookalikes import skeleton
from nexus_control.values.payloads import StateName
from nexus_control.values.results import fault_of


class ImportedLine(TypedDict):
    """The import in numbers and names: how many events, as which decision, from which one."""

    decision_id: str
    source_decision_id: str
    events_imported: int
    generation: int
    forensic: bool
    imported_by: ActorData | None


class ReplayLine(TypedDict):
    state: StateName


class ImportData(TypedDict):
    """The data of an import. `replay` is None where the replay was left out."""

    ok: bool
    imported: ImportedLine
    unchanged: bool
    digest_verified: bool
    conflict_mode: ConflictMode
    replay_ran: bool
    replay: ReplayLine | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """The import's data; or, when `success` is false, `error_code`, `error_message` and `details`. `data` equals that
    of the tool `import_bundle`.
    """

    success: bool
    data: ImportData | None
    error_code: str | None = None
    error_message: str | None = None
    details: dict[str, Any] | None = None

    @property
    def digest_verified(self) -> bool:
        """Whether the digests and the header were checked."""
        return self.data is not None and self.data["digest_verified"]

    @property
    def new_decision_id(self) -> str | None:
        """The id under which a copy was stored (`conflict_mode="new_decision_id"`), else None."""
        if self.data is None or self.data["conflict_mode"] != "new_decision_id":
            return None
        return self.data["imported"]["decision_id"]

    @property
    def replay(self) -> ReplayLine | None:
        """`{"state": ...}` of the replayed history; None for a failure, or with `replay_after_import=False`."""
        return None if self.data is None else self.data["replay"]


def import_bundle(
    store: DecisionStore,
    bundle: DecisionBundle | Mapping[str, object] | str | bytes,
    *,
    verify_digest: bool = True,
    conflict_mode: str = "reject_on_conflict",
    replay_after_import: bool = True,
    allow_rollback: bool = False,
    actor: Actor | Mapping[str, object] | None = None,
) -> ImportResult:
    """Import one bundle, on behalf of `actor`.

        >>> result = import_bundle(store, bundle, conflict_mode="new_decision_id", actor=alice)
        >>> result.new_decision_id, result.digest_verified, result.replay
        ('...', True, {'state': 'completed'})

    The bundle is an object, a mapping or JSON text. `conflict_mode` is reject_on_conflict, new_decision_id or
    overwrite. Without `verify_digest` or `replay_after_import` checks are left out, and the decision is never executed
    here. Never raises: `error_code` is CONFLICT_MODE_INVALID, BUNDLE_INVALID_SCHEMA, INTEGRITY_MISMATCH,
    REPLAY_INVALID, DECISION_EXISTS, ROLLBACK_REFUSED, INVALID_STATE or INVALID_ARGUMENT, and then nothing was changed.
    """
    outcome = fault_of(
        lambda: import_checked(
            store,
            bundle,
            verify_digest=verify_digest,
            conflict_mode=conflict_mode,
            replay_after_import=replay_after_import,
            allow_rollback=allow_rollback,
            actor=None if actor is None else require_new_actor(Actor.of(actor)),
        )
    )
    if isinstance(outcome, NexusControlError):
        return ImportResult(
            success=False,
            data=None,
            error_code=outcome.code,
            error_message=outcome.message,
            details=outcome.details,
        )
    return ImportResult(success=True, data=outcome)


def import_checked(
    store: DecisionStore,
    bundle: DecisionBundle | Mapping[str, object] | str | bytes,
    *,
    verify_digest: bool,
    conflict_mode: str,
    replay_after_import: bool,
    allow_rollback: bool,
    actor: Actor | None = None,
    for_owner: bool = True,
) -> ImportData:
    """Like `import_bundle`. Raises CONFLICT_MODE_INVALID, BUNDLE_INVALID_SCHEMA, INTEGRITY_MISMATCH, REPLAY_INVALID,
    DECISION_EXISTS, ROLLBACK_REFUSED, or INVALID_STATE while the decision is being executed here; IMPORT_NEEDS_OWNER
    for options that only the owner may use, unless `for_owner`.
    """
    if conflict_mode not in get_args(ConflictMode):
        raise NexusControlError(
            ErrorCode.CONFLICT_MODE_INVALID,
            f"conflict_mode must be one of {', '.join(get_args(ConflictMode))}",
        )
    if not for_owner:
        _require_harmless(conflict_mode, verify_digest, replay_after_import, allow_rollback)
    mode = cast("ConflictMode", conflict_mode)
    forensic = not (verify_digest and replay_after_import)
    parsed = parse_bundle(bundle)
    checked = checked_bundle(parsed, store.clock.now(), verify_digest, replay_after_import)
    with head.remembering(store), store.writing() as session:
        record = ImportRecord(
            bundle_digest=parsed.integrity.canonical_digest,
            imported_at=format_instant(session.now),
            conflict_mode=mode,
            forensic=forensic,
            imported_by=actor,
            final_rehearsal=checked.final_rehearsal,
        )
        stored, unchanged = _store(session, checked.history, record, allow_rollback, for_owner)
    return {
        "ok": True,
        "imported": {
            "decision_id": stored.decision_id,
            "events_imported": 0 if unchanged else len(checked.history.events),
            "source_decision_id": parsed.decision.decision_id,
            "generation": stored.generation,
            "forensic": forensic,
            "imported_by": actor.to_dict() if actor else None,
        },
        "unchanged": unchanged,
        "digest_verified": verify_digest,
        "conflict_mode": mode,
        "replay_ran": replay_after_import,
        "replay": {"state": checked.decision.state.value} if replay_after_import else None,
    }


def _require_harmless(
    conflict_mode: str, verify_digest: bool, replay_after_import: bool, allow_rollback: bool
) -> None:
    refused = {
        "conflict_mode": conflict_mode == "overwrite",
        "allow_rollback": allow_rollback,
        "verify_digest": not verify_digest,
        "replay_after_import": not replay_after_import,
    }
    for field in (name for name, asked in refused.items() if asked):
        raise _needs_owner(
            field, "changes what is stored, or leaves checks out: only the store's owner can ask that"
        )


def _needs_owner(field: str, problem: str) -> NexusControlError:
    details = {"fields": [{"field": field, "problem": problem}]}
    return NexusControlError(ErrorCode.IMPORT_NEEDS_OWNER, f"{field} {problem}", details)


def _store(
    session: WriteSession,
    history: ForeignHistory,
    record: ImportRecord,
    allow_rollback: bool,
    for_owner: bool,
) -> tuple[Projection, bool]:
    """The stored decision, and whether exactly this history was stored before."""
    source_id = history.facts.decision_id
    existing = session.find_decision(source_id)
    if record.conflict_mode == "new_decision_id":
        if existing is not None and not for_owner:
            raise _needs_owner(
                "conflict_mode",
                "new_decision_id of a decision that is here can only be asked by the store's owner",
            )
        copy_id = session.clock.new_id()
        return import_history(session, copy_id, history, replace(record, copied_from=source_id)), False
    if existing is None:
        _require_no_lookalike(session, source_id)
        if not for_owner:
            _require_no_prefix(session, source_id)
        return import_history(session, source_id, history, record), False
    if record.conflict_mode == "reject_on_conflict":
        raise NexusControlError(
            ErrorCode.DECISION_EXISTS, f"Decision {source_id} exists already", {"decision_id": source_id}
        )
    extends = _extends(session, existing, history)
    if extends and _is_stored(existing, history, record):
        return existing, True
    return _supersede(session, existing, history, record, extends, allow_rollback), False


def _require_no_prefix(session: WriteSession, decision_id: str) -> None:
    """Raises DECISION_EXISTS where this id begins the id of a stored decision, or a stored one begins it. People name a
    decision by the beginning of its id, and could no longer name the other one.
    """
    begun = session.rows.decision_ids(decision_id, 1)
    longer = bool(begun) and begun[0].startswith(decision_id)
    shorter = (decision_id[:length] for length in range(1, len(decision_id)))
    if longer or any(session.rows.decision_row(each) is not None for each in shorter):
        raise NexusControlError(
            ErrorCode.DECISION_EXISTS,
            f"The id {decision_id!r:.80} begins, or is begun by, that of a decision that is here",
            {"decision_id": decision_id[:80]},
        )


def _supersede(
    session: WriteSession,
    existing: Projection,
    history: ForeignHistory,
    record: ImportRecord,
    extends: bool,
    allow_rollback: bool,
) -> Projection:
    claim = session.rows.claim(existing.decision_id)
    if claim is not None and not claim.recovered:
        raise NexusControlError(
            ErrorCode.INVALID_STATE, "Cannot overwrite decision in state executing", {"state": "executing"}
        )
    if not extends and not allow_rollback:
        raise NexusControlError(
            ErrorCode.ROLLBACK_REFUSED,
            f"The stored history has {existing.facts.event_count} events that this bundle does not extend",
            {"stored_events": existing.facts.event_count, "bundle_events": len(history.events)},
        )
    earlier = existing.provenance
    ran_before = existing.facts.linked_execution is not None or (earlier is not None and earlier.ran_before)
    return import_history(
        session,
        existing.decision_id,
        history,
        replace(
            record,
            replaced_generation=existing.generation,
            ran_before=ran_before,
            rolled_back=not extends or (earlier is not None and earlier.rolled_back),
            copied_from=earlier.copied_from if earlier else None,
        ),
    )


def _require_no_lookalike(session: WriteSession, decision_id: str) -> None:
    """The ids that this store makes are lower-case Latin. Refuse an id that looks like one of them."""
    plain = skeleton(decision_id)
    if plain != decision_id and session.find_decision(plain) is not None:
        raise NexusControlError(
            ErrorCode.DECISION_EXISTS,
            f"The id {decision_id!a} looks like that of decision {plain}, which exists already",
            {"decision_id": plain},
        )


def _is_stored(existing: Projection, history: ForeignHistory, record: ImportRecord) -> bool:
    """Whether this history, which extends the stored one, is that very one. False for one that was imported unchecked:
    it may be imported again with checks.
    """
    earlier = existing.provenance
    unchecked = earlier is not None and earlier.forensic and not record.forensic
    return not unchecked and len(history.events) == existing.facts.event_count


def _extends(session: WriteSession, existing: Projection, history: ForeignHistory) -> bool:
    """Whether the new history begins with the whole stored one: the same events, actors and times."""
    stored = session.rows.entries("decision", existing.decision_id, existing.generation)
    return len(history.events) >= len(stored) and all(
        (old.seq, old.event_type, old.ts, old.actor_type, old.actor_id, old.payload, old.digest)
        == (new.seq, new.type, new.ts, new.actor.type, new.actor.id, payload, new.digest)
        for old, new, payload in zip(stored, history.events, history.payloads, strict=False)
    )
