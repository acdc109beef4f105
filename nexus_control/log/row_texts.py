"""What the texts in a row of a decision say: JSON that was written here, and is read strictly.

Text that says nothing which was written here is damage of the store (STORE_UNAVAILABLE), and `doctor --rebuild` makes
the row again from the log.
"""

import json
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage.contract import DecisionRow
from nexus_control.storage.faults import damaged
from nexus_control.values.actors import Actor
from nexus_control.values.executions import Lack, Outcome
from nexus_control.values.payloads import Dispatch
from nexus_control.values.records import RecordT, decode

_first_value: Callable[[str], tuple[Any, int]] = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRehearsal:
    """The rehearsal that the policy requires, at most `max_age_seconds` old, and the last one; its fields are None
    before the first. `lack` says why nobody could approve by it even when it was new.
    """

    max_age_seconds: int
    lack: Lack | None = None
    seq: int | None = None
    run_id: str | None = None
    digest: str | None = None
    at: str | None = None
    status: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a list shows of a decision beyond the row's columns. Of the approvals that stand, and were given here,
    `endless` never end, and `ends` says when the others do: the number that count at an instant follows from it,
    without the approvals. `dispatch` says who alone executes it. Where the policy needs approvals of groups, all their
    slots are filled until `filled_until`: NEVER, NO_END, or an instant as text.
    """

    requester: Actor
    required_approvals: int
    endless: int = 0
    ends: tuple[str, ...] = ()
    dispatch: Dispatch | None = None
    rehearsal: ListedRehearsal | None = None
    filled_until: str | None = None

    def are_filled(self, now: str) -> bool:
        """Whether the slots of groups are filled at this instant, which is text as `format_instant` writes it."""
        return self.filled_until is None or self.filled_until > now

    def current_approvals(self, now: str) -> int:
        """How many count at this instant, which is text as `format_instant` writes it."""
        return self.endless + (len(self.ends) - bisect_right(self.ends, now) if self.ends else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """The part of a row's `progress` that lists read."""

    listing: Listing | None = None


def listing_of(row: DecisionRow) -> Listing | None:
    """What a list shows of this row, without decoding the approvals; None before the policy is attached.

    A page has many rows. So what is written as `log.projection` writes it is read directly, and only what is not goes
    through the strict decoder.
    """
    try:
        said = parsed(row.progress)["listing"]
        requester, required, endless = said["requester"], said["required_approvals"], said["endless"]
        dispatch = said.get("dispatch")
        who, ends = Actor.shared(requester["type"], requester["id"]), tuple(said["ends"])
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        pass
    else:
        types = tuple(map(type, (required, endless, said["ends"], *ends)))
        is_known = dispatch in (None, "worker") and len(said) == (4 if dispatch is None else 5)
        if types == (int, int, list, *[str] * len(ends)) and is_known and len(requester) == 2:
            return Listing(
                requester=who, required_approvals=required, endless=endless, ends=ends, dispatch=dispatch
            )
    listing = of_row(_Listed, row.progress, row.decision_id, extra_keys=True).listing
    if listing is None and row.policy_seq >= 0:
        raise damaged_row(row.decision_id)
    return listing


def of_row(record: type[RecordT], text: str, decision_id: str, *, extra_keys: bool = False) -> RecordT:
    """What a part of a row says. Raises STORE_UNAVAILABLE where it says nothing that was written here."""
    try:
        return decoded(record, text, "projection", extra_keys=extra_keys)
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged_row(decision_id) from error


def damaged_row(decision_id: str) -> NexusControlError:
    """The fault for a row that says what was never written here."""
    return damaged(
        f"what is kept of decision {decision_id:.80} is damaged: doctor --rebuild makes it from the log",
        decision_id=decision_id[:80],
    )


def decoded(record: type[RecordT], text: str, where: str, *, extra_keys: bool = False) -> RecordT:
    return decode(record, parsed(text), where=where, code=ErrorCode.REPLAY_INVALID, extra_keys=extra_keys)


def parsed(text: str) -> Any:
    """The JSON value that is written here without any blank around it. `json.loads` takes twice as long."""
    value, end = _first_value(text)
    if end != len(text):
        raise ValueError("there is more than one value")
    return value
