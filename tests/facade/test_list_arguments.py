"""What is wrong with the arguments of a list, in the words of the other arguments."""

from datetime import UTC, date, datetime
from enum import IntEnum
from typing import Any

import pytest

from nexus_control.decision import DecisionState
from nexus_control.tool import NexusControlTools
from nexus_control.usecases.list_arguments import ListArguments
from tests.support.governed import data_of


class Seven(IntEnum):
    SEVEN = 7


INSTANT = "must be an ISO-8601 instant with an offset"
STATES = (
    "must be one of 'draft', 'pending_approval', 'approved', 'expired', 'executing', 'completed', 'failed', 'denied', "
    "'withdrawn' or 'outcome_unknown'"
)
WRONG: list[tuple[str, object, str]] = [
    ("limit", None, "must be an integer"),
    ("limit", True, "must be an integer"),
    ("limit", 2.0, "must be an integer"),
    ("limit", "5", "must be an integer"),
    ("limit", 0, "must be at least 1"),
    ("limit", 10_001, "must be at most 10000"),
    ("offset", None, "must be an integer"),
    ("offset", -1, "must be at least 0"),
    ("offset", 2**80, "must be at most 9007199254740992"),
    ("after", 5, "must be text"),
    ("after", "", "must not be empty"),
    ("after", "9" * 257, "must be at most 256 characters"),
    ("after", "\ud800", "must not hold lone surrogates"),
    ("state", "open", STATES),
    ("state", 5, STATES),
    ("state", [], STATES),
    ("label", "a" * 65, "must be at most 64 characters"),
    ("label", b"prod", "must be text"),
    ("requester", "\ud800", "must not hold lone surrogates"),
    ("requester", "a" * 257, "must be at most 256 characters"),
    ("awaiting", ["bob"], "must be text"),
    ("executable", 1, "must be true or false"),
    ("since", "2026-01-01T00:00:00", INSTANT),
    ("since", date(2026, 1, 1), INSTANT),
    ("since", datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None), "must have a UTC offset"),
    ("text", "", "must not be empty"),
    ("text", "a" * 4097, "must be at most 4096 characters"),
]


@pytest.mark.parametrize(("field", "value", "problem"), WRONG)
def test_a_wrong_value_is_refused_by_its_field(
    tools: NexusControlTools, field: str, value: Any, problem: str
) -> None:
    refused = tools.list_requests(**{field: value})
    assert refused.error == f"INVALID_ARGUMENT: {field} {problem}"
    assert refused.details == {"fields": [{"field": field, "problem": problem}]}


@pytest.mark.parametrize("field", ["label", "requester", "awaiting"])
@pytest.mark.parametrize("value", ["", " bob", "b\u200b", "b\x00b"])
def test_an_id_is_refused_as_in_a_request(tools: NexusControlTools, field: str, value: Any) -> None:
    alike = tools.execute("nowhere", value, {"type": "human", "id": "bob"}, None)
    refused = tools.list_requests(**{field: value})
    assert refused.error == (alike.error or "").replace("adapter_id", field)


def test_every_wrong_field_is_named(tools: NexusControlTools) -> None:
    refused = tools.list_requests(limit=0, executable=0, text="")  # pyright: ignore[reportArgumentType]
    assert refused.error == (
        "INVALID_ARGUMENT: limit must be at least 1; executable must be true or false; text must not be empty"
    )
    assert [each["field"] for each in (refused.details or {})["fields"]] == ["limit", "executable", "text"]


def test_values_are_kept_as_plain_ones() -> None:
    kept = ListArguments(limit=Seven.SEVEN, state=DecisionState.APPROVED, since="2026-01-02T04:04:05+01:00")
    assert type(kept.limit) is int
    assert type(kept.state) is str
    assert kept.since == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_what_is_at_a_limit_is_listed(tools: NexusControlTools) -> None:
    most = {"limit": 10_000, "offset": 2**53, "label": "a" * 64, "requester": "a" * 256, "text": "a" * 4096}
    assert data_of(tools.list_requests(**most))["count"] == 0  # pyright: ignore[reportArgumentType]
