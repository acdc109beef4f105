"""A whole history folded at once: the facts that `facts.fold` leads to event by event, in a fraction of its time.

Nearly all of a long history is approvals, given and taken back one after the other. While nothing else happens the
phase and the policy stay what they are. So such a run is folded into one mapping and one tally, and only the last
approval of each person is made.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import reduce
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from nexus_control.approvals import FOREVER, Approval, Tally, lacking
from nexus_control.bundle import BundleEvent
from nexus_control.bundle_parts import stored_of
from nexus_control.events import (
    Actor,
    ApprovalGrantedPayload,
    ApprovalRevokedPayload,
    EventType,
    StoredEvent,
)
from nexus_control.facts import Facts, fold, is_covered, step
from nexus_control.values.actors import fold_id
from nexus_control.values.instants import parse_instant
from nexus_control.values.payloads import Assurance, Payload, decode_payloads

APPROVING = frozenset((EventType.APPROVAL_GRANTED, EventType.APPROVAL_REVOKED))
AT_A_TIME = 256
"""So few contents are in memory at a time that the garbage collector has nothing to look at."""
_ENDED = datetime.min.replace(tzinfo=UTC)


Act: TypeAlias = tuple[Actor, int, str, datetime, Payload]
"""Of an event that gives or takes back an approval: who, its seq, its ts, the same as an instant, and its content."""


def replay(facts: Facts, events: Iterable[StoredEvent]) -> Facts:
    """The facts after all of `events`. Raises REPLAY_INVALID for a payload that does not decode."""
    for approving, several in groupby(events, _is_approving):
        if approving and facts.phase == "open":
            facts, _ = fold_run(facts, map(_act, several))
        else:
            facts = reduce(fold, several, facts)
    return facts


def replay_legal(facts: Facts, events: Sequence[BundleEvent], instants: Sequence[datetime]) -> Facts | None:
    """Like `replay`, of the events of a bundle and the instants of their `ts`; None where an event is illegal where it
    stands. A run of approvals is folded without making its events.
    """
    after: Facts | None = facts
    for approving, several in groupby(zip(events, instants, strict=True), _is_approving_part):
        if approving and after.phase == "open":
            after, are_legal = fold_run(after, _acts(list(several), facts.decision_id))
            if not are_legal:
                return None
            continue
        for event, _ in several:
            if (after := step(after, stored_of(event, facts.decision_id))) is None:
                return None
    return after


def _acts(run: Sequence[tuple[BundleEvent, datetime]], decision_id: str) -> Iterator[Act]:
    for start in range(0, len(run), AT_A_TIME):
        some = run[start : start + AT_A_TIME]
        contents = decoded_together([each.type for each, _ in some], [each.payload for each, _ in some])
        one_by_one = (stored_of(each, decision_id).content for each, _ in some)
        for (event, at), content in zip(some, contents or one_by_one, strict=True):
            yield event.actor, event.seq, event.ts, at, content


def decoded_together(types: Sequence[str], payloads: Sequence[object]) -> Iterator[Payload] | None:
    """The contents of approvals that are given and taken back, by their event types and payloads; None where
    one does not decode.
    """
    contents = dict[str, Iterator[Payload]]()
    for event_type in APPROVING:
        given = [payload for each, payload in zip(types, payloads, strict=True) if each == event_type]
        decoded = decode_payloads(event_type, given) if given else ()
        if decoded is None:
            return None
        contents[event_type] = iter(decoded)
    return (next(contents[each]) for each in types)


def fold_run(facts: Facts, acts: Iterable[Act]) -> tuple[Facts, bool]:
    """The facts after these acts, and whether each was legal where it stood. Before them the phase is open."""
    run, ts, done, legal = _Run(facts), facts.last_ts, 0, 0
    give, take_back = run.give, run.take_back
    for actor, seq, ts, at, content in acts:
        done += 1
        if type(content) is ApprovalGrantedPayload:
            legal += give(actor, seq, ts, at, content)
        elif type(content) is ApprovalRevokedPayload:
            legal += take_back(actor, ts, content.reason)
    return run.facts(facts.event_count + done, ts), legal == done


class _Standing:
    """A `Tally` that changes."""

    __slots__ = ("endless", "ends")

    def __init__(self, tally: Tally) -> None:
        self.endless, self.ends = tally.endless, list(tally.ends)

    def add(self, end: datetime) -> None:
        if end == FOREVER:
            self.endless += 1
        else:
            insort(self.ends, end)

    def remove(self, end: datetime) -> None:
        if end == FOREVER:
            self.endless -= 1
        else:
            del self.ends[bisect_left(self.ends, end)]

    def current(self, at: datetime) -> int:
        return self.endless + (len(self.ends) - bisect_right(self.ends, at) if self.ends else 0)

    def tally(self) -> Tally:
        return Tally(self.endless, tuple(self.ends))


class _Held(NamedTuple):
    """The fields of an `Approval` in their order, when it ends, and whether the policy accepts it. A stale one has
    ended, and counts for nothing.
    """

    actor: Actor
    seq: int
    granted_at: str
    expires_at: str | None
    comment: str | None
    assurance: Assurance | None
    revoked_at: str | None
    revoke_reason: str | None
    rehearsal_digest: str | None
    end: datetime
    counts: bool

    def approval(self) -> Approval:
        return Approval(**dict[str, Any](zip(_NAMES, self, strict=False)))


_NAMES = tuple(each.name for each in fields(Approval))
_values_of = attrgetter(*_NAMES)


class _Run:
    """Approvals given and taken back while the decision is open."""

    def __init__(self, facts: Facts) -> None:
        now = facts.progress
        self._before = facts
        self._needs_rehearsal = facts.needs_rehearsal
        self._required = facts.policy.min_approvals if facts.policy else 0
        self._slots = facts.policy.required_from if facts.policy else None
        self._held: dict[str, _Held] = {}
        self._accepted: dict[tuple[str, Assurance | None], bool] = {}
        self._standing = _Standing(now.tally)
        self._here = _Standing(now.given_here) if facts.given_from else self._standing
        self._quorums: list[int] = []

    def give(self, actor: Actor, seq: int, ts: str, at: datetime, content: ApprovalGrantedPayload) -> bool:
        person = fold_id(actor.id)
        earlier = self._held.get(person) or self._held_before(person)
        if earlier is not None and earlier.revoked_at is None and earlier.end > at:
            return False
        covers = content.rehearsal_digest
        if self._needs_rehearsal and not is_covered(self._before, covers, at):
            return False
        expires_at, assurance = content.expires_at, content.assurance
        end = FOREVER if expires_at is None else parse_instant(expires_at)
        counts = self._counts(actor, person, assurance)
        was_met = self._standing.current(at) >= self._required and self._are_filled(at)
        self._held[person] = _Held._make(
            (actor, seq, ts, expires_at, content.comment, assurance, None, None, covers, end, counts)
        )
        if earlier is not None:
            self._leave(earlier)
        if counts:
            self._standing.add(end)
            if self._here is not self._standing:
                self._here.add(end)
            if not was_met and self._standing.current(at) >= self._required and self._are_filled(at):
                self._quorums.append(seq)
        return True

    def _are_filled(self, at: datetime) -> bool:
        """Whether different people fill all slots of groups at this instant."""
        if self._slots is None:
            return True
        belongs = self._before.belongs
        held = ((person, self._held.get(person) or self._held_before(person)) for person in belongs)
        people = (who for who, each in held if each and each.counts and not each.revoked_at and each.end > at)
        return not lacking(self._slots, belongs, people)

    def take_back(self, actor: Actor, ts: str, reason: str | None) -> bool:
        person = fold_id(actor.id)
        held = self._held.get(person) or self._held_before(person)
        if held is None or held.revoked_at is not None or held.actor.type != actor.type:
            return False
        self._leave(held)
        self._held[person] = _Held._make((*held[:6], ts, reason, *held[8:]))
        return True

    def facts(self, event_count: int, last_ts: str) -> Facts:
        now = self._before.progress
        quorums = now.quorums
        for seq in self._quorums:
            quorums = quorums.plus(seq)
        progress = now._replace(
            approvals=now.approvals.having_each(held.approval() for held in self._held.values()),
            tally=self._standing.tally(),
            given_here=self._here.tally(),
            quorums=quorums,
        )
        return self._before._replace(progress=progress, event_count=event_count, last_ts=last_ts)

    def _held_before(self, person: str) -> _Held | None:
        known = self._before.progress.approvals.of(person)
        if known is None:
            return None
        is_stale = self._before.is_stale(known)
        end = _ENDED if is_stale else known.ends()
        return _Held._make((*_values_of(known), end, not is_stale and self._before.counts(known)))

    def _leave(self, held: _Held) -> None:
        """It no longer stands, if it did."""
        if held.counts and held.revoked_at is None:
            self._standing.remove(held.end)
            if self._here is not self._standing and held.seq >= self._before.given_from:
                self._here.remove(held.end)

    def _counts(self, actor: Actor, person: str, assurance: Assurance | None) -> bool:
        """As `Facts.counts`, which looks at nothing else of an approval."""
        known = self._accepted.get((person, assurance))
        if known is None:
            approval = Approval(actor=actor, seq=0, granted_at="", assurance=assurance)
            known = self._accepted[person, assurance] = self._before.counts(approval)
        return known


def _is_approving(event: StoredEvent) -> bool:
    return event.event_type in APPROVING


def _is_approving_part(part: tuple[BundleEvent, datetime]) -> bool:
    return part[0].type in APPROVING


def _act(event: StoredEvent) -> Act:
    return event.actor, event.seq, event.ts, event.instant, event.content
