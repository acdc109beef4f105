"""Does a bundle 0.5 tell one coherent history of one decision? Each check reads only the bundle.

    canonical_digest        the content has the digest that the bundle declares
    event_digests           each event has the digest that it declares
    event_sequence          events are numbered 0, 1, 2, ..., named after decision and number, and times never go back
    state_machine           each event is legal in the state that the events before it lead to
    header_equals_replay    goal, mode, time of creation and status are what the events say
    template_equals_events  the bundle shows the template from which the policy was made
    link_equals_events      the bundle links the run that the events record

Bundles of version 1.0 get two allowances. 1.0 judged `status` by its wall clock, so `pending` and `approved` pass for
each other. 1.0 counted a dry run of an apply decision as its execution, so a bundle may link the dry run that its
events end with. An export may leave out the template or the link; if it states them, they must be true.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from nexus_control.bundle import BundleRouterLink, BundleTemplateSnapshot, DecisionBundle
from nexus_control.bundle_parts import (
    as_told_by_1_0,
    header_of,
    link_part,
    link_without_stand_in,
    require_replayable,
    stored_of,
    template_part,
)
from nexus_control.decision import Decision, DecisionState
from nexus_control.errors import NexusControlError
from nexus_control.events import EventType, compute_event_digest, event_id
from nexus_control.evidence.report import (
    Check,
    Finding,
    compared,
    failed,
    judged,
    noted,
    passed,
    same_fields,
    skipped,
)
from nexus_control.facts import Facts, fold, step
from nexus_control.values.instants import parse_instant

_StatedPart: TypeAlias = BundleTemplateSnapshot | BundleRouterLink
_OPEN = {str(DecisionState.PENDING_APPROVAL).upper(), str(DecisionState.APPROVED).upper()}


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The events of a bundle, replayed. `illegal` lists the numbers of the events that the state did not allow.
    `dispatched` holds, by the number of each EXECUTION_REQUESTED, the facts as they were just before it.
    """

    decision: Decision
    dispatched: Mapping[int, Facts]
    illegal: tuple[int, ...]


def canonical_digest(bundle: DecisionBundle) -> Finding:
    return compared(
        bundle.integrity.canonical_digest,
        bundle.content_digest(),
        "the bundle was changed after it was sealed",
    )


def event_digests(bundle: DecisionBundle) -> Finding:
    wrong = [e.seq for e in bundle.events if compute_event_digest(e.type, e.payload) != e.digest]
    if not wrong:
        return passed(f"{len(bundle.events)} recomputed")
    return failed("events do not have the digests that they declare", actual=f"events {wrong[:10]}")


def event_sequence(bundle: DecisionBundle) -> Finding:
    problem = next(_sequence_problems(bundle), None)
    return failed(problem) if problem else passed()


def history_of(bundle: DecisionBundle) -> History | NexusControlError:
    """The replay of the bundle's events, or why they cannot be replayed."""
    decision_id = bundle.decision.decision_id
    facts, dispatched, illegal = Facts(decision_id=decision_id), dict[int, Facts](), list[int]()
    try:
        events = [stored_of(event, decision_id) for event in bundle.events]
        require_replayable(bundle.events)
        for event in events:
            after = step(facts, event)
            if after is None:
                illegal.append(event.seq)
            elif event.event_type is EventType.EXECUTION_REQUESTED:
                dispatched[event.seq] = facts
            facts = after or fold(facts, event)
    except NexusControlError as fault:
        return fault
    return History(
        decision=as_told(bundle, Decision(facts, tuple(events), events[-1].instant)),
        dispatched=dispatched,
        illegal=tuple(illegal),
    )


def as_told(bundle: DecisionBundle, decision: Decision) -> Decision:
    """The decision as the bundle tells it: in the way of 1.0 where its link and status say so, else as replayed."""
    other = as_told_by_1_0(decision)
    if other is None or bundle.router_link != link_part(other):
        return decision
    return other if bundle.decision.status == header_of(other).status else decision


def history_checks(bundle: DecisionBundle, history: History | NexusControlError) -> Iterator[Check]:
    """The checks that need the replayed events. If these cannot be replayed, that failure is the only check."""
    if isinstance(history, History):
        yield _state_machine(history).named("state_machine")
        yield from stated_checks(bundle, history.decision)
    else:
        yield failed(f"the events cannot be replayed: {history.message}").named("state_machine")


def stated_checks(bundle: DecisionBundle, decision: Decision) -> Iterator[Check]:
    """Whether header, template and link, which the bundle states beside its events, are what the events say."""
    template, link = template_part(decision.facts), link_part(decision)
    if bundle.router_link == (earlier := link_without_stand_in(decision.facts)):
        link = earlier
    yield judged("header_equals_replay", lambda: _header(bundle, decision))
    yield _stated(bundle.template_snapshot, template).named("template_equals_events")
    yield _stated(bundle.router_link, link).named("link_equals_events")


def _state_machine(history: History) -> Finding:
    if history.illegal:
        found = f"events {list(history.illegal[:10])}"
        return failed("events are illegal in the state that the events before them lead to", actual=found)
    return passed(f"{len(history.decision.events)} events, {history.decision.state}")


def _header(bundle: DecisionBundle, decision: Decision) -> Finding:
    given, replayed = bundle.decision, header_of(decision)
    if {given.status, replayed.status} <= _OPEN:
        replayed = replace(replayed, status=given.status)
    found = same_fields(replayed.to_dict(), given.to_dict(), "the header is not what the events say")
    run = decision.facts.linked_execution
    if found.status == "pass" and run is not None and run.dry_run and given.mode == "apply":
        return noted("it ended with a dry run, which 1.0 allowed: the approved plan was never applied")
    return found


def _stated(given: _StatedPart, replayed: _StatedPart) -> Finding:
    if given == type(given)() != replayed:
        return skipped("the bundle was exported without it")
    return same_fields(replayed.to_dict(), given.to_dict(), "it is not what the events say")


def _sequence_problems(bundle: DecisionBundle) -> Iterator[str]:
    decision_id, last = bundle.decision.decision_id, None
    for number, event in enumerate(bundle.events):
        if event.seq != number:
            yield f"event {number} is numbered {event.seq}"
        if event.decision_id != decision_id:
            yield f"event {number} belongs to decision {event.decision_id}"
        if event.event_id != event_id(decision_id, event.seq):
            yield f"event {number} is named {event.event_id}"
        instant = parse_instant(event.ts)
        if last is not None and instant < last:
            yield f"event {number} is earlier than the event before it"
        last = instant
