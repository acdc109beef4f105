"""The commands notify list, test, retry and forget, and what doctor says of sinks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.configuration import named_source
from nexus_control.notify.delivering import Courier, Delivery
from nexus_control.notify.reading import sinks_of
from tests.cli.running import nexus_control
from tests.notify.receiver import SECRET, Receiver, receiving
from tests.support.governed import ALICE, data_of

FILE = "nexus-control.toml"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def folder(tmp_path: Path, receiver: Receiver) -> Path:
    (tmp_path / "hook.secret").write_text(SECRET)
    (tmp_path / FILE).write_text(f"""
[inbox]
origins = ["https://approve.example.org"]
[[notify]]
name = "chat"
kind = "webhook"
url = "{receiver.url}?token=in-the-query"
secret = {{ file = "hook.secret" }}
[[notify]]
name = "pager"
kind = "command"
command = ["sh", "-c", "exit 4"]
""")
    return tmp_path


@pytest.fixture
def tools(folder: Path) -> Iterator[NexusControlTools]:
    with NexusControlTools(folder / "store.db") as tools:
        yield tools


def run(folder: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, the answer, and everything that was printed."""
    done = nexus_control(*words, "--json", folder=folder)
    return done.returncode, json.loads(done.stdout), done.stdout + done.stderr


def step(tools: NexusControlTools, folder: Path, name: str) -> str:
    """What comes of one step of this sink's courier."""
    (sink,) = (each for each in sinks_of(named_source(folder / FILE)) if each.name == name)
    step = Courier(tools.store, sink, None).step()
    return step.outcome if isinstance(step, Delivery) else step


def ask(tools: NexusControlTools) -> str:
    return f"evt_{data_of(tools.request('Rotate', ALICE, mode='apply'))['request_id']}_1"


def test_a_test_is_marked_as_one_and_each_sink_says_what_came_back(folder: Path, receiver: Receiver) -> None:
    code, answer, printed = run(folder, "notify", "test", "--config", FILE)
    assert code == 1
    host = receiver.url.removesuffix("/hook")
    assert answer["sinks"] == [
        {
            "name": "chat",
            "kind": "webhook",
            "where": host,
            "delivered": True,
            "why": "it answered HTTP 200",
        },
        {
            "name": "pager",
            "kind": "command",
            "where": "sh",
            "delivered": False,
            "why": "the command exited with code 4",
        },
    ]
    (received,) = receiver.received
    assert (received.document["type"], received.document["data"]["what"]) == ("test", "test")
    assert received.headers["webhook-id"].startswith("test_")
    assert not {SECRET, "in-the-query"} & {word for word in (SECRET, "in-the-query") if word in printed}
    assert list(folder.glob("*.db*")) == []
    code, answer, _ = run(folder, "notify", "test", "chat", "--config", FILE)
    assert (code, len(answer["sinks"]), len(receiver.received)) == (0, 1, 2)


def test_a_name_of_no_sink_and_a_file_without_any_are_refused(
    folder: Path, tools: NexusControlTools, receiver: Receiver
) -> None:
    code, answer, _ = run(folder, "notify", "test", "chart", "--config", FILE)
    assert (code, answer["code"]) == (2, "INVALID_ARGUMENT")
    assert "chat, pager" in answer["message"]
    for words in (("notify", "test"), ("worker", "--once", "--db", "store.db")):
        code, answer, _ = run(folder, *words)
        assert (code, answer["code"]) == (2, "CONFIG_INVALID")
        assert f"the sinks of {folder / FILE} are not used" in answer["message"]
    (folder / FILE).write_text("")
    code, answer, _ = run(folder, "notify", "test", "--config", FILE)
    assert (code, answer["code"]) == (2, "CONFIG_INVALID")
    assert "[[notify]]" in answer["next"]
    assert receiver.received == []


def test_doctor_says_nothing_of_sinks_where_there_are_none(folder: Path, tools: NexusControlTools) -> None:
    ask(tools)
    code, answer, _ = run(folder, "doctor", "--db", "store.db")
    assert (code, "sinks" in answer, "sinks" in answer["checks"]) == (0, False, False)


def test_doctor_names_a_sink_that_fails_and_what_was_set_aside_until_it_is_settled(
    folder: Path, tools: NexusControlTools, receiver: Receiver
) -> None:
    for name in ("chat", "pager"):
        assert step(tools, folder, name) == "begun"
    asked = ask(tools)
    code, answer, _ = run(folder, "doctor", "--db", "store.db")
    assert (code, answer["checks"]["sinks"], answer["sinks"]) == (0, "pass", [])
    receiver.answers = [(410, {})]
    assert [step(tools, folder, name) for name in ("chat", "pager")] == ["set_aside", "failed"]
    code, answer, printed = run(folder, "doctor", "--db", "store.db")
    assert (code, answer["ok"], answer["faults"], answer["checks"]["sinks"]) == (3, False, [], "fail")
    # A sink whose message was set aside fails until it takes one.
    assert [problem.partition(" since")[0] for problem in answer["sinks"] if " since" in problem] == [
        "chat has failed",
        "pager has failed",
    ]
    assert any(f"chat was not told of {asked}" in problem for problem in answer["sinks"])
    assert "notify retry" in answer["next"]
    assert SECRET not in printed
    shown = nexus_control("doctor", "--db", "store.db", folder=folder).stdout
    assert (asked in shown, "The store is whole." in shown) == (True, True)
    code, answer, _ = run(folder, "notify", "list", "--db", "store.db", "--config", FILE)
    assert (code, [each["name"] for each in answer["sinks"]]) == (0, ["chat", "pager"])
    assert [each["event_id"] for each in answer["sinks"][0]["set_aside"]] == [asked]
    receiver.answers = [(500, {})]
    code, answer, _ = run(folder, "notify", "retry", "chat", "--db", "store.db", "--config", FILE)
    assert (code, answer["events"]) == (
        1,
        [{"event_id": asked, "delivered": False, "is_set_aside": True, "why": "it answered HTTP 500"}],
    )
    code, answer, _ = run(folder, "notify", "retry", "chat", "--db", "store.db", "--config", FILE)
    assert (code, receiver.told) == (0, [asked])
    code, answer, _ = run(folder, "notify", "forget", "pager", "--db", "store.db")
    assert (code, answer) == (0, {"name": "pager", "set_aside": 0})
    code, answer, _ = run(folder, "notify", "forget", "pager", "--db", "store.db")
    assert (code, answer["code"]) == (2, "INVALID_ARGUMENT")
    code, answer, _ = run(folder, "doctor", "--db", "store.db")
    assert (code, answer["sinks"]) == (0, [])


def test_no_command_shows_a_value_of_the_sinks(folder: Path) -> None:
    done = nexus_control("config", "show", "--config", FILE, folder=folder)
    assert ("notify" in done.stdout, "in-the-query" in done.stdout, SECRET in done.stdout) == (
        True,
        False,
        False,
    )
