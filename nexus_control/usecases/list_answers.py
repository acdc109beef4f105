"""What `list_requests` answers; the other answers are in `usecases.answers`, by the same rules."""

from typing import NotRequired

from typing_extensions import TypedDict

from nexus_control.usecases.run_answers import CancelLine, RehearsalLine
from nexus_control.values.actors import ActorData
from nexus_control.values.payloads import Dispatch, Mode, StateName


class RequestLine(TypedDict):
    """One row of a list. Lists verify no signature: approvals given here count, imported ones do not. `cancel` is as in
    `status`. `groups_filled`, where the policy needs approvals of groups, says whether it has them.
    """

    request_id: str
    created_at: str
    state: StateName
    goal: str
    mode: Mode | None
    adapter_id: str | None
    expires_at: str | None
    is_approved: bool
    executable: bool
    imported: bool
    requester: ActorData | None
    labels: list[str]
    current_approvals: int
    required_approvals: int
    cancel: NotRequired[CancelLine]
    dispatch: NotRequired[Dispatch]
    groups_filled: NotRequired[bool]
    rehearsal: NotRequired[RehearsalLine | None]


class RequestsData(TypedDict):
    """The answer of `list_requests`. Pass `cursor` as `after` for the next page; it is None on the last."""

    requests: list[RequestLine]
    count: int
    offset: int
    limit: int
    cursor: str | None
