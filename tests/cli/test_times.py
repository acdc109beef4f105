import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from nexus_control.cli.times import Times

NOW = datetime(2026, 3, 2, 13, 3, tzinfo=UTC)


@pytest.fixture(autouse=True)
def berlin() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(), "14:03 today, just now"),
        (timedelta(seconds=-59), "14:02 today, just now"),
        (timedelta(minutes=-5, seconds=-30), "13:57 today, 5 min ago"),
        (timedelta(minutes=-59), "13:04 today, 59 min ago"),
        (timedelta(hours=-14), "00:03 today, 14 h ago"),
        (timedelta(hours=-15), "23:03 yesterday, 15 h ago"),
        (timedelta(days=-1), "14:03 yesterday, 1 day ago"),
        (timedelta(days=-2), "2026-02-28 14:03, 2 days ago"),
        (timedelta(days=-800), "2023-12-23 14:03, 2 years ago"),
        (timedelta(seconds=30), "14:03 today, in less than a minute"),
        (timedelta(hours=4), "18:03 today, in 4 h"),
        (timedelta(hours=10), "00:03 tomorrow, in 10 h"),
        (timedelta(days=60), "2026-05-01 15:03, in 60 days"),  # in summer time
    ],
)
def test_people_read_local_times_and_how_long_ago_they_were(span: timedelta, said: str) -> None:
    assert Times(NOW).moment((NOW + span).isoformat()) == said


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(minutes=-5), "2026-03-02 12:58 UTC, 5 min ago"),
        (timedelta(hours=4), "2026-03-02 17:03 UTC, in 4 h"),
    ],
)
def test_in_utc_a_time_names_its_day(span: timedelta, said: str) -> None:
    assert Times(NOW, utc=True).moment((NOW + span).isoformat()) == said


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(hours=1), "now"),  # a clock of another machine may be ahead
        (timedelta(seconds=-59), "now"),
        (timedelta(minutes=-59), "59m"),
        (timedelta(hours=-23), "23h"),
        (timedelta(days=-364), "364d"),
        (timedelta(days=-800), "2y"),
    ],
)
def test_an_age_has_at_most_four_characters(span: timedelta, said: str) -> None:
    assert Times(NOW).age((NOW + span).isoformat()) == said


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"])
def test_a_time_that_no_local_clock_reaches_is_shown(instant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for zone in ("UTC+12", "UTC-12"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert instant[:4] in Times(NOW).moment(instant) or "year" in Times(NOW).moment(instant)


def test_the_offset_of_an_instant_does_not_matter() -> None:
    assert Times(NOW).moment("2026-03-02T17:58:00+05:00") == "13:58 today, 5 min ago"
