"""One transaction on a store: load decisions and templates, append events.

An appended event gets the next `seq`, a `ts` that is never earlier than the event before it, its frozen digest, and its
chain hash, which is a leaf of the log's Merkle tree. The decision's new projection is stored in the same transaction.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from nexus_control.approvals import Approval
from nexus_control.canonical_json import require_canonical_domain
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import EventType, Payload, StoredEvent, digest_of_canonical_payload
from nexus_control.evidence.chain import GENESIS
from nexus_control.facts import Facts, fold
from nexus_control.log.entries import (
    ROLLBACKS,
    SYSTEM_ACTOR,
    event_entry,
    record_entry,
    to_event,
)
from nexus_control.log.projection import (
    Projection,
    approval_rows,
    from_row,
    to_row,
)
from nexus_control.log.row_texts import damaged_row
from nexus_control.storage.contract import Claim, DecisionRow, Entry, EntryKind, Reader, Writer
from nexus_control.system.clock import Clock
from nexus_control.template import Template
from nexus_control.values.actors import Actor, require_new_actor
from nexus_control.values.instants import format_instant, parse_instant
from nexus_control.values.payloads import TemplateCreatedPayload
from nexus_control.values.records import encode

MAX_PAYLOAD_BYTES = 2 * 1024 * 1024
"""Room for the largest plan, even when JSON has to escape every byte of it."""
MAX_RECENT = 256
_PLAIN = frozenset((str, int, bool, type(None)))


class Known(NamedTuple):
    row: DecisionRow | None = None
    decision: Projection | None = None
    adds_up: bool = False


_NOTHING_KNOWN = Known()


class Recent:
    """The decoded form of the last rows. A decision follows from its row and from entries that never change. So its
    decoded form is reused as long as the stored row is the same, whichever process writes it: every event changes the
    row's head.
    """

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}

    def known(self, decision_id: str) -> Known:
        return self._known.get(decision_id, _NOTHING_KNOWN)

    def row_of(self, decision: Projection) -> DecisionRow | None:
        """The row that this very decision was decoded from; None where another one has taken its place."""
        known = self._known.get(decision.decision_id, _NOTHING_KNOWN)
        return known.row if known.decision is decision else None

    def adds_up(self, decision: Projection) -> bool:
        """Whether this process made this very decision by folding the events that its head commits to, or compared it
        with what they fold to.
        """
        if not decision.facts.event_count:
            return decision.facts == Facts(decision.decision_id)
        known = self._known.get(decision.decision_id, _NOTHING_KNOWN)
        return known.decision is decision and known.adds_up

    def forget(self) -> None:
        """What follows from the log was made again, or a row was found to be damaged."""
        self._known.clear()

    def keep(self, row: DecisionRow, decision: Projection, *, adds_up: bool = False) -> Projection:
        if len(self._known) >= MAX_RECENT:
            self._known.clear()
        self._known[row.decision_id] = Known(row, decision, adds_up)
        return decision


@dataclass(frozen=True, slots=True)
class ReadSession:
    """A consistent view of the store. `now` is the one instant at which everything in it is judged."""

    rows: Reader
    now: datetime
    recent: Recent

    def decision(self, decision_id: str) -> Projection:
        """The current generation. Raises DECISION_NOT_FOUND."""
        found = self.find_decision(decision_id)
        if found is None:
            raise NexusControlError(
                ErrorCode.DECISION_NOT_FOUND,
                f"There is no decision {decision_id!r:.80}",
                {"decision_id": decision_id[:80]},
            )
        return found

    def find_decision(self, decision_id: str) -> Projection | None:
        """The current generation, if the decision exists."""
        known = self.recent.known(decision_id)
        row = self.rows.decision_row(decision_id, known.row)
        if row is None:
            return None
        if known.decision is not None and row == known.row:
            return known.decision
        opening = self.rows.entries("decision", decision_id, row.generation, 0, max(row.policy_seq, 0) + 1)
        if row.policy_seq >= 0 and not opening:
            raise damaged_row(decision_id)
        policy_leaf = opening[-1].leaf if row.policy_seq >= 0 else ""
        approvals = self.rows.approvals(row.ordinal)
        decision = from_row(row, approvals, [to_event(entry) for entry in opening], policy_leaf)
        return self.recent.keep(row, decision)

    def events(
        self, decision: Projection, generation: int | None = None, *, start: int = 0
    ) -> list[StoredEvent]:
        """The events of the current generation, or of a superseded one, from this seq on."""
        wanted = decision.generation if generation is None else generation
        return [
            to_event(entry) for entry in self.rows.entries("decision", decision.decision_id, wanted, start)
        ]

    def find_template(self, name: str) -> Template | None:
        events = self.template_events(name)
        return Template.replay(events) if events else None

    def template(self, name: str) -> Template:
        """Raises TEMPLATE_NOT_FOUND."""
        found = self.find_template(name)
        if found is None:
            raise NexusControlError(
                ErrorCode.TEMPLATE_NOT_FOUND,
                f"There is no template {name!r:.80}",
                {"template_name": name[:80]},
            )
        return found

    def template_events(self, name: str) -> list[StoredEvent]:
        return [to_event(entry) for entry in self.rows.entries("template", name, 0)]

    def templates(self) -> list[Template]:
        """All templates, in the order in which they were created."""
        return [Template.replay([to_event(entry)]) for entry in self.rows.first_entries("template")]

    def instant_of_next(self, decision: Projection) -> datetime:
        """The `ts` of an event appended now, also where the clock went back. Its rules are judged at this instant."""
        last_ts = decision.facts.last_ts
        return max(self.now, parse_instant(last_ts)) if last_ts else self.now

    def instant_of_verdict(self, decision: Projection) -> datetime:
        """Like `instant_of_next`, for a person's act. Raises CLOCK_BEHIND where an imported event would date it."""
        if decision.is_ahead_of(self.now):
            last_ts = decision.facts.last_ts
            raise NexusControlError(
                ErrorCode.CLOCK_BEHIND,
                f"This decision was imported with events up to {last_ts}, which is still to come here",
                {"last_ts": last_ts, "now": format_instant(self.now)},
            )
        return self.instant_of_next(decision)


@dataclass(frozen=True, slots=True)
class WriteSession(ReadSession):
    """The only writer of the store until the transaction ends: a rule that it checked still holds when it writes."""

    rows: Writer
    clock: Clock
    written: list[StoredEvent] = field(default_factory=list[StoredEvent])
    """The events of decisions that this transaction has appended so far."""

    def reserve(self) -> Projection:
        """A new decision without events."""
        decision = self.new(self.clock.new_id())
        self.rows.save(to_row(decision))
        return decision

    def create(self, actor: Actor, payloads: Sequence[Payload]) -> Projection:
        """A new decision that begins with these events."""
        return self.append(self.new(self.clock.new_id()), actor, *payloads)

    def append(self, decision: Projection, actor: Actor, *payloads: Payload) -> Projection:
        """The decision after these events by `actor`, stored. It was loaded, or appended to, in this session."""
        return self.append_each(decision, [(actor, payload) for payload in payloads])

    def append_each(self, decision: Projection, drafts: Iterable[tuple[Actor, Payload]]) -> Projection:
        """Like `append`, for events by several actors."""
        raw = [(require_new_actor(actor), payload.event_type, encode(payload)) for actor, payload in drafts]
        return self.append_raw(decision, raw)[0]

    def append_raw(
        self, decision: Projection, drafts: Iterable[tuple[Actor, EventType, dict[str, Any]]]
    ) -> tuple[Projection, list[StoredEvent]]:
        """Like `append`, for JSON payloads. Returns the new events, too. Raises REPLAY_INVALID or JSON_INVALID."""
        ts = self._ts_of_next(decision)
        events: list[StoredEvent] = []
        entries: list[Entry] = []
        changed: dict[str, Approval] = {}
        facts, head = decision.facts, decision.head
        for actor, event_type, payload in drafts:
            event, text = _new_event(decision.decision_id, facts.event_count, event_type, ts, actor, payload)
            events.append(event)
            entries.append(event_entry("decision", event, decision.generation, text, head))
            before, facts, head = facts.progress.approvals, fold(facts, event), entries[-1].leaf
            if facts.progress.approvals is not before and (approval := facts.approval_of(actor)):
                changed[actor.key] = approval
        policy_leaf = decision.policy_leaf
        if not policy_leaf and facts.policy_seq >= 0:
            policy_leaf = entries[facts.policy_seq - decision.facts.event_count].leaf
        stored = Projection(
            facts=facts,
            ordinal=decision.ordinal,
            generation=decision.generation,
            head=head,
            policy_leaf=policy_leaf,
            imported_count=decision.imported_count,
            provenance=decision.provenance,
            reserved_at=decision.reserved_at,
        )
        self.rows.append(entries)
        known, adds_up = self.recent.row_of(decision), self.recent.adds_up(decision)
        row = to_row(stored, known)
        self.rows.save(row, known)
        self.rows.put_approvals(row.ordinal, approval_rows(changed.values()))
        self.written.extend(events)
        return self.recent.keep(row, stored, adds_up=adds_up), events

    def _ts_of_next(self, decision: Projection) -> str:
        """The text of `instant_of_next`. Texts of `format_instant` are equally long, and sort by time. The time of an
        imported event may be spelled in another way.
        """
        now, last = format_instant(self.now), decision.facts.last_ts
        is_later = last[-6:] == now[-6:] and len(last) == len(now) and last <= now
        return now if is_later else format_instant(self.instant_of_next(decision))

    def create_template(self, actor: Actor, payload: TemplateCreatedPayload) -> Template:
        """Raises TEMPLATE_ALREADY_EXISTS."""
        if self.rows.entries("template", payload.name, 0):
            raise NexusControlError(
                ErrorCode.TEMPLATE_ALREADY_EXISTS,
                f"Template {payload.name!r:.80} exists already",
                {"template_name": payload.name[:80]},
            )
        who, ts = require_new_actor(actor), format_instant(self.now)
        event, text = _new_event(
            payload.name, 0, payload.event_type, ts, who, encode(payload), where="template"
        )
        self.rows.append([event_entry("template", event, 0, text, GENESIS)])
        return Template.replay([event])

    def append_key(self, log: str, details: Mapping[str, object]) -> None:
        """Record a key of the log, whose origin is `log`."""
        self._append_record("key", log, SYSTEM_ACTOR, details)

    def append_rollback(self, actor: Actor, details: Mapping[str, object]) -> None:
        """Record the loss that `actor` accepted."""
        self._append_record("rollback", ROLLBACKS, require_new_actor(actor), details)

    def _append_record(
        self, kind: EntryKind, stream: str, actor: Actor, details: Mapping[str, object]
    ) -> None:
        earlier = self.rows.entries(kind, stream, 0)
        prev, ts = earlier[-1].leaf if earlier else GENESIS, format_instant(self.now)
        self.rows.append([record_entry(kind, stream, ts, details, prev, seq=len(earlier), actor=actor)])

    def claim(self, decision: Projection, seq: int, owner: str) -> Claim:
        """Record who executes the decision from EXECUTION_REQUESTED at `seq` on."""
        claim = Claim(
            decision_id=decision.decision_id,
            generation=decision.generation,
            seq=seq,
            owner=owner,
            claimed_at=decision.facts.last_ts,
        )
        self.rows.put_claim(claim)
        return claim

    def new(self, decision_id: str) -> Projection:
        """A decision without events, which is not stored yet."""
        return Projection(
            facts=Facts(decision_id=decision_id),
            ordinal=self.rows.next_ordinal(),
            reserved_at=format_instant(self.now),
        )


def _new_event(
    stream: str,
    seq: int,
    event_type: EventType,
    ts: str,
    actor: Actor,
    payload: dict[str, Any],
    *,
    where: str = "payload",
) -> tuple[StoredEvent, str]:
    """The event, and its payload as canonical JSON. Raises JSON_INVALID."""
    text = require_canonical_domain(payload, where=where, max_bytes=MAX_PAYLOAD_BYTES)
    is_flat = _PLAIN.issuperset(map(type, payload.values()))
    event = StoredEvent(
        decision_id=stream,
        seq=seq,
        event_type=event_type,
        ts=ts,
        actor=actor,
        payload=dict(payload) if is_flat else json.loads(text),  # the fold sees exactly what is stored
        digest=digest_of_canonical_payload(event_type, text),
    )
    return event, text
