"""The worker tells its sinks, in processes of its own: beside executions, after kills, and until it is told to end."""

import json
import signal
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.cli.worker_notifying import Notifying
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.notify.delivering import Courier
from nexus_control.notify.sinks import EVERYTHING, Message, Reply, Sink, What
from nexus_control.usecases.working import Action
from tests.cli.test_working import ADAPTER, CONFIG, ended, for_a_worker, next_line, worker
from tests.concurrency.crashing import processes_with
from tests.concurrency.test_crash import unique_seconds
from tests.execution.support import eventually
from tests.notify.receiver import SECRET, Receiver, answering, receiving
from tests.support.governed import ALICE, data_of


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def tools(tmp_path: Path, receiver: Receiver) -> Iterator[NexusControlTools]:
    (tmp_path / "hook.secret").write_text(SECRET)
    configure(tmp_path, hook(receiver.url))
    with NexusControlTools(tmp_path / "store.db") as tools:
        yield tools


def hook(url: str, name: str = "chat") -> str:
    return (
        f'[[notify]]\nname = "{name}"\nkind = "webhook"\nurl = "{url}"\nsecret = {{ file = "hook.secret" }}\n'
    )


def shell(script: str, name: str = "pager") -> str:
    return f'[[notify]]\nname = "{name}"\nkind = "command"\ncommand = ["sh", "-c", {json.dumps(script)}]\n'


def configure(folder: Path, *sinks: str, adapters: str = "") -> None:
    (folder / "nexus-control.toml").write_text("".join(sinks) + adapters)


def begin(folder: Path) -> None:
    """The sinks begin at the end of the log."""
    with worker(folder, "--once") as process:
        code, lines, _ = ended(process)
    assert (code, {line["outcome"] for line in lines}) == (0, {"begun"})


def ask(tools: NexusControlTools) -> str:
    return f"evt_{data_of(tools.request('Rotate', ALICE, mode='apply'))['request_id']}_1"


class Scripted:
    """A target that does what stands in its script, and then takes every message."""

    kind, where = "scripted", "here"

    def __init__(self, *script: Callable[[], object]) -> None:
        self._script = list(script)

    def send(self, message: Message, now: datetime) -> Reply:
        if self._script:
            self._script.pop(0)()
        return Reply(outcome="delivered", why="it was taken")


class Faulty(list[What]):
    """All events. The first `times` looks at them meet a defect of this program."""

    def __init__(self, times: int) -> None:
        super().__init__(EVERYTHING)
        self._times = times

    def __contains__(self, what: object) -> bool:
        if self._times:
            self._times -= 1
            fail()
        return super().__contains__(what)


def fail() -> None:
    raise RuntimeError("s3cret")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DecisionStore]:
    with DecisionStore(tmp_path / "own.db") as store:
        yield store


def notifying(
    store: DecisionStore,
    target: Scripted,
    tell: Callable[[Action], object],
    events: Collection[What] = EVERYTHING,
) -> Notifying:
    """The sink is there, and an event waits for it."""
    sink = Sink(name="own", events=events, labels=(), goal=False, target=target)
    assert Courier(store, sink, None).step() == "begun"
    ask(NexusControlTools(store))
    return Notifying(store, [sink], None, poll=timedelta(milliseconds=10), tell=tell)


def test_a_defect_is_told_in_a_line_and_the_sink_is_tried_again(store: DecisionStore) -> None:
    said: list[Action] = []
    own = notifying(store, Scripted(), said.append, Faulty(2))
    with own.going_on(lambda: timedelta(minutes=1)):
        assert eventually(lambda: len(said) == 2)
    assert [(each.sink, each.outcome, each.error_code) for each in said] == [
        ("own", "failed", "INTERNAL"),
        ("own", "delivered", None),
    ]
    assert (own.failure, "s3cret" in str(said)) == (None, False)


def test_once_a_defect_is_told_in_a_line(store: DecisionStore) -> None:
    said: list[Action] = []
    notifying(store, Scripted(), said.append, Faulty(1)).tell_all(lambda: False)
    assert [(each.outcome, each.error_code) for each in said] == [("failed", "INTERNAL")]


def test_a_thread_that_a_defect_ended_ends_the_worker(store: DecisionStore) -> None:
    own = notifying(store, Scripted(), lambda _: fail())
    with own.going_on(lambda: timedelta(minutes=1)):
        assert eventually(lambda: own.failure is not None)
    assert isinstance(own.failure, NexusControlError)
    assert own.failure.code is ErrorCode.INTERNAL


def test_a_thread_that_outlives_the_grace_prints_nothing_any_more(store: DecisionStore) -> None:
    said: list[Action] = []
    reached, over = threading.Event(), threading.Event()

    def hang() -> None:
        reached.set()
        over.wait(240)

    with notifying(store, Scripted(hang), said.append).going_on(lambda: timedelta(seconds=-2)):
        assert reached.wait(240)
        (thread,) = (each for each in threading.enumerate() if each.name == "own")
    over.set()
    thread.join()
    assert said == []


def test_a_worker_without_adapters_tells_its_sinks_with_a_line_for_each(
    tools: NexusControlTools, tmp_path: Path, receiver: Receiver
) -> None:
    begin(tmp_path)
    asked = [ask(tools) for _ in range(3)]
    with worker(tmp_path, "--once") as process:
        code, lines, said = ended(process)
    assert (code, said, receiver.told) == (0, "", asked)
    assert [line.pop("at")[:2] for line in lines] == ["20"] * 3
    assert lines[0] == {
        "what": "notify",
        "request_id": asked[0].split("_")[1],
        "execution_id": None,
        "adapter_id": None,
        "outcome": "delivered",
        "effect": None,
        "error_code": None,
        "sink": "chat",
        "event_id": asked[0],
    }


def test_once_tries_every_sink_whatever_its_pause_and_ends_with_0(
    tools: NexusControlTools, tmp_path: Path, receiver: Receiver
) -> None:
    begin(tmp_path)
    asked = ask(tools)
    receiver.answers = [(503, {"retry-after": "3600"})]
    with worker(tmp_path, "--once") as process:
        code, (line,), said = ended(process)
    assert (code, said, line["outcome"], line["error_code"], line["message"]) == (
        0,
        "",
        "failed",
        "NOT_DELIVERED",
        "it answered HTTP 503",
    )
    with worker(tmp_path, "--once") as process:
        assert [line["outcome"] for line in ended(process)[1]] == ["delivered"]
    assert receiver.told == [asked]


def test_a_receiver_that_hangs_delays_no_execution_and_no_other_sink(
    tools: NexusControlTools, tmp_path: Path, receiver: Receiver
) -> None:
    seconds = unique_seconds()
    sinks = (hook(receiver.url), shell(f"echo x >> began; exec sleep {seconds}"))
    configure(tmp_path, *sinks, adapters=CONFIG)
    begin(tmp_path)
    with worker(tmp_path, "--grace", "1s") as process:
        ask(tools)
        eventually((tmp_path / "began").exists)
        for_a_worker(tools, "note", text="one")
        lines = [next_line(process) for _ in range(5)]
        assert [line["sink"] for line in lines if line["what"] == "notify"] == ["chat"] * 4
        assert [line["adapter_id"] for line in lines if line["what"] == "execute"] == [ADAPTER]
        process.send_signal(signal.SIGTERM)
        code, lines, said = ended(process)
    assert (code, said, processes_with(str(seconds))) == (0, "", [])
    assert [(line["sink"], line["outcome"]) for line in lines] == [("pager", "failed")]
    assert "ended by SIGTERM" in lines[0]["message"]


def test_a_worker_whose_receiver_never_answers_ends_at_sigterm(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    reached, over = tmp_path / "reached", tmp_path / "over"

    def hang() -> Iterator[bytes]:
        reached.touch()
        eventually(over.exists)
        yield b""

    with answering(hang) as url:
        configure(tmp_path, hook(url))
        begin(tmp_path)
        ask(tools)
        with worker(tmp_path, "--grace", "1s") as process:
            eventually(reached.exists)
            process.send_signal(signal.SIGTERM)
            code, lines, said = ended(process)
        over.touch()
    assert (code, lines, said) == (0, [], "")


def test_a_worker_that_is_killed_between_sending_and_recording_leaves_it_to_the_next(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    configure(tmp_path, shell("cat >> got; echo >> got; while [ -e hold ]; do read x < hold; done"))
    begin(tmp_path)
    asked = [ask(tools), ask(tools)]
    (tmp_path / "hold").touch()
    with worker(tmp_path) as process:
        eventually((tmp_path / "got").exists)
        eventually(lambda: asked[0] in (tmp_path / "got").read_text())
        process.kill()
        process.wait()
    (tmp_path / "hold").unlink()
    with worker(tmp_path, "--once") as process:
        code, lines, _ = ended(process)
    assert (code, [line["event_id"] for line in lines]) == (0, asked)
    got = [json.loads(line)["data"]["event_id"] for line in (tmp_path / "got").read_text().split()]
    assert got == [asked[0], *asked]


@pytest.mark.parametrize("workers", [2, 4])
def test_of_several_workers_one_tells_each_event(
    tools: NexusControlTools, tmp_path: Path, receiver: Receiver, workers: int
) -> None:
    begin(tmp_path)
    asked = [ask(tools) for _ in range(20)]
    processes = [worker(tmp_path, "--once") for _ in range(workers)]
    outcomes = [ended(process) for process in [each.__enter__() for each in processes]]
    for each in processes:
        each.__exit__(None, None, None)
    assert {code for code, _, _ in outcomes} == {0}
    with worker(tmp_path, "--once") as process:
        outcomes.append(ended(process))
    told = [line["event_id"] for _, lines, _ in outcomes for line in lines]
    assert (receiver.told, sorted(told)) == (asked, sorted(asked))


def test_a_secret_is_in_no_line_no_process_and_not_in_the_store(
    tools: NexusControlTools, tmp_path: Path, receiver: Receiver
) -> None:
    begin(tmp_path)
    (tmp_path / "hook.secret").write_text("not-a-secret-of-this-form")
    ask(tools)
    with worker(tmp_path, "--once") as process:
        code, lines, said = ended(process)
    assert (code, said, lines[0]["outcome"], receiver.told) == (0, "", "failed", [])
    assert "not-a-secret" not in json.dumps(lines)
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        assert "not-a-secret" not in "".join(connection.iterdump())


def test_a_sink_that_is_not_whole_keeps_the_worker_from_beginning(
    tmp_path: Path, tools: NexusControlTools, receiver: Receiver
) -> None:
    configure(tmp_path, hook("http://example.org/s3cret"), adapters=CONFIG)
    for_a_worker(tools, "note", text="one")
    with worker(tmp_path, "--once") as process:
        code, lines, said = ended(process)
    assert (code, lines, "notify[0].url" in said, "s3cret" in said) == (2, [], True, False)
    assert not (tmp_path / "notes").exists()
