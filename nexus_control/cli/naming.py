"""Which request a person means: by its id, by the beginning of its id, or by leaving the id out.

    def deny(frame: Frame, reason: Reason, request_id: FittingId = None, yes: Yes = False) -> Answer:
        with frame.store() as store:
            request_id = chosen(store, request_id, awaiting(frame.actor), yes=yes)
            ...
            named = short(store, request_id)          # for people; JSON and pipes get whole ids

* The beginning of an id is enough if no other id begins so, from 4 characters on. Also a whole id is ambiguous if it
  is the beginning of another one: an import may bring an id of any form.
* An id may be left out if exactly one request fits the command. It is never left out with `--yes`, because then nobody
  looks at the request that was chosen.
* People are shown the beginning of an id: 8 characters, or as many as make it unique.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Final, TypeAlias

from nexus_control.cli.candidates import candidate
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.store import DecisionStore
from nexus_control.usecases import arguments as door
from nexus_control.usecases import listing
from nexus_control.usecases.list_answers import RequestLine
from nexus_control.usecases.list_arguments import ListArguments
from nexus_control.values.actors import Actor
from nexus_control.values.guarded import is_guarded
from nexus_control.values.instants import format_instant
from nexus_control.values.payloads import StateName

SHOWN: Final = 8
_FEWEST: Final = 4
MOST: Final = 10
"""The candidates that a refusal carries."""
_UNDER_WAY: Final = ("pending_approval", "approved", "executing", "outcome_unknown")

_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_Lines: TypeAlias = Callable[[DecisionStore], Iterator[RequestLine]]


@dataclass(frozen=True, slots=True)
class Fit:
    """The requests that a command is for. `which` completes "There is no request"."""

    which: str
    lines: _Lines


def any_request() -> Fit:
    """For commands that look: the only request of the store."""
    return Fit("", lambda store: _listed(store, ListArguments()))


def awaiting(actor: Actor) -> Fit:
    """For `approve` and `deny`: a request that this person may approve, and has not approved yet."""
    return Fit(f" that waits for {actor.id}", lambda store: _listed(store, ListArguments(awaiting=actor.id)))


def approved_by(actor: Actor) -> Fit:
    """For `revoke`: an open request with a current approval of this actor."""

    def lines(store: DecisionStore) -> Iterator[RequestLine]:
        for line in _in_states(store, "pending_approval", "approved"):
            facts = store.load(line["request_id"]).facts
            if any(each.actor == actor for each in facts.active_approvals(store.clock.now())):
                yield line

    return Fit(f" that {actor.id} has approved and that is open", lines)


def requested_by(actor: Actor) -> Fit:
    """For `withdraw`: an open request of this actor."""

    def lines(store: DecisionStore) -> Iterator[RequestLine]:
        for line in _in_states(store, "pending_approval", "approved", "expired", requester=actor.id):
            if line["requester"] == actor.to_dict():
                yield line

    return Fit(f" that {actor.id} has made and that is open", lines)


def executable(*, dry_run: bool = False) -> Fit:
    """For `execute`: a request that nothing keeps from being executed here by a router; with `dry_run` also one that
    is rehearsed before it is approved. Without one it is the only request that is under way, so that the refusal says
    what keeps that from being executed.
    """

    def lines(store: DecisionStore) -> Iterator[RequestLine]:
        approved = _listed(store, ListArguments(executable=True))
        if dry_run:
            waiting = _in_states(store, "pending_approval")
            approved = chain(approved, (each for each in waiting if "rehearsal" in each))
        here = (each for each in approved if not is_guarded(each["adapter_id"]) and "dispatch" not in each)
        ready = list(islice(here, MOST + 1))
        others = [] if ready else list(islice(_in_states(store, *_UNDER_WAY), 2))
        yield from ready or (others if len(others) == 1 else [])

    return Fit(" that can be executed", lines)


def executing() -> Fit:
    """For `cancel`: a request that is being executed."""
    return Fit(" that is being executed", lambda store: _in_states(store, "executing"))


def executed() -> Fit:
    """For `audit`: a request whose execution has ended."""
    return Fit(" that was executed", lambda store: _in_states(store, "completed", "failed"))


def unfinished(until: Sequence[str] | None) -> Fit:
    """For `wait`: a request that waits for approvals, or is being executed. Without one it is the only request of the
    store, which may have come to a state that was waited for before anybody waited.
    """

    def lines(store: DecisionStore) -> Iterator[RequestLine]:
        waiting = list(islice(_in_states(store, "pending_approval", "executing"), MOST + 1))
        yield from waiting
        others = [] if waiting else list(islice(_listed(store, ListArguments()), 2))
        if len(others) == 1 and (not until or others[0]["state"] in until):
            yield others[0]

    return Fit(" that is under way", lines)


def unsettled() -> Fit:
    """For `reconcile`: a request whose outcome is unknown."""
    return Fit(" that has an unknown outcome", lambda store: _in_states(store, "outcome_unknown"))


def chosen(store: DecisionStore, given: str | None, fit: Fit, *, yes: bool = False) -> str:
    """The whole id of the request that a person means. An id that no request has is returned as it is given.

    Raises AMBIGUOUS_ID with the candidates, DECISION_NOT_FOUND where no request fits, and INVALID_ARGUMENT where the id
    is left out with `--yes`.
    """
    if given is not None:
        return whole(store, given)
    if yes:
        raise invalid_argument("ID", "is needed with --yes: nobody looks at what would be chosen")
    lines = list(islice(fit.lines(store), MOST + 1))
    match lines:
        case [line]:
            return line["request_id"]
        case []:
            raise NexusControlError(
                ErrorCode.DECISION_NOT_FOUND, f"There is no request{fit.which}, and no id was given"
            )
        case _:
            ids = [line["request_id"] for line in lines]
            raise _ambiguous(store, f"There is more than one request{fit.which}", ids)


def whole(store: DecisionStore, given: str) -> str:
    """The whole id that `given` is, or that it begins. Raises AMBIGUOUS_ID, and DECISION_NOT_FOUND for too short a
    beginning.
    """
    given = door.validated(door.StatusArguments, {"request_id": given}).request_id
    with store.reading() as session:
        found = session.rows.decision_ids(given, MOST + 1)
    begun = [each for each in found if each.startswith(given)]
    if len(given) < _FEWEST:
        begun, longer = [each for each in begun if each == given], begun
        if longer and not begun:
            raise NexusControlError(
                ErrorCode.DECISION_NOT_FOUND,
                f"{given!r} begins an id, but is too short: give at least its first {_FEWEST} characters",
                {"decision_id": given},
            )
    if len(begun) > 1:
        raise _ambiguous(store, f"More than one id begins with {given!r:.80}", begun)
    return begun[0] if begun else given


def short(store: DecisionStore, request_id: str) -> str:
    """The beginning of an id, as people are shown it and may type it."""
    before, length = 0, SHOWN
    with store.reading() as session:
        while before < length < len(request_id):
            before = length
            for each in session.rows.decision_ids(request_id[:length], 2):
                while (
                    each != request_id and length < len(request_id) and each.startswith(request_id[:length])
                ):
                    length += 1
    return request_id[:length]


def short_run(run_id: str) -> str:
    """A run's id as people are shown it: the beginning of a UUID, and whole where a router names its runs otherwise."""
    return run_id[:SHOWN] if _UUID.fullmatch(run_id) else run_id


def _ambiguous(store: DecisionStore, message: str, ids: Sequence[str]) -> NexusControlError:
    candidates = [candidate(store, each, short(store, each)) for each in ids[:MOST]]
    now = format_instant(store.clock.now())
    details = {"candidates": candidates, "truncated": len(ids) > MOST, "as_of": now}
    return NexusControlError(ErrorCode.AMBIGUOUS_ID, message, details)


def _in_states(
    store: DecisionStore, *states: StateName, requester: str | None = None
) -> Iterator[RequestLine]:
    for state in states:
        yield from _listed(store, ListArguments(state=state, requester=requester))


def _listed(store: DecisionStore, asked: ListArguments) -> Iterator[RequestLine]:
    """The requests of this list, a page at a time."""
    asked = replace(asked, limit=MOST + 1)
    while True:
        page = listing.list_requests(store, asked)
        yield from page["requests"]
        if page["cursor"] is None:
            return
        asked = replace(asked, after=page["cursor"])
