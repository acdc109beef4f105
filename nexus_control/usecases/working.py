"""What a worker does, one thing at a time: it executes, once, what was requested for a worker with an adapter it has,
and rehearses what people cannot approve without a rehearsal.

    worklist = Worklist(router.adapters.ids())
    worklist.look(store)
    while (due := worklist.next(store.clock.now())) is not None:
        action = work(store, router, actor, worklist, due)

The first look scans the open decisions. Each later one reads the log from where the last one ended, so that a look
costs nothing where nothing has happened. What an event has touched is looked at; so nothing is ever waited for.

A refusal to execute is remembered. It is told once for each reason, and the decision is looked at again when an event
touches it, or after a pause that grows. Of several workers the claim lets one execute; the others go on quietly.
Nothing is run twice, and no failure is run again.

Where the policy requires a rehearsal, the worker makes the first one at once. It makes another one when the last good
one has become too old for an approval, but not within `FIRST_PAUSE` of it. One that failed is made again only when an
event has come after its end, such as a revocation, or what a person found out of an unknown outcome.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias, cast

from nexus_control.blocking import BlockingReasonData
from nexus_control.decision import DecisionState, state_at
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.router import RouterProtocol
from nexus_control.log.row_texts import ListedRehearsal, listing_of
from nexus_control.log.session import ReadSession
from nexus_control.rules.book import RuleBook
from nexus_control.storage.contract import DecisionQuery, DecisionRow
from nexus_control.store import DecisionStore
from nexus_control.usecases.arguments import ExecuteArguments, RecoverArguments, validated
from nexus_control.usecases.executing import execute
from nexus_control.usecases.settling import recover
from nexus_control.values.actors import Actor
from nexus_control.values.executions import is_repeatable
from nexus_control.values.instants import format_instant, parse_instant
from nexus_control.values.payloads import Effect

What: TypeAlias = Literal["execute", "rehearse", "refuse", "recover", "checkpoint", "store", "notify"]

FIRST_PAUSE: Final = timedelta(seconds=30)
LONGEST_PAUSE: Final = timedelta(hours=1)
_BATCH: Final = 500
_OF_THE_STORE: Final = {
    ErrorCode.STORE_UNAVAILABLE,
    ErrorCode.STORE_REPLACED,
    ErrorCode.STORE_FORKED,
    ErrorCode.STORE_MIGRATED,
    ErrorCode.INTERNAL,
}
"""Faults that no other decision would be spared."""
_HAVING_RUN: Final = {ErrorCode.ROUTER_ERROR, ErrorCode.OUTCOME_UNKNOWN, ErrorCode.OUTCOME_REFUSED}
_TAKEN: Final = {ErrorCode.EXECUTING, ErrorCode.DECISION_NOT_FOUND, ErrorCode.INVALID_STATE}
"""Another worker was faster, or the decision is gone."""
_UNTIL_AN_EVENT: Final = {
    "ALREADY_EXECUTED", "EXECUTION_FAILED", "DENIED", "WITHDRAWN", "EXPIRED", "EXECUTING", "OUTCOME_UNKNOWN",
    "APPROVAL_EXPIRED", "MISSING_APPROVALS",
}  # fmt: skip
"""Reasons that time does not remove: the decision was ended, claimed or lost an approval after it was looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What was done, for one line of the worker's output. `reasons` are the codes of a refusal, `size` is that of the
    log in a checkpoint, and `message` says why the store, a checkpoint's place or a sink cannot be used. `sink` was
    told of the event `event_id`, or was not.
    """

    what: What
    request_id: str | None = None
    execution_id: str | None = None
    adapter_id: str | None = None
    outcome: str
    effect: Effect | None = None
    error_code: str | None = None
    reasons: tuple[str, ...] = ()
    size: int | None = None
    sink: str | None = None
    event_id: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A decision to be executed with the adapter that it names; or to be rehearsed, when it is later than `after`."""

    request_id: str
    adapter_id: str
    is_rehearsal: bool = False
    after: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Refusal:
    reasons: tuple[str, ...]
    pause: timedelta
    until: datetime


class Worklist:
    """The decisions to be executed with one of these adapters, in the order in which they were found."""

    def __init__(self, adapter_ids: Collection[str]) -> None:
        self._adapters = frozenset(adapter_ids)
        self._cursor: int | None = None
        self._due: dict[str, Due] = {}
        self._refusals: dict[str, _Refusal] = {}

    def look(self, store: DecisionStore) -> None:
        """Find what has become due since the last look. Raises STORE_REPLACED where the log has become shorter."""
        with store.reading() as session:
            size = session.rows.log_size()
            if self._cursor is None:
                found = list(self._scanned(session))
            else:
                found = list(_touched(session, self._cursor, size))
            for row in found:
                self._judge(session, row)
            self._cursor = size

    def _scanned(self, session: ReadSession) -> Iterator[DecisionRow]:
        """The open decisions, oldest first."""
        query = DecisionQuery(limit=_BATCH, phase="open", expired=False, now=format_instant(session.now))
        kept: list[DecisionRow] = []
        while rows := session.rows.decision_rows(query):
            kept += (row for row in rows if row.adapter_id in self._adapters)
            query = replace(query, before=rows[-1].ordinal)
        return reversed(kept)

    def _judge(self, session: ReadSession, row: DecisionRow) -> None:
        if (due := self._due_in(session, row)) is None:
            self.drop(row.decision_id)
            return
        self._due[due.request_id] = due
        if refused := self._refusals.get(due.request_id):
            self._refusals[due.request_id] = replace(refused, until=session.now)

    def _due_in(self, session: ReadSession, row: DecisionRow) -> Due | None:
        if row.phase != "open" or row.adapter_id not in self._adapters:
            return None
        listing, now = listing_of(row), format_instant(session.now)
        if listing is None or listing.dispatch != "worker":
            return None
        is_approved = row.approved_until > now
        if row.imported_count and not is_approved:  # which of its signatures are trusted, the claim finds out
            facts = session.decision(row.decision_id).facts
            is_approved = state_at(facts, session.now) is DecisionState.APPROVED
        due = Due(request_id=row.decision_id, adapter_id=row.adapter_id)
        if is_approved:
            return due
        return None if listing.rehearsal is None else _rehearsing(due, listing.rehearsal, row.event_count)

    def next(self, now: datetime) -> Due | None:
        """The first decision that is due now."""
        return next((due for due in self._due.values() if self._may_be_tried(due, now)), None)

    def _may_be_tried(self, due: Due, now: datetime) -> bool:
        if due.after is not None and now <= due.after:
            return False
        refused = self._refusals.get(due.request_id)
        if refused is None or now >= refused.until:
            return True
        return refused.until - now > refused.pause  # the clock was set back

    def drop(self, request_id: str) -> None:
        """The decision is not due until an event touches it."""
        self._due.pop(request_id, None)
        self._refusals.pop(request_id, None)

    def refuse(self, request_id: str, reasons: tuple[str, ...], now: datetime) -> bool:
        """Remember a refusal; returns whether it is to be told, because it has other reasons than the last one."""
        before = self._refusals.get(request_id)
        is_new = before is None or before.reasons != reasons
        pause = FIRST_PAUSE if before is None or is_new else min(before.pause * 2, LONGEST_PAUSE)
        self._refusals[request_id] = _Refusal(reasons, pause, now + pause)
        return is_new


def _rehearsing(due: Due, last: ListedRehearsal, event_count: int) -> Due | None:
    """When the decision is to be rehearsed, which is not approved; None while nothing but an event can change that."""
    if last.lack is None and last.at is not None:  # it is good, and only grows old
        fresh = max(timedelta(seconds=last.max_age_seconds), FIRST_PAUSE)
        return replace(due, is_rehearsal=True, after=parse_instant(last.at) + fresh)
    is_due = last.lack is None or is_repeatable(last.lack, last.seq, event_count)
    return replace(due, is_rehearsal=True) if is_due else None


def _touched(session: ReadSession, cursor: int, size: int) -> Iterator[DecisionRow]:
    """The rows of the decisions that have events in this part of the log."""
    if size < cursor:
        raise NexusControlError(
            ErrorCode.STORE_REPLACED,
            f"The log has {size} entries, and had {cursor}: this is another store, or an older copy",
            {"size": size, "cursor": cursor},
        )
    touched: dict[str, None] = {}
    for start in range(cursor, size, _BATCH):
        placed = session.rows.log(start, min(start + _BATCH, size))
        touched |= {each.entry.stream: None for each in placed if each.entry.kind == "decision"}
    for decision_id in touched:
        if (row := session.rows.decision_row(decision_id)) is not None:
            yield row


def work(
    store: DecisionStore,
    router: RouterProtocol,
    actor: Actor,
    worklist: Worklist,
    due: Due,
    rules: RuleBook | None = None,
) -> Action | None:
    """Execute or rehearse a decision; None where there is nothing to tell. `rules` are as for `execute`. Raises the
    faults of the store.
    """
    values = {
        "request_id": due.request_id,
        "adapter_id": due.adapter_id,
        "actor": actor,
        "dry_run": True if due.is_rehearsal else None,
    }
    what: What = "rehearse" if due.is_rehearsal else "execute"
    done = Action(what=what, request_id=due.request_id, adapter_id=due.adapter_id, outcome="completed")
    try:
        data = execute(store, validated(ExecuteArguments, values), router, by_worker=True, rules=rules)
    except NexusControlError as fault:
        return _after(fault, worklist, done, store.clock.now())
    worklist.drop(due.request_id)
    return replace(done, execution_id=data["execution_id"], effect=data["effect"])


def _after(fault: NexusControlError, worklist: Worklist, done: Action, now: datetime) -> Action | None:
    request_id, details = done.request_id or "", fault.details
    has_run = fault.code in _HAVING_RUN and "execution_id" in details
    is_of_the_store = fault.code is ErrorCode.STORE_ROLLED_BACK and "execution_id" not in details
    if fault.code in _OF_THE_STORE or is_of_the_store:
        raise fault
    if has_run:
        worklist.drop(request_id)
        is_failure = fault.code is ErrorCode.ROUTER_ERROR
        return replace(
            done,
            execution_id=details["execution_id"],
            outcome="failed" if is_failure else "unknown",
            effect=details["effect"] if is_failure else "unknown",
            error_code=str(details.get("error_code") or details.get("reason") or fault.code),
        )
    reasons = cast("list[BlockingReasonData]", details.get("reasons", []))
    codes = tuple(reason["code"] for reason in reasons)
    if fault.code is ErrorCode.SHUTTING_DOWN:
        return None
    if fault.code in _TAKEN or _UNTIL_AN_EVENT.intersection(codes):
        worklist.drop(request_id)
        return None
    if not worklist.refuse(request_id, (str(fault.code), *codes), now):
        return None
    return replace(
        done, what="refuse", outcome="refused", effect="none", error_code=str(fault.code), reasons=codes
    )


def recover_dead(store: DecisionStore, router: object) -> list[Action]:
    """Give up the executions of this host whose process is gone: their outcome is unknown."""
    data = recover(store, validated(RecoverArguments, {}), router)
    return [
        Action(
            what="recover",
            request_id=run["request_id"],
            execution_id=run["execution_id"],
            adapter_id=_adapter_of(store, run["request_id"]),
            outcome="unknown",
            effect="unknown",
            error_code="OWNER_GONE",
        )
        for run in data["runs"]
    ]


def _adapter_of(store: DecisionStore, request_id: str) -> str | None:
    last = store.load(request_id).facts.last_execution
    return last and last.adapter_id
