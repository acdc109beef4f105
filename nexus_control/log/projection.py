"""Projections: how a decision's events become the row that `status` and `list_requests` read, and are read back.

A row keeps the facts that change (`Progress`, as JSON), and the columns that lists are filtered by. Each person's
latest approval has a row of its own. Goal, plan, policy and template never change after the policy was attached: they
are read from the opening events, not stored twice.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from nexus_control.approvals import FOREVER, NO_QUORUMS, Approval, Approvals, Authority, Quorums, Since, Tally
from nexus_control.bundle_parts import with_final_rehearsal
from nexus_control.canonical_json import canonical_json
from nexus_control.events import StoredEvent
from nexus_control.evidence.chain import GENESIS
from nexus_control.facts import (
    Ending,
    Execution,
    Facts,
    Phase,
    Progress,
    replay_facts,
)
from nexus_control.integrity import prefixed
from nexus_control.log.row_texts import ListedRehearsal, Listing, damaged_row, decoded, of_row, parsed
from nexus_control.storage.contract import NEVER, NO_END, ApprovalRow, DecisionRow
from nexus_control.values.actors import Actor
from nexus_control.values.executions import cover_of
from nexus_control.values.instants import format_instant, is_instant, parse_instant
from nexus_control.values.records import decode_each, encode

MAX_AHEAD = timedelta(minutes=5)
"""An imported event may be this far ahead of the store's clock."""

ConflictMode: TypeAlias = Literal["reject_on_conflict", "new_decision_id", "overwrite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRecord:
    """How an imported generation came into this store. `copied_from` is the original's id when the copy has a new one.

    `imported_by`: on whose behalf; None for an import that 2.0 made. `forensic`: some of the import's checks were
    switched off; such a decision is never executed here. `ran_before`: an earlier generation here has had its run; no
    later import makes the decision executable again. `rolled_back`: this history does not extend the one that it
    superseded, or an earlier import did not. `final_rehearsal`: the history ends with a dry run that 1.0 took for its
    execution; so the decision is final here too.
    """

    bundle_digest: str
    imported_at: str
    conflict_mode: ConflictMode
    copied_from: str | None = None
    replaced_generation: int | None = None
    forensic: bool = False
    ran_before: bool = False
    rolled_back: bool = False
    imported_by: Actor | None = None
    final_rehearsal: bool = False

    def facts_of(self, facts: Facts) -> Facts:
        """What the imported events mean here; `facts` is what they add up to."""
        return with_final_rehearsal(facts) if self.final_rehearsal else facts

    @property
    def is_evidence_only(self) -> bool:
        """Whether the decision is never executed here, however many people approve it."""
        return self.forensic or self.ran_before


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """An import's record of the imported events: how many there are, where their chain ends, and a digest over their
    content, whatever digests they came with.
    """

    events: int
    head: str
    contents: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Saved:
    """The JSON of a row's `progress`. The tally of the approvals that stand follows from their rows."""

    phase: Phase
    executions: tuple[Execution, ...] = ()
    ending: Ending | None = None
    quorums: Quorums = NO_QUORUMS
    listing: Listing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A decision's current generation: the facts that its events add up to, and what only the store knows.

    `head` is the chain hash of the last event. `policy_leaf` is that of the event that attached the policy; empty
    before it. The first `imported_count` events came from an import.
    """

    facts: Facts
    ordinal: int
    generation: int = 0
    head: str = GENESIS
    policy_leaf: str = ""
    imported_count: int = 0
    provenance: ImportRecord | None = None
    reserved_at: str = ""

    @property
    def decision_id(self) -> str:
        return self.facts.decision_id

    @property
    def basis(self) -> str | None:
        """The `basis`: one prefixed hash that commits to goal, plan, policy, adapter and requester."""
        return prefixed(self.policy_leaf) if self.policy_leaf else None

    @property
    def authority(self) -> Authority:
        """The approvals that were given here; None when all were."""
        return Since(self.imported_count) if self.imported_count else None

    def is_ahead_of(self, now: datetime) -> bool:
        """Whether an import brought events of the future, so that nothing can be decided until the clock has passed
        them.
        """
        return is_ahead_of(self.imported_count, self.facts.last_ts, now)


def is_ahead_of(imported_count: int, last_ts: str, now: datetime) -> bool:
    """Like `Projection.is_ahead_of`, from the row of a decision."""
    return bool(imported_count) and parse_instant(last_ts) > now + MAX_AHEAD


def to_row(decision: Projection, earlier: DecisionRow | None = None) -> DecisionRow:
    """The row of this decision. `earlier` is its row before the last events, if that is known: what the request and its
    policy say never changes after the policy was attached.
    """
    if earlier is not None and earlier.policy_seq >= 0:
        return _advanced(earlier, decision)
    facts, created = decision.facts, decision.facts.created
    tally, expires_at = facts.tally(decision.authority), _sortable(facts.expires() or FOREVER)
    return DecisionRow(
        decision_id=decision.decision_id,
        ordinal=decision.ordinal,
        generation=decision.generation,
        event_count=facts.event_count,
        created_at=created.created_at if created else decision.reserved_at,
        last_ts=facts.last_ts,
        head=decision.head,
        phase=facts.phase,
        approved_until=_approved_until(facts, decision.authority, expires_at),
        expires_at=expires_at,
        policy_seq=facts.policy_seq,
        goal=created.goal if created else "",
        requester=created.requester.key if created else "",
        labels=created.labels if created else (),
        imported_count=decision.imported_count,
        provenance=canonical_json(encode(decision.provenance)) if decision.provenance else "",
        progress=_progress_text(facts, tally, decision.authority),
        mode=created.requested_mode if created else "",
        adapter_id=(facts.attached.adapter_id if facts.attached else None) or "",
        request_key=_request_key(decision),
    )


def _advanced(earlier: DecisionRow, decision: Projection) -> DecisionRow:
    facts = decision.facts
    tally = facts.tally(decision.authority)
    return DecisionRow(
        earlier.decision_id,
        earlier.ordinal,
        earlier.generation,
        facts.event_count,
        earlier.created_at,
        facts.last_ts,
        decision.head,
        facts.phase,
        _approved_until(facts, decision.authority, earlier.expires_at),
        earlier.expires_at,
        earlier.policy_seq,
        earlier.goal,
        earlier.requester,
        earlier.labels,
        earlier.imported_count,
        earlier.provenance,
        _progress_text(facts, tally, decision.authority),
        earlier.mode,
        earlier.adapter_id,
        earlier.request_key,
    )


def _approved_until(facts: Facts, authority: Authority, expires_at: str) -> str:
    if facts.phase != "open":
        return NEVER
    until = facts.approved_until(authority)
    return NEVER if until is None else min(_sortable(until), expires_at)


_OF_AN_APPROVAL = ("expires_at", "comment", "assurance", "revoked_at", "revoke_reason", "rehearsal_digest")


def request_key(requester: Actor, key: str) -> str:
    """The text by which a request is found again: its requester, whatever the case of the id, and its key."""
    return canonical_json([requester.type, requester.key, key])


def _request_key(decision: Projection) -> str:
    """Only a decision that was made here is found by its key."""
    created = decision.facts.created
    if created is None or created.idempotency_key is None or decision.imported_count:
        return ""
    return request_key(created.requester, created.idempotency_key)


def approval_rows(approvals: Iterable[Approval]) -> list[ApprovalRow]:
    """The rows of these approvals."""
    return [ApprovalRow(each.actor.key, each.seq, _approval_text(each)) for each in approvals]


def _approval_text(approval: Approval) -> str:
    """An `Approval` as JSON, spelled out as `_progress_text`."""
    saved: dict[str, object] = {
        "actor": approval.actor.to_dict(),
        "seq": approval.seq,
        "granted_at": approval.granted_at,
    }
    for name in _OF_AN_APPROVAL:
        if (value := getattr(approval, name)) is not None:
            saved[name] = value
    return canonical_json(saved)


def from_row(
    row: DecisionRow, approvals: Iterable[ApprovalRow], opening: Sequence[StoredEvent], policy_leaf: str = ""
) -> Projection:
    """The decision of this row. `opening` are its events up to the one that attached the policy; `policy_leaf` is the
    chain hash of that event.
    """
    saved = of_row(_Saved, row.progress, row.decision_id)
    progress = Progress(
        phase=saved.phase,
        approvals=Approvals(_approvals_of(row, [each.content for each in approvals])),
        executions=saved.executions,
        ending=saved.ending,
        quorums=saved.quorums,
    )
    opened = replay_facts(row.decision_id, opening)
    if opened.needs_rehearsal:
        progress = progress._replace(cover=cover_of(saved.executions))
    facts = opened._replace(progress=progress, event_count=row.event_count, last_ts=row.last_ts)
    tally, here = Tally.of(facts.standing_approvals()), Since(row.imported_count)
    given_here = Tally.of(facts.standing_approvals(here)) if row.imported_count else tally
    progress = progress._replace(tally=tally, given_here=given_here)
    facts = facts._replace(progress=progress, given_from=row.imported_count)
    if facts.policy is not None and saved.listing is not None:  # else it is the log that was changed
        told = (*_told(given_here), _filled_until(facts, here))
        if told != (saved.listing.endless, saved.listing.ends, saved.listing.filled_until):
            raise damaged_row(row.decision_id)
    return Projection(
        facts=facts,
        ordinal=row.ordinal,
        generation=row.generation,
        head=row.head,
        policy_leaf=policy_leaf,
        imported_count=row.imported_count,
        provenance=provenance_of(row),
        reserved_at=row.created_at,
    )


def _approvals_of(row: DecisionRow, contents: Sequence[str]) -> Sequence[Approval]:
    try:
        known = decode_each(Approval, list(map(parsed, contents))) if contents else ()
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged_row(row.decision_id) from error
    if known is None:
        raise damaged_row(row.decision_id)
    return known


def provenance_of(row: DecisionRow) -> ImportRecord | None:
    """How the decision of this row was imported; None if it was not."""
    if not row.provenance:
        return None
    if not is_instant(row.last_ts):
        raise damaged_row(row.decision_id)
    return of_row(ImportRecord, row.provenance, row.decision_id)


def import_record_of(details: str) -> ImportRecord:
    """The record in an import entry's payload. Raises REPLAY_INVALID."""
    return decoded(ImportRecord, details, "import", extra_keys=True)


def brought_by(details: str) -> Brought:
    """The imported events, as the payload of the import's entry counts them. Raises REPLAY_INVALID."""
    return decoded(Brought, details, "import", extra_keys=True)


def _progress_text(facts: Facts, tally: Tally, authority: Authority) -> str:
    """A `_Saved` as JSON, spelled out because every event passes here: encoding takes four times as long. `tally` is of
    the approvals that were given here, which are those of `authority`.
    """
    now, saved = facts.progress, dict[str, object](phase=facts.progress.phase)
    endless, ends = _told(tally)
    if now.executions:
        saved["executions"] = [encode(each) for each in now.executions]
    if now.ending is not None:
        saved["ending"] = encode(now.ending)
    if now.quorums.total:
        saved["quorums"] = {"total": now.quorums.total, "last": now.quorums.last}
    if facts.created is not None and facts.policy is not None:
        dispatch = facts.attached and facts.attached.dispatch
        saved["listing"] = {
            "requester": facts.created.requester.to_dict(),
            "required_approvals": facts.policy.min_approvals,
            "endless": endless,
            "ends": ends,
            **({} if dispatch is None else {"dispatch": dispatch}),
            **({"rehearsal": encode(_listed_rehearsal(facts))} if facts.needs_rehearsal else {}),
            **({"filled_until": _filled_until(facts, authority)} if facts.policy.required_from else {}),
        }
    return canonical_json(saved)


def _filled_until(facts: Facts, authority: Authority) -> str | None:
    """What a list is told of the slots of groups; None where the policy has none."""
    if facts.policy is None or facts.policy.required_from is None:
        return None
    until = facts.filled_until(authority)
    return NEVER if until is None else _sortable(until)


def _listed_rehearsal(facts: Facts) -> ListedRehearsal:
    """What a list is told of the rehearsal that the policy requires."""
    required = facts.policy.require_rehearsal if facts.policy else None
    last, max_age = facts.last_rehearsal, required.max_age_seconds if required else 0
    if last is None:
        return ListedRehearsal(max_age_seconds=max_age)
    at = last.completed_at or last.requested_at
    return ListedRehearsal(
        max_age_seconds=max_age,
        lack=facts.rehearsal_lack(parse_instant(at)),
        seq=last.seq,
        run_id=last.run_id,
        digest=last.rehearsal_digest,
        at=at,
        status=last.outcome,
    )


def _sortable(instant: datetime) -> str:
    """An instant as text that sorts by time, between NEVER and NO_END."""
    return NO_END if instant == FOREVER else format_instant(instant)


def _told(tally: Tally) -> tuple[int, tuple[str, ...]]:
    """What a list is told of a tally."""
    return tally.endless, tuple(map(format_instant, tally.ends))
