"""Checks of a bundle that is to be imported. They work in memory: no store is read or written.

In this order: strict parse, schema, digests of the bundle and of each event, one decision with seq from 0 without gaps,
each event legal where it stands and at a possible time, header equal to the replay. The first fault is raised.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from nexus_control.bundle import BundleEvent, DecisionBundle
from nexus_control.bundle_parts import header_of, stored_of
from nexus_control.canonical_json import MAX_ARTIFACT_DEPTH, canonical_json, parse_json
from nexus_control.decision import Decision, require_replayable
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import StoredEvent, compute_event_digest, event_id
from nexus_control.evidence.bundle_checks import as_told, stated_checks
from nexus_control.facts import Facts, step
from nexus_control.integrity import same_digest
from nexus_control.log.projection import MAX_AHEAD
from nexus_control.values.actors import id_problem
from nexus_control.values.instants import format_instant


def replay_bundle(
    parsed: DecisionBundle, now: datetime, verify_digest: bool, replay_after_import: bool
) -> tuple[Decision, Decision]:
    """The decision by its events, and the decision as the header tells it, after every check of the bundle itself."""
    if verify_digest:
        _require_digests(parsed)
    events = [stored_of(each, parsed.decision.decision_id, "imported") for each in parsed.events]
    _require_gapless(events)
    require_replayable(events)
    if replay_after_import:
        _require_one_decision(parsed)
    replayed = Decision.replay(parsed.decision.decision_id, events)
    if verify_digest and replay_after_import:
        _require_possible(events, now)
    decision = as_told(parsed, replayed)
    if verify_digest:
        _require_header(parsed, decision)
    return replayed, decision


def parse_bundle(bundle: DecisionBundle | Mapping[str, object] | str | bytes) -> DecisionBundle:
    """A mapping is written as text and read again: so it obeys the same rules as text, and is a copy."""
    if isinstance(bundle, DecisionBundle):
        bundle = bundle.to_dict()
    try:
        text = bundle if isinstance(bundle, str | bytes) else canonical_json(bundle)
        data = parse_json(text, max_depth=MAX_ARTIFACT_DEPTH)
    except NexusControlError as error:
        raise NexusControlError(ErrorCode.BUNDLE_INVALID_SCHEMA, error.message, error.details) from None
    parsed = DecisionBundle.from_dict(data)
    if problem := id_problem(parsed.decision.decision_id):  # no argument could name a decision of such an id
        raise NexusControlError(ErrorCode.BUNDLE_INVALID_SCHEMA, f"decision.decision_id {problem}")
    return parsed


def _require_digests(bundle: DecisionBundle) -> None:
    if not same_digest(bundle.content_digest(), bundle.integrity.canonical_digest):
        raise NexusControlError(
            ErrorCode.INTEGRITY_MISMATCH, "The bundle's content does not have the digest that it declares"
        )
    for event in bundle.events:
        if not same_digest(compute_event_digest(event.type, event.payload), event.digest):
            raise NexusControlError(
                ErrorCode.INTEGRITY_MISMATCH,
                f"Event {event.seq} does not have the digest that it declares",
                {"seq": event.seq},
            )


def _require_gapless(events: Sequence[StoredEvent]) -> None:
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


def _require_possible(events: Sequence[StoredEvent], now: datetime) -> None:
    """Check that each event is legal where it stands, not earlier than the one before it, and not of the future."""
    facts, last = Facts(decision_id=events[0].decision_id), events[0].instant
    for event in events:
        after = step(facts, event)
        if after is None:
            raise _refused(
                event, f"cannot be: {event.event_type} is not legal there: the decision is {facts.phase}"
            )
        if event.instant < last:
            raise _refused(event, "cannot be: it is earlier than the event before it")
        if event.instant > now + MAX_AHEAD:
            here = format_instant(now)
            raise _refused(event, f"cannot be: its time, {event.ts}, is still to come: here it is {here}")
        facts, last = after, event.instant


def _refused(event: BundleEvent | StoredEvent, why: str) -> NexusControlError:
    return NexusControlError(ErrorCode.REPLAY_INVALID, f"Event {event.seq} {why}", {"seq": event.seq})
