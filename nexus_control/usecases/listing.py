"""Lists of decisions, newest first, read from the projection: the cost depends on the page, not on the store.

A list verifies no signature: every approval that was given here counts in it, and no imported one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Final, NotRequired, cast, get_args

from typing_extensions import TypedDict

from nexus_control.decision import DecisionState
from nexus_control.errors import invalid_argument
from nexus_control.facts import Phase
from nexus_control.log.projection import Projection, is_ahead_of, provenance_of
from nexus_control.log.row_texts import ListedRehearsal, damaged_row, listing_of
from nexus_control.log.session import ReadSession
from nexus_control.storage.contract import NO_END, DecisionQuery, DecisionRow
from nexus_control.store import DecisionStore
from nexus_control.usecases.cancels import cancel_of
from nexus_control.usecases.checks import instant
from nexus_control.usecases.list_answers import RequestLine, RequestsData
from nexus_control.usecases.list_arguments import ListArguments
from nexus_control.usecases.run_answers import CancelLine, RehearsalLine
from nexus_control.values.actors import fold_id
from nexus_control.values.executions import is_older
from nexus_control.values.instants import format_instant
from nexus_control.values.payloads import Mode, StateName

_BATCH = 200
_STATES: Final[dict[str, StateName]] = {
    each: DecisionState(each).value for each in get_args(Phase) if each != "open"
}
"""The state in each phase but the open one, where it depends on the instant."""


class _Cancelled(TypedDict):
    cancel: NotRequired[CancelLine]


def list_requests(store: DecisionStore, arguments: ListArguments) -> RequestsData:
    """A page of decisions. Pass its `cursor` as `after` for the next page; it is None on the last."""
    with store.reading() as session:
        query = _query(arguments, session.now)
        now = session.now
        if keeps := tuple(_filters(session, arguments, query.now)):
            kept = _kept(session, query, keeps)
            rows = list(islice(kept, arguments.offset, arguments.offset + query.limit))
        else:
            rows = session.rows.decision_rows(query)
        cancels = dict(_cancels(session, rows))
    page, now_text = rows[: arguments.limit], query.now
    return {
        "requests": [{**_line(row, now_text, now), **cancels.get(row.decision_id, {})} for row in page],
        "count": len(page),
        "offset": arguments.offset,
        "limit": arguments.limit,
        "cursor": str(page[-1].ordinal) if len(rows) > len(page) else None,
    }


def _query(arguments: ListArguments, now: datetime) -> DecisionQuery:
    """The rows of the page and one more, which tells whether there is another page."""
    phase, approved, expired = _state_filter(arguments)
    return DecisionQuery(
        limit=arguments.limit + 1,
        offset=arguments.offset,
        before=_cursor(arguments.after),
        phase=phase,
        approved=approved,
        expired=expired,
        now=format_instant(now),
        label=arguments.label,
        requester=fold_id(arguments.requester) if arguments.requester else None,
    )


def _state_filter(arguments: ListArguments) -> tuple[Phase | None, bool | None, bool | None]:
    """The phase, whether it is approved, and whether it has expired; None where that does not matter."""
    if arguments.awaiting is not None and arguments.state not in (None, DecisionState.PENDING_APPROVAL):
        raise invalid_argument("state", "goes with awaiting only as pending_approval")
    if arguments.awaiting is not None:
        return "open", False, False
    if arguments.executable and arguments.state not in (None, DecisionState.APPROVED):
        raise invalid_argument("state", "goes with executable only as approved")
    if arguments.executable:
        return "open", True, False
    if arguments.state is None:
        return None, None, None
    if arguments.state in (DecisionState.PENDING_APPROVAL, DecisionState.APPROVED):
        return "open", arguments.state == DecisionState.APPROVED, False
    if arguments.state == DecisionState.EXPIRED:
        return "open", None, True
    return cast("Phase", arguments.state), None, None


def _cursor(after: str | None) -> int | None:
    if after is None:
        return None
    if not (after.isascii() and after.isdigit() and len(after) < 19):
        raise invalid_argument("after", "must be the cursor of an earlier page")
    return int(after)


def _filters(
    session: ReadSession, arguments: ListArguments, now: str
) -> Iterator[Callable[[DecisionRow], bool]]:
    """What a row must fulfil beyond the query."""
    at = session.now
    if arguments.since is not None:
        since = format_instant(instant(arguments.since))
        yield lambda row: row.created_at >= since
    if arguments.text is not None:
        text = arguments.text.casefold()
        yield lambda row: text in row.goal.casefold()
    if arguments.executable is not None:
        yield lambda row: _is_executable(row, _state(row, now), at) is arguments.executable
    if arguments.awaiting is not None:
        person = fold_id(arguments.awaiting)
        yield lambda row: _may_approve(session.decision(row.decision_id), person, at)


def _kept(
    session: ReadSession, query: DecisionQuery, keeps: tuple[Callable[[DecisionRow], bool], ...]
) -> Iterator[DecisionRow]:
    """The rows of the query that pass every filter, read in batches."""
    batch = replace(query, limit=_BATCH, offset=0)
    while rows := session.rows.decision_rows(batch):
        yield from (row for row in rows if all(keep(row) for keep in keeps))
        batch = replace(batch, before=rows[-1].ordinal)


def _may_approve(decision: Projection, person: str, at: datetime) -> bool:
    """Whether this person may approve, and the approval would count."""
    facts, policy, created = decision.facts, decision.facts.policy, decision.facts.created
    if policy is None or created is None:
        return False
    if decision.provenance is not None and (decision.provenance.is_evidence_only or decision.is_ahead_of(at)):
        return False
    if not policy.able([person], created.requester) or facts.rehearsal_lack(at) is not None:
        return False
    return not any(
        a.actor.key == person and facts.is_current(a, at) and a.seq >= decision.imported_count
        for a in facts.progress.approvals
    )


def _line(row: DecisionRow, now: str, at: datetime) -> RequestLine:
    listing, state = listing_of(row), _state(row, now)
    current = listing.current_approvals(now) if listing and state != "expired" else 0
    line: RequestLine = {
        "request_id": row.decision_id,
        "created_at": row.created_at,
        "state": state,
        "goal": row.goal,
        "mode": cast("Mode", row.mode) if row.mode else None,
        "adapter_id": row.adapter_id or None,
        "expires_at": None if row.expires_at == NO_END else row.expires_at,
        "is_approved": listing is not None
        and current >= listing.required_approvals
        and listing.are_filled(now),
        "executable": _is_executable(row, state, at),
        "imported": row.imported_count > 0,
        "requester": listing.requester.to_dict() if listing else None,
        "labels": list(row.labels),
        "current_approvals": current,
        "required_approvals": listing.required_approvals if listing else 0,
    }
    if listing is not None and listing.dispatch is not None:
        line["dispatch"] = listing.dispatch
    if listing is not None and listing.filled_until is not None:
        line["groups_filled"] = state != "expired" and listing.are_filled(now)
    if listing is not None and listing.rehearsal is not None:
        line["rehearsal"] = _rehearsal(listing.rehearsal, at)
    return line


def _rehearsal(listed: ListedRehearsal, at: datetime) -> RehearsalLine | None:
    if listed.seq is None or listed.at is None or listed.status is None:
        return None
    return {
        "seq": listed.seq,
        "run_id": listed.run_id,
        "digest": listed.digest,
        "at": listed.at,
        "status": listed.status,
        "is_fresh": listed.lack is None and not is_older(listed.at, listed.max_age_seconds, at),
    }


def _cancels(session: ReadSession, rows: Sequence[DecisionRow]) -> Iterator[tuple[str, _Cancelled]]:
    """By decision, what somebody has cancelled while it is executed."""
    for row in rows:
        claim = session.rows.claim(row.decision_id) if row.phase == "executing" else None
        if claim is not None and (cancel := cancel_of(claim)) is not None:
            yield row.decision_id, {"cancel": cancel.to_line()}


def _is_executable(row: DecisionRow, state: StateName, at: datetime) -> bool:
    return state == "approved" and not _is_evidence_only(row, at)


def _state(row: DecisionRow, now: str) -> StateName:
    if row.phase != "open":
        if (state := _STATES.get(row.phase)) is None:
            raise damaged_row(row.decision_id)
        return state
    if row.expires_at <= now:
        return "expired"
    return "approved" if row.approved_until > now else "pending_approval"


def _is_evidence_only(row: DecisionRow, at: datetime) -> bool:
    """Whether an import keeps the decision from being executed here, for ever or until the clock passes its events."""
    provenance = provenance_of(row)
    if provenance is None:
        return False
    return provenance.is_evidence_only or is_ahead_of(row.imported_count, row.last_ts, at)
