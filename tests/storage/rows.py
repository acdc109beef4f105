"""Rows to store: every field has a default, because most tests care about one or two of them."""

from typing import Any

from nexus_control.storage.contract import NEVER, NO_END, ApprovalRow, Claim, DecisionRow, Entry

T0 = "2026-01-01T00:00:00.000000+00:00"
T1 = "2026-01-01T00:00:01.000000+00:00"
T2 = "2026-01-01T00:00:02.000000+00:00"

APPROVED_UNTIL = (NEVER, T1, T2, NO_END)

DECISION = Entry(
    kind="decision",
    stream="d1",
    generation=0,
    seq=0,
    event_type="DECISION_CREATED",
    ts=T0,
    actor_type="human",
    actor_id="alice",
    payload='{"goal":"rotate the keys"}',
    digest="a" * 64,
    leaf="b" * 64,
    origin="local",
)


def entry(stream: str = "d1", seq: int = 0, **changes: Any) -> Entry:
    return DECISION._replace(stream=stream, seq=seq, **changes)


DECISION_ROW = DecisionRow(
    decision_id="d1",
    ordinal=1,
    generation=0,
    event_count=1,
    created_at=T0,
    last_ts=T0,
    head="b" * 64,
    phase="open",
    approved_until=NEVER,
    expires_at=NO_END,
    policy_seq=-1,
    goal="rotate the keys",
    requester="alice",
    labels=(),
    imported_count=0,
    provenance="",
    progress="{}",
    mode="",
    adapter_id="",
    request_key="",
)


def decision_row(ordinal: int = 1, **changes: Any) -> DecisionRow:
    return DECISION_ROW._replace(**{"decision_id": f"d{ordinal}", "ordinal": ordinal, **changes})


def approval(person: str, seq: int = 2, content: str = "{}") -> ApprovalRow:
    return ApprovalRow(person, seq, content)


def claim(decision_id: str = "d1", seq: int = 2, owner: str = '{"pid":1}') -> Claim:
    return Claim(decision_id=decision_id, generation=0, seq=seq, owner=owner, claimed_at=T0)
