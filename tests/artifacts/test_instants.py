from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.values.instants import format_instant, is_instant, parse_instant

OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05+00:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.1-05:30", datetime(2026, 1, 2, 8, 34, 5, 100_000, tzinfo=UTC)),
        ("2024-02-29T23:59:59.000001+23:59", datetime(2024, 2, 29, 0, 0, 59, 1, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_in_utc(text: str, instant: datetime) -> None:
    assert is_instant(text)
    assert parse_instant(text) == instant
    assert parse_instant(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04Z",
        "2026-01-02 03:04:05Z",
        "2026-01-02t03:04:05z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05.1234567Z",
        "2026-01-02T03:04:05,5Z",
        "2026-01-02T03:04:05+0000",
        "2026-01-02T03:04:05+00",
        "2026-01-02T03:04:05+00:60",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:60Z",
        "2026-01-02T24:00:00Z",
        "2025-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2026-01-02T03:04:05Z\n",
        " 2026-01-02T03:04:05Z",
        "\u0662026-01-02T03:04:05Z",
        "2026-W01-5T03:04:05Z",
    ],
)
def test_anything_else_is_not_an_instant(text: str) -> None:
    assert not is_instant(text)
    with pytest.raises(NexusControlError) as caught:
        parse_instant(text)
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=OFFSETS))  # noqa: DTZ001 - Hypothesis wants naive bounds
def test_what_is_written_is_read_back(instant: datetime) -> None:
    text = format_instant(instant)
    assert parse_instant(text) == instant
    assert text.endswith("+00:00")
    assert len(text) == len("2026-01-02T03:04:05.000006+00:00")


@given(st.text(max_size=40))
def test_no_text_raises_anything_else(text: str) -> None:
    is_instant(text)


def test_a_time_without_an_offset_is_not_written() -> None:
    with pytest.raises(NexusControlError) as caught:
        format_instant(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
