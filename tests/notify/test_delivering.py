"""A courier on a clock that stands still: in order, at least once, and never in the way."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_control import Actor, NexusControlTools
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.notify.delivering import (
    FIRST_PAUSE,
    GIVES_UP_AFTER,
    LEASE,
    LONGEST_ASKED,
    LONGEST_PAUSE,
    Courier,
    Delivery,
    Step,
)
from nexus_control.notify.sinks import EVERYTHING, MOST_SECONDS, Message, Reply, Sink
from nexus_control.notify.standing import forget_sink, problems_of_sinks, retry_set_aside, sink_lines
from nexus_control.storage.moved import Moved
from nexus_control.storage.sqlite_rows import SqliteRows
from nexus_control.store import DecisionStore
from nexus_control.system.processes import Owner
from nexus_control.values.instants import parse_instant
from tests.notify.receiver import Receiver, receiving, webhook
from tests.support.clock import FakeClock
from tests.support.governed import ALICE, BOB, data_of
from tests.support.tampering import attacking

DELIVERED = Reply(outcome="delivered", why="it answered HTTP 200")
FAILED = Reply(outcome="failed", why="it answered HTTP 503")
REFUSED = Reply(outcome="refused", why="it answered HTTP 410")


@dataclass
class Desk:
    """A target that answers what it is told to, by default that it took the message, and keeps what it saw."""

    answers: list[Reply] = field(default_factory=list[Reply])
    saw: list[str] = field(default_factory=list[str])
    at: list[datetime] = field(default_factory=list[datetime])
    meanwhile: Callable[[], object] = lambda: None
    always: Reply = DELIVERED
    kind: str = "desk"
    where: str = "here"

    def send(self, message: Message, now: datetime) -> Reply:
        self.saw.append(message.message_id)
        self.at.append(now)
        self.meanwhile()
        return self.answers.pop(0) if self.answers else self.always


class Office:
    """A store with a sink, and its couriers."""

    def __init__(self, place: Path | str = ":memory:") -> None:
        self.clock = FakeClock()
        self.tools = NexusControlTools(place, clock=self.clock)
        self.desk = Desk()
        self.sink = Sink(name="chat", events=EVERYTHING, labels=(), goal=False, target=self.desk)
        self.courier = self.another()
        assert self.courier.step() == "begun"

    @property
    def store(self) -> DecisionStore:
        return self.tools.store

    def another(self, sink: Sink | None = None) -> Courier:
        return Courier(self.store, sink or self.sink, None)

    def ask(self, **request: Any) -> str:
        """The id of the event that tells of a new request."""
        made = data_of(self.tools.request("Rotate", ALICE, mode="apply", **request))
        return f"evt_{made['request_id']}_1"

    def steps(self, courier: Courier | None = None, *, at_once: bool = False) -> list[str]:
        """The outcomes until nothing is due."""
        outcomes: list[str] = []
        while (step := (courier or self.courier).step(at_once=at_once)) != "idle":
            if isinstance(step, Delivery):
                outcomes.append(step.outcome)
                if at_once and step.outcome == "failed":
                    break
        return outcomes


@pytest.fixture
def office() -> Office:
    return Office()


def test_a_new_sink_begins_at_the_end_of_the_log_and_is_told_in_order(office: Office) -> None:
    asked = [office.ask() for _ in range(3)]
    other = office.another(replace(office.sink, name="later"))
    assert office.steps(other) == []
    assert (office.steps(), office.desk.saw) == (["delivered"] * 3, asked)
    assert office.steps() == []
    assert office.steps(other) == []
    asked.append(office.ask())
    assert (office.steps(other), office.desk.saw[-1]) == (["delivered"], asked[-1])


def test_entries_that_it_is_not_told_are_passed_over(office: Office) -> None:
    narrow = office.another(replace(office.sink, events=("approved",)))
    for number in range(510):
        office.tools.template_store.create_template(f"t{number}", ALICE)
    asked = office.ask()
    assert (narrow.step(), narrow.step(), office.steps(narrow)) == ("moved", "moved", [])
    assert (office.desk.saw, [line["behind"] for line in sink_lines(office.store)]) == ([], [0])
    request_id = asked.split("_")[1]
    data_of(office.tools.approve(request_id, BOB))
    assert (office.steps(narrow), office.desk.saw) == (["delivered"], [f"evt_{request_id}_2"])


def test_pauses_grow_to_a_quarter_of_an_hour_and_the_order_stays(office: Office) -> None:
    asked = [office.ask(), office.ask()]
    office.desk.always = FAILED
    for pause in (*(FIRST_PAUSE * 2**n for n in range(8)), LONGEST_PAUSE, LONGEST_PAUSE):
        assert office.steps() == ["failed"]
        office.clock.advance(microseconds=pause / timedelta(microseconds=1) - 1)
        assert office.steps() == []
        office.clock.advance(microseconds=1)
    assert set(office.desk.saw) == {asked[0]}
    office.desk.always = DELIVERED
    assert (office.steps(), office.desk.saw[-2:]) == (["delivered"] * 2, asked)
    office.desk.answers = [FAILED]
    asked.append(office.ask())
    assert office.steps() == ["failed"]
    office.clock.advance(seconds=FIRST_PAUSE.total_seconds())  # a success began the pauses again
    assert (office.steps(), office.desk.saw[-1]) == (["delivered"], asked[-1])


@pytest.mark.parametrize(
    ("asked_for", "waited"),
    [
        (timedelta(), FIRST_PAUSE),
        (timedelta(minutes=3), timedelta(minutes=3)),
        (timedelta(days=300), LONGEST_ASKED),
    ],
)
def test_a_receiver_may_ask_for_a_longer_pause_within_bounds(
    office: Office, asked_for: timedelta, waited: timedelta
) -> None:
    office.ask()
    office.desk.answers = [replace(FAILED, retry_after=asked_for)]
    assert office.steps() == ["failed"]
    office.clock.instant += waited - timedelta(microseconds=1)
    assert office.steps() == []
    office.clock.instant += timedelta(microseconds=1)
    assert office.steps() == ["delivered"]


def test_a_clock_that_was_set_back_does_not_stop_a_sink(office: Office) -> None:
    asked = office.ask()
    office.desk.answers = [FAILED]
    assert office.steps() == ["failed"]
    office.clock.instant -= timedelta(days=30)
    assert (office.steps(), office.desk.saw) == (["delivered"], [asked] * 2)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def test_a_receiver_that_is_down_for_an_hour_gets_each_event_in_order(
    office: Office, receiver: Receiver, tmp_path: Path
) -> None:
    courier = office.another(replace(office.sink, target=webhook(receiver.url, tmp_path)))
    receiver.is_down = True
    asked: list[str] = []
    for _ in range(60):
        asked.append(office.ask())
        assert set(office.steps(courier)) <= {"failed"}
        office.clock.advance(minutes=1)
    assert receiver.told == []
    receiver.is_down = False
    office.clock.advance(minutes=15)
    assert set(office.steps(courier)) == {"delivered"}
    assert receiver.told == asked


def test_what_is_refused_for_good_is_set_aside_named_and_the_next_has_its_turn(office: Office) -> None:
    asked = [office.ask() for _ in range(3)]
    office.desk.answers = [DELIVERED, REFUSED]
    assert (office.steps(), office.desk.saw) == (["delivered", "set_aside", "delivered"], asked)
    (line,) = sink_lines(office.store)
    assert [(each["event_id"], each["why"]) for each in line["set_aside"]] == [
        (asked[1], "it answered HTTP 410")
    ]
    assert (line["failing_since"], line["behind"]) == (None, 0)
    (problem,) = problems_of_sinks([line])
    assert problem.startswith(
        f"chat was not told of {asked[1]}, set aside at 2026-01-02T03:04:05.000006+00:00:"
    )


def test_after_a_day_of_trying_an_event_is_set_aside_and_those_of_that_day_follow_at_once(
    office: Office,
) -> None:
    asked = [office.ask(), office.ask()]
    office.desk.always = FAILED
    outcomes: list[str] = []
    while office.clock.now() - FakeClock().now() < GIVES_UP_AFTER:
        outcomes += office.steps()
        office.clock.advance(minutes=15)
    late = office.ask()
    assert (set(outcomes), set(office.desk.saw)) == ({"failed"}, {asked[0]})
    assert office.steps() == ["set_aside", "set_aside", "failed"]
    (line,) = sink_lines(office.store)
    assert [each["event_id"] for each in line["set_aside"]] == asked
    assert (line["failing_since"], line["tries"]) == ("2026-01-02T03:04:05.000006+00:00", len(outcomes) + 3)
    office.desk.always = DELIVERED
    office.clock.advance(minutes=15)
    assert (office.steps(), office.desk.saw[-1]) == (["delivered"], late)


def test_days_without_a_worker_set_nothing_aside(office: Office) -> None:
    asked = [office.ask() for _ in range(3)]
    office.desk.always = FAILED
    assert office.steps() == ["failed"]
    for _ in range(20):
        office.clock.advance(hours=62)
        assert office.steps() == ["failed"]
    office.desk.always = DELIVERED
    office.clock.advance(hours=62)
    assert (office.steps(), office.desk.saw[-3:]) == (["delivered"] * 3, asked)


def test_an_event_is_given_up_after_a_day_of_tries_in_its_own_time(office: Office) -> None:
    office.desk.always = FAILED
    early = office.ask()
    outcomes: list[str] = []
    for hour in range(30):
        for _ in range(4):
            outcomes += office.steps()
            office.clock.advance(minutes=15)
        if hour == 9:
            office.ask()
        if hour == 19:
            office.clock.advance(hours=100)  # no worker ran
    assert (outcomes.count("set_aside"), office.desk.saw.count(early)) == (1, len(office.desk.saw) - 24)


def test_a_sink_that_fails_for_ever_holds_no_other_up(office: Office) -> None:
    broken = Desk(always=FAILED)
    other = office.another(replace(office.sink, name="broken", target=broken))
    assert office.steps(other) == []
    for _ in range(100):
        office.ask()
        assert set(office.steps(other)) <= {"failed", "set_aside"}
        assert office.steps() == ["delivered"]
        office.clock.advance(hours=1)
    line, healthy = sink_lines(office.store)
    assert (line["name"], len(line["set_aside"]) + line["behind"] // 2) == ("broken", 100)
    assert problems_of_sinks([line])[0].startswith("broken has failed since")
    assert problems_of_sinks([healthy]) == []


def test_at_once_a_pause_is_not_waited_for(office: Office) -> None:
    office.ask()
    office.desk.answers = [FAILED, FAILED]
    assert [office.steps(at_once=True) for _ in range(2)] == [["failed"], ["failed"]]
    assert office.steps() == []
    assert office.steps(at_once=True) == ["delivered"]


def test_a_history_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    office = Office(tmp_path / "store.db")
    asked, whole = office.ask(), office.ask()
    with attacking(tmp_path / "store.db") as connection:
        connection.execute(
            "UPDATE entries SET payload = '{}' WHERE stream = ? AND seq = 1", (asked.split("_")[1],)
        )
    assert (office.steps(), office.desk.saw) == (["set_aside", "delivered"], [whole])
    (line,) = sink_lines(office.store)
    assert [each["event_id"] for each in line["set_aside"]] == [asked]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many entries of the log, and of histories, were read from then on."""
    counts = {"log": 0, "entries": 0}

    def counted(name: str) -> None:
        plain = getattr(SqliteRows, name)

        def read(*arguments: Any) -> list[Any]:
            found = plain(*arguments)
            counts[name] += len(found)
            return found

        monkeypatch.setattr(SqliteRows, name, read)

    counted("log")
    counted("entries")
    return counts


def test_the_log_and_each_history_are_read_once(office: Office, counts: dict[str, int]) -> None:
    request_id = office.ask(min_approvals=200).split("_")[1]
    for number in range(100):
        data_of(office.tools.approve(request_id, Actor("human", f"p{number}")))
    counts.update(log=0, entries=0)
    office.desk.answers = [DELIVERED] * 50 + [FAILED] * 20
    while office.desk.answers:
        assert office.steps(at_once=True)
    assert set(office.steps(at_once=True)) == {"delivered"}
    assert len(office.desk.saw) == 101 + 20
    # Each event is read from the log, as the next of its history, and as the one that the next history begins with.
    assert counts["log"] == 102
    assert counts["entries"] <= 2 * (101 + 20)


def test_of_what_a_sink_does_not_want_no_history_is_read(office: Office, counts: dict[str, int]) -> None:
    labelled = office.another(replace(office.sink, labels=("prod",)))
    denials = office.another(replace(office.sink, name="denials", events=("denied",)))
    assert office.steps(denials) == []
    request_id = office.ask(min_approvals=200).split("_")[1]
    for number in range(50):
        data_of(office.tools.approve(request_id, Actor("human", f"p{number}")))
    counts.update(log=0, entries=0)
    assert (office.steps(labelled), office.steps(denials), office.desk.saw) == ([], [], [])
    assert counts == {"log": 2 * 52, "entries": 0}


# --- the lease ------------------------------------------------------------------------------------------------------


def test_while_one_sends_no_other_does(office: Office) -> None:
    office.ask()
    other, steps = office.another(), list[Step]()
    office.desk.meanwhile = lambda: steps.append(other.step(at_once=True))
    assert (office.steps(), steps, len(office.desk.saw)) == (["delivered"], ["idle"], 1)


def test_a_lease_ends_by_the_clock_and_who_lost_it_moves_nothing(office: Office) -> None:
    asked, other = office.ask(), office.another()

    def overtake() -> None:
        office.desk.meanwhile = lambda: None
        office.clock.instant += LEASE
        assert other.step() != "idle"

    office.desk.meanwhile = overtake
    office.desk.answers = [DELIVERED, REFUSED]  # the first one is for the other courier
    step = office.courier.step()
    assert isinstance(step, Delivery)
    assert (step.outcome, step.why) == ("failed", REFUSED.why)
    assert office.desk.saw == [asked] * 2
    (line,) = sink_lines(office.store)
    assert (line["tries"], line["behind"], line["set_aside"]) == (0, 0, [])


def test_what_is_not_taken_by_a_sink_that_was_just_forgotten_is_not_delivered(office: Office) -> None:
    office.ask()
    office.desk.meanwhile = lambda: forget_sink(office.store, "chat")
    office.desk.answers = [FAILED]
    assert office.steps() == ["failed"]
    assert sink_lines(office.store)[0]["failing_since"] is None


def test_a_lease_is_long_enough_whenever_something_is_sent(office: Office) -> None:
    left: list[timedelta] = []

    def look() -> None:
        with office.store.reading() as session:
            row = session.rows.sink("chat")
        assert row is not None
        left.append(parse_instant(row.held_until) - office.clock.now())

    office.desk.meanwhile = look
    for seconds in (0, 80, 100, 170, 500):
        office.clock.advance(seconds=seconds)
        office.ask()
        assert office.steps() == ["delivered"]
    assert min(left) > timedelta(seconds=MOST_SECONDS)


def test_from_a_store_that_was_moved_nothing_is_sent(office: Office) -> None:
    office.ask()
    office.desk.always = REFUSED
    assert office.steps() == ["set_aside"]
    office.desk.always = DELIVERED
    office.ask()
    assert office.steps() == ["delivered"]  # the courier keeps the lease
    office.ask()
    with office.store.writing() as session:
        session.rows.move(Moved("/srv/b.db", "0" * 64))
    sent = len(office.desk.saw)
    for act in (
        office.courier.step,
        lambda: retry_set_aside(office.store, office.sink, None),
        lambda: forget_sink(office.store, "chat"),
    ):
        with pytest.raises(NexusControlError) as refusal:
            act()
        assert refusal.value.code is ErrorCode.STORE_MIGRATED
    assert len(office.desk.saw) == sent


def test_a_defect_of_a_target_is_a_failed_try_that_everybody_sees(office: Office) -> None:
    asked, other = office.ask(), office.another()

    def break_down() -> None:
        raise RuntimeError("can't start new thread")

    office.desk.meanwhile = break_down
    assert office.steps() == ["failed"]
    (problem,) = problems_of_sinks(sink_lines(office.store))
    assert "it could not be tried: unexpected RuntimeError" in problem
    office.desk.meanwhile = lambda: None
    office.clock.advance(seconds=5)
    assert (office.steps(other), office.desk.saw) == (["delivered"], [asked] * 2)


def test_a_lease_that_was_taken_after_ones_own_look_at_the_clock_counts(office: Office) -> None:
    office.ask()
    other, steps, early = office.another(), list[Step](), office.clock.now()

    def look_back() -> None:
        later, office.clock.instant = office.clock.instant, early
        steps.append(other.step(at_once=True))
        office.clock.instant = later

    office.desk.meanwhile = look_back
    office.clock.advance(seconds=30)
    assert (office.steps(), steps, len(office.desk.saw)) == (["delivered"], ["idle"], 1)


def test_a_courier_that_was_killed_before_it_moved_the_cursor_sends_again(office: Office) -> None:
    asked = [office.ask(), office.ask()]

    def die() -> None:
        raise KeyboardInterrupt

    office.desk.meanwhile = die
    with pytest.raises(KeyboardInterrupt):
        office.courier.step()
    office.desk.meanwhile = lambda: None
    other = office.another()
    assert office.steps(other) == []  # its process is alive, as far as anybody can see
    with office.store.writing() as session:
        row = session.rows.sink("chat")
        assert row is not None
        dead = Owner.find(row.holder)
        assert dead is not None
        gone = replace(dead, started="1").to_text()
        session.rows.put_sink(row._replace(holder=gone))
    assert (office.steps(other), office.desk.saw) == (["delivered"] * 2, [asked[0], *asked])


def test_who_releases_a_lease_lets_others_go_on_at_once(office: Office) -> None:
    office.ask()
    other = office.another()
    assert office.steps() == ["delivered"]
    office.ask()
    assert office.steps(other) == []
    other.release()
    assert office.steps(other) == []
    office.courier.release()
    assert office.steps(other) == ["delivered"]


# --- what an operator does ------------------------------------------------------------------------------------------


def retried(office: Office) -> list[tuple[str, bool, bool]]:
    """Which events were sent again, whether the sink took them, and whether they are still set aside."""
    lines = retry_set_aside(office.store, office.sink, None)
    return [(each["event_id"], each["delivered"], each["is_set_aside"]) for each in lines]


def still_aside(office: Office) -> list[str]:
    (line,) = sink_lines(office.store)
    return [each["event_id"] for each in line["set_aside"]]


def test_what_was_set_aside_is_sent_again_in_order_until_a_try_fails(office: Office) -> None:
    asked = [office.ask() for _ in range(4)]
    office.desk.always = REFUSED
    assert office.steps() == ["set_aside"] * 4
    office.desk.answers = [REFUSED, DELIVERED, FAILED]
    assert retried(office) == [(asked[0], False, True), (asked[1], True, False), (asked[2], False, True)]
    assert still_aside(office) == [asked[0], *asked[2:]]


def test_a_sink_that_takes_what_was_set_aside_does_not_fail_any_more(office: Office) -> None:
    office.ask()
    office.desk.always = REFUSED
    assert office.steps() == ["set_aside"]
    office.desk.always = DELIVERED
    retried(office)
    assert problems_of_sinks(sink_lines(office.store)) == []


def test_each_try_of_what_was_set_aside_has_its_own_time(office: Office) -> None:
    for _ in range(2):
        office.ask()
    office.desk.always = REFUSED
    assert office.steps() == ["set_aside"] * 2
    office.desk.always, office.desk.meanwhile = DELIVERED, lambda: office.clock.advance(seconds=9)
    retried(office)
    assert office.desk.at[-1] - office.desk.at[-2] >= timedelta(seconds=9)


def test_what_the_sink_is_no_longer_told_of_is_dropped_and_not_sent(office: Office) -> None:
    asked = [office.ask() for _ in range(2)]
    office.desk.always = REFUSED
    assert office.steps() == ["set_aside"] * 2
    office.desk.always, sent = DELIVERED, len(office.desk.saw)
    narrow = replace(office.sink, events=("denied",))
    lines = retry_set_aside(office.store, narrow, None)
    assert [(each["event_id"], each["delivered"], each["is_set_aside"]) for each in lines] == [
        (event_id, False, False) for event_id in asked
    ]
    assert {"nothing was sent" in each["why"] for each in lines} == {True}
    assert (len(office.desk.saw), still_aside(office)) == (sent, [])
    assert sink_lines(office.store)[0]["failing_since"] is not None  # nobody knows whether it takes messages


@pytest.mark.parametrize("sent", [1, 2])
def test_what_was_sent_is_told_also_where_the_store_is_lost_meanwhile(office: Office, sent: int) -> None:
    asked = [office.ask() for _ in range(3)]
    office.desk.always = REFUSED
    assert office.steps() == ["set_aside"] * 3

    def move() -> None:
        if len(office.desk.saw) == 3 + sent:
            with office.store.writing() as session:
                session.rows.move(Moved("/srv/b.db", "0" * 64))

    office.desk.always, office.desk.meanwhile = DELIVERED, move
    told = [(each, True, False) for each in asked[: sent - 1]]
    assert retried(office) == [*told, (asked[sent - 1], True, True)]
    assert len(office.desk.saw) == 3 + sent


def test_what_somebody_else_has_settled_meanwhile_is_not_sent(office: Office) -> None:
    asked = [office.ask() for _ in range(2)]
    office.desk.always = REFUSED
    assert office.steps() == ["set_aside"] * 2
    office.desk.always = DELIVERED

    def settle() -> None:
        office.desk.meanwhile = lambda: None
        with office.store.writing() as session:
            for event in session.rows.events_set_aside("chat"):
                session.rows.take_event_back("chat", event.position)

    office.desk.meanwhile = settle
    assert retried(office) == [(asked[0], True, False)]


def test_an_event_whose_history_cannot_be_read_holds_up_no_other(tmp_path: Path) -> None:
    office = Office(tmp_path / "store.db")
    asked = [office.ask() for _ in range(2)]
    office.desk.always = REFUSED
    assert office.steps() == ["set_aside"] * 2
    with attacking(tmp_path / "store.db") as connection:
        connection.execute(
            "UPDATE entries SET payload = '{}' WHERE stream = ? AND seq = 1", (asked[0].split("_")[1],)
        )
    office.desk.always = DELIVERED
    assert retried(office) == [(asked[0], False, True), (asked[1], True, False)]


def test_a_sink_that_was_forgotten_begins_at_the_end(office: Office) -> None:
    office.desk.always = REFUSED
    office.ask()
    assert office.steps() == ["set_aside"]
    office.ask()
    assert forget_sink(office.store, "chat") == 1
    office.desk.always = DELIVERED
    assert office.steps() == []
    office.ask()
    assert office.steps() == ["delivered"]
    with pytest.raises(ValueError, match="names no sink"):
        forget_sink(office.store, "chart")


# --- any order of things --------------------------------------------------------------------------------------------

acts: st.SearchStrategy[Sequence[str]] = st.lists(
    st.sampled_from(["ask", "approve", "one", "two", "fail", "work", "killed", "later"]), max_size=40
)


@settings(max_examples=60, deadline=None)
@given(acts)
def test_each_event_comes_at_least_once_and_first_in_order(happened: Sequence[str]) -> None:
    office, asked = Office(), list[str]()
    couriers = {"one": office.courier, "two": office.another()}

    def die() -> None:
        office.desk.meanwhile = lambda: None
        raise KeyboardInterrupt

    for act in happened:
        match act:
            case "ask":
                asked.append(office.ask())
            case "approve" if asked and not asked[-1].endswith("_2"):
                request_id = asked[-1].split("_")[1]
                data_of(office.tools.approve(request_id, BOB))
                asked.append(f"evt_{request_id}_2")
            case "one" | "two":
                try:
                    couriers[act].step()
                except KeyboardInterrupt:
                    couriers[act] = office.another()
            case "fail" | "work":
                office.desk.always = FAILED if act == "fail" else DELIVERED
            case "killed":
                office.desk.meanwhile = die
            case "later":
                office.clock.advance(minutes=20)
            case _:
                pass
    office.desk.meanwhile, office.desk.always = lambda: None, DELIVERED
    office.clock.advance(hours=1)
    office.steps()
    assert list(dict.fromkeys(office.desk.saw)) == asked
