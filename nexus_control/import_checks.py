"""Checks of a bundle that is to be imported. They work in memory: no store is read or written.

In this order: strict parse, schema, digests of the bundle and of each event, one decision with seq from 0 without gaps,
each event legal where it stands and at a possible time, header equal to the replay. The first fault is raised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import le

from nexus_control.bundle import BundleEvent, ContentText, DecisionBundle
from nexus_control.bundle_parts import header_of, require_replayable, stored_of
from nexus_control.canonical_json import MAX_ARTIFACT_DEPTH, canonical_json, parse_json
from nexus_control.decision import Decision
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import StoredEvent, digest_of_canonical_payload, event_id
from nexus_control.evidence.bundle_checks import as_told, stated_checks
from nexus_control.facts import Facts, step
from nexus_control.integrity import prefixed, same_digest
from nexus_control.log.importing import ForeignHistory
from nexus_control.log.projection import MAX_AHEAD
from nexus_control.log.replaying import replay, replay_legal
from nexus_control.values.actors import id_problem
from nexus_control.values.instants import format_instant, parse_instant


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedBundle:
    """What passed the checks of a bundle: its history, and the decision by its events as the header tells it."""

    history: ForeignHistory
    decision: Decision
    final_rehearsal: bool
    """Whether the header takes a dry run at the end for the execution (`bundle_parts.as_told_by_1_0`)."""


def checked_bundle(
    parsed: DecisionBundle, now: datetime, verify_digest: bool, replay_after_import: bool
) -> CheckedBundle:
    """The bundle after every check of the bundle itself."""
    payloads = [canonical_json(event.payload) for event in parsed.events]
    types = [event.type for event in parsed.events]
    digests = list(map(digest_of_canonical_payload, types, payloads))
    if verify_digest:
        _require_digests(parsed, payloads, digests)
    decision_id = parsed.decision.decision_id
    _require_gapless(parsed.events)
    require_replayable(parsed.events)
    if replay_after_import:
        _require_one_decision(parsed)
    facts = _replayed(decision_id, parsed.events, now if verify_digest and replay_after_import else None)
    last = stored_of(parsed.events[-1], decision_id)
    replayed = Decision(facts, (last,), last.instant)  # the parts of a bundle look at no other event
    decision = as_told(parsed, replayed)
    if verify_digest:
        _require_header(parsed, decision)
    return CheckedBundle(
        history=ForeignHistory(facts=facts, events=parsed.events, payloads=payloads, digests=digests),
        decision=decision,
        final_rehearsal=decision is not replayed,
    )


def parse_bundle(bundle: DecisionBundle | Mapping[str, object] | str | bytes) -> DecisionBundle:
    """A mapping is written as text and read again: so it obeys the same rules as text, and is a copy."""
    if isinstance(bundle, DecisionBundle):
        bundle = bundle.to_dict()
    try:
        is_text = isinstance(bundle, str | bytes)
        text = bundle if is_text else canonical_json(bundle)
        data = parse_json(text, max_depth=MAX_ARTIFACT_DEPTH, canonical=not is_text)
    except NexusControlError as error:
        raise NexusControlError(ErrorCode.BUNDLE_INVALID_SCHEMA, error.message, error.details) from None
    parsed = DecisionBundle.from_dict(data)
    if problem := id_problem(parsed.decision.decision_id):  # no argument could name a decision of such an id
        raise NexusControlError(ErrorCode.BUNDLE_INVALID_SCHEMA, f"decision.decision_id {problem}")
    return parsed


def _require_digests(bundle: DecisionBundle, payloads: Sequence[str], digests: Sequence[str]) -> None:
    """`payloads` and `digests` are the canonical text of each event's payload, and the digest that it really has."""
    content = ContentText.of(
        bundle_version=bundle.bundle_version,
        decision=bundle.decision,
        events=map(BundleEvent.around, bundle.events, payloads),
        template_snapshot=bundle.template_snapshot,
        router_link=bundle.router_link,
    )
    if not same_digest(prefixed(content.digest()), bundle.integrity.canonical_digest):
        raise NexusControlError(
            ErrorCode.INTEGRITY_MISMATCH, "The bundle's content does not have the digest that it declares"
        )
    for event, digest in zip(bundle.events, digests, strict=True):
        if digest != event.digest:
            raise NexusControlError(
                ErrorCode.INTEGRITY_MISMATCH,
                f"Event {event.seq} does not have the digest that it declares",
                {"seq": event.seq},
            )


def _require_gapless(events: Sequence[BundleEvent]) -> None:
    for position, event in enumerate(events):
        if event.seq != position:
            raise NexusControlError(
                ErrorCode.REPLAY_INVALID,
                f"Events must be numbered 0, 1, 2, ...; number {position} says seq {event.seq}",
                {"seq": event.seq, "expected": position},
            )


def _require_one_decision(bundle: DecisionBundle) -> None:
    decision_id = bundle.decision.decision_id
    for event in bundle.events:
        if event.decision_id != decision_id or event.event_id != event_id(decision_id, event.seq):
            raise _refused(event, "belongs to another decision")


def _require_header(bundle: DecisionBundle, decision: Decision) -> None:
    header_of(decision)  # REPLAY_INVALID for a history that begins with nothing
    for check in stated_checks(bundle, decision):
        if check.status == "fail":
            raise NexusControlError(
                ErrorCode.INTEGRITY_MISMATCH, f"{check.name}: {check.detail}", {"check": check.name}
            )


def _replayed(decision_id: str, told: Sequence[BundleEvent], now: datetime | None) -> Facts:
    """The facts after all events. With `now`, each event must be legal where it stands, not earlier than the one before
    it, and not of the future.
    """
    facts = Facts(decision_id=decision_id)
    if now is None:
        return replay(facts, (stored_of(each, decision_id) for each in told))
    instants, latest = [parse_instant(event.ts) for event in told], now + MAX_AHEAD
    if all(map(le, instants, instants[1:])) and instants[-1] <= latest:
        known = replay_legal(facts, told, instants)
        if known is not None:
            return known
    events = [stored_of(each, decision_id) for each in told]
    replay(facts, events)  # what cannot be read at all is told first
    last = events[0].instant
    for event in events:
        after = step(facts, event)
        if after is None or event.instant < last or event.instant > latest:
            raise _refused(event, _impossible(facts, event, last, now))
        facts, last = after, event.instant
    return facts


def _impossible(facts: Facts, event: StoredEvent, last: datetime, now: datetime) -> str:
    if step(facts, event) is None:
        return f"cannot be: {event.event_type} is not legal there: the decision is {facts.phase}"
    if event.instant < last:
        return "cannot be: it is earlier than the event before it"
    return f"cannot be: its time, {event.ts}, is still to come: here it is {format_instant(now)}"


def _refused(event: BundleEvent | StoredEvent, why: str) -> NexusControlError:
    return NexusControlError(ErrorCode.REPLAY_INVALID, f"Event {event.seq} {why}", {"seq": event.seq})
