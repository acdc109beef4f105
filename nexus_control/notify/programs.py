"""Sends a message with a program: a command of the configuration, or Apprise in a process of its own.

A command gets the document on its standard input, and nothing else of ours: no shell, and of the environment only PATH,
HOME and LANG. With 0 it has taken the message; any other end is tried again. It is killed after `SECONDS`, with every
process of its session (`execution.supervised`). What it prints is read and dropped.

Apprise (the extra [apprise]) runs in `apprising.py`, so that it too is killed at its time limit, whatever service it
talks to, and sees no proxy of the environment. The URL of Apprise, which holds a token, goes to its standard input.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from nexus_control.execution.secrets import SecretSource, UnreadableSecretError
from nexus_control.execution.supervised import run_supervised
from nexus_control.execution.supervision import Ended
from nexus_control.notify import apprising
from nexus_control.notify.sinks import MOST_SECONDS, Message, Reply

SECONDS: Final = 30.0
_KEPT: Final = ("PATH", "HOME", "LANG")
_MOST_OUTPUT: Final = 4096
_SAID: Final = {
    apprising.NOT_INSTALLED: "Apprise is not installed: install the extra nexus-control[apprise]",
    apprising.NO_SERVICE: "its secret is not a URL of a service that Apprise knows",
    apprising.NOT_TAKEN: "the service did not take it",
}


@dataclass(frozen=True, slots=True)
class Command:
    """A program, which is run in `folder` with the document on its standard input."""

    argv: tuple[str, ...]
    folder: Path
    seconds: float = SECONDS
    kind: str = "command"

    @property
    def where(self) -> str:
        return self.argv[0]

    def send(self, message: Message, now: datetime) -> Reply:
        ended = _run(self.argv, self.folder, message.to_bytes() + b"\n", self.seconds)
        return _reply(ended, "the command", self.seconds)


@dataclass(frozen=True, slots=True)
class Apprise:
    """A service that Apprise knows. `secret` is its URL."""

    secret: SecretSource = field(repr=False)
    seconds: float = float(MOST_SECONDS)
    kind: str = "apprise"

    @property
    def where(self) -> str:
        return "apprise"

    def send(self, message: Message, now: datetime) -> Reply:
        try:
            url = self.secret.read().strip()
        except UnreadableSecretError as error:
            return Reply(outcome="failed", why=f"its secret cannot be read: {error}")
        script = Path(apprising.__file__)
        given = json.dumps({"url": url, "title": message.title, "body": message.text}).encode()
        ended = _run([sys.executable, "-P", "-E", str(script)], script.parent, given, self.seconds)
        if said := _SAID.get(ended.exit_code or 0):
            return Reply(outcome="failed", why=said)
        return _reply(ended, "Apprise", self.seconds)


def _run(argv: Sequence[str], folder: Path, stdin: bytes, seconds: float) -> Ended:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return run_supervised(
        argv,
        cwd=folder,
        environment={"PATH": os.defpath, **kept},
        timeout_seconds=seconds,
        max_output_bytes=_MOST_OUTPUT,
        stdin=stdin,
    )


def _reply(ended: Ended, what: str, seconds: float) -> Reply:
    if ended.ending == "exited" and ended.exit_code == 0:
        return Reply(outcome="delivered", why=f"{what} exited with code 0")
    why = {
        "exited": f"exited with code {ended.exit_code}",
        "not_started": f"could not be started: {ended.detail}",
        "timed_out": f"did not end within {seconds:g} seconds, and was killed",
        "stopped": f"was killed because {ended.detail}",
        "cancelled": f"was killed because {ended.detail}",
        "lost": "lost its supervisor, so that nobody saw its end",
    }[ended.ending]
    return Reply(outcome="failed", why=f"{what} {why}")
