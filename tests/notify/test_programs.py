"""Sinks that are programs: real ones, which hang, fork, flood and fail; and the real Apprise."""

import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from nexus_control.execution.secrets import SecretSource
from nexus_control.execution.stopping import Stop, heeding
from nexus_control.notify.programs import Apprise, Command
from nexus_control.notify.sinks import Message
from nexus_control.system.clock import SYSTEM_CLOCK
from tests.concurrency.crashing import processes_with
from tests.concurrency.test_crash import unique_seconds
from tests.notify.receiver import receiving

MESSAGE = Message(
    message_id="evt_d_1",
    request_id="d",
    document={"type": "pending", "data": {"event_id": "evt_d_1"}},
    title="Request d waits for approval",
    text="Asked by system:agent. https://approve.example.org/requests/d",
)
NOW = SYSTEM_CLOCK.now()


def shell(script: str, folder: Path, seconds: float = 30.0) -> Command:
    return Command(("sh", "-c", script), folder, seconds)


def test_a_command_gets_the_document_and_little_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    reply = shell("cat > document; env > environment", tmp_path).send(MESSAGE, NOW)
    assert reply.outcome == "delivered"
    assert json.loads((tmp_path / "document").read_text()) == MESSAGE.document
    names = {line.partition("=")[0] for line in (tmp_path / "environment").read_text().splitlines()}
    assert names <= {"PATH", "HOME", "LANG", "PWD", "SHLVL", "OLDPWD", "_"}


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 3", "the command exited with code 3"),
        ("echo s3cret >&2; exit 1", "the command exited with code 1"),
        ("kill -9 $$", "the command exited with code -9"),
        ("trap '' TERM; sleep 60", "the command did not end within 0.5 seconds, and was killed"),
        ("yes s3cret", "the command did not end within 0.5 seconds, and was killed"),
    ],
)
def test_a_command_that_does_not_take_it_is_tried_again(tmp_path: Path, script: str, why: str) -> None:
    reply = shell(script, tmp_path, 0.5).send(MESSAGE, NOW)
    assert (reply.outcome, reply.why) == ("failed", why)


def test_a_command_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    reply = Command(("no-such-program",), tmp_path).send(MESSAGE, NOW)
    assert (reply.outcome, "could not be started" in reply.why) == ("failed", True)


def test_a_command_that_reads_nothing_and_prints_floods_has_taken_it(tmp_path: Path) -> None:
    reply = shell("head -c 3000000 /dev/zero; exec 1>&-", tmp_path).send(MESSAGE, NOW)
    assert reply.outcome == "delivered"


def test_what_a_command_leaves_behind_is_ended_with_it(tmp_path: Path) -> None:
    seconds = unique_seconds()
    reply = shell(f"(trap '' TERM HUP; sleep {seconds}) & exit 0", tmp_path).send(MESSAGE, NOW)
    assert (reply.outcome, processes_with(str(seconds))) == ("delivered", [])


def test_a_command_is_killed_when_the_worker_must_end(tmp_path: Path) -> None:
    stop = Stop()
    stop.order("the worker was ended by SIGTERM")
    with heeding(stop):
        reply = shell("sleep 600", tmp_path).send(MESSAGE, NOW)
    assert (reply.outcome, "ended by SIGTERM" in reply.why) == ("failed", True)


# --- Apprise --------------------------------------------------------------------------------------------------------

needs_apprise = pytest.mark.skipif(
    find_spec("apprise") is None, reason="the extra [apprise] is not installed"
)


def apprise(folder: Path, url: str) -> Apprise:
    (folder / "service.url").write_text(f"{url}\n")
    return Apprise(SecretSource(file="service.url", base=folder))


@needs_apprise
def test_apprise_tells_a_service_the_summary_with_its_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as receiver, receiving() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        reply = apprise(tmp_path, receiver.url.replace("http://", "json://")).send(MESSAGE, NOW)
        assert (reply.outcome, len(receiver.received), proxy.received) == ("delivered", 1, [])
        document = receiver.received[0].document
    assert (document["title"], document["message"]) == (MESSAGE.title, MESSAGE.text)


@needs_apprise
def test_a_service_that_does_not_take_it_is_tried_again_and_its_url_is_not_repeated(tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.is_down = True
        reply = apprise(tmp_path, receiver.url.replace("http://", "json://s3cret:s3cret@")).send(MESSAGE, NOW)
    assert (reply.outcome, reply.why) == ("failed", "the service did not take it")


@needs_apprise
@pytest.mark.parametrize("url", ["s3cret", "nothing://s3cret", "", "json://"])
def test_a_url_that_apprise_does_not_know_is_not_repeated(tmp_path: Path, url: str) -> None:
    reply = apprise(tmp_path, url).send(MESSAGE, NOW)
    assert (reply.outcome, reply.why) == (
        "failed",
        "its secret is not a URL of a service that Apprise knows",
    )


def test_without_apprise_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    reply = apprise(tmp_path, "json://localhost").send(MESSAGE, NOW)
    assert (reply.outcome, "nexus-control[apprise]" in reply.why) == ("failed", True)


def test_a_secret_that_cannot_be_read_is_named_and_the_sink_is_tried_again(tmp_path: Path) -> None:
    reply = Apprise(SecretSource(variable="NO_SUCH_VARIABLE")).send(replace(MESSAGE, text="x"), NOW)
    assert (reply.outcome, "NO_SUCH_VARIABLE is not set" in reply.why) == ("failed", True)
