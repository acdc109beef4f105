"""Those who look on while the writers of a soak write: readers, followers of the feed, and whoever signs checkpoints.

A refused call of theirs is trouble, and is written down with its code: a reader never fails while others write.
"""

import time
from pathlib import Path
from random import Random
from typing import Any

from nexus_control import NexusControlTools
from nexus_control.errors import NexusControlError
from nexus_control.log.checkpoints import publish
from nexus_control.log.log_keys import rotate
from nexus_control.values.results import ToolResult
from tests.soak.journal import append_line, lines_of, without_torn_line

_PAUSE = 0.02
_SIGN_EVERY = 0.3
_PAGE = 200
_ROTATE = 0.03
"""How often another key signs from then on."""


class Trouble:
    """Calls that were refused."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.trouble"

    def note(self, what: str, code: str | None, text: object) -> None:
        append_line(self.path, {"what": what, "code": code, "text": str(text)})

    def ok(self, what: str, result: ToolResult[Any]) -> bool:
        if not result.success:
            self.note(what, result.error_code, result.error)
        return result.success


class Reader:
    """Lists, and looks at single decisions; what one answer says must agree with itself."""

    def __init__(self, tools: NexusControlTools, folder: Path, seed: int, name: str) -> None:
        self.tools = tools
        self.trouble = Trouble(folder, name)
        self.chance = Random(f"{seed}.{name}")

    def step(self) -> None:
        listed = self.tools.list_requests(limit=20, offset=self.chance.choice((0, 0, 50)))
        if not self.trouble.ok("list", listed):
            return
        for each in self.chance.sample(listed.data["requests"], min(3, listed.data["count"])):
            request_id = each["request_id"]
            status = self.tools.status(request_id, include_events=True)
            if self.trouble.ok("status", status):
                events = status.data.get("events", [])
                if [event["seq"] for event in events] != list(range(status.data["event_count"])):
                    self.trouble.note("status", None, f"{request_id} has other events than it counts")
            self.trouble.ok("inspect", self.tools.inspect(request_id))
        time.sleep(_PAUSE)


class Follower:
    """Reads the feed in pages, and keeps each page with the cursor to go on from as one line of a file."""

    def __init__(self, tools: NexusControlTools, folder: Path, place: str, name: str) -> None:
        self.tools = tools
        self.path = folder / f"{place}.feed"
        self.trouble = Trouble(folder, name)
        without_torn_line(self.path)
        self.cursor: int = max((page["cursor"] for page in lines_of(self.path)), default=0)

    def step(self) -> None:
        if not self.catch_up():
            time.sleep(_PAUSE)

    def catch_up(self) -> bool:
        """Whether there was something new."""
        page = self.tools.events_since(self.cursor, _PAGE)
        if not self.trouble.ok("events_since", page) or page.data["cursor"] == self.cursor:
            return False
        events = [
            [each["position"], each["request_id"], each["generation"], each["seq"], each["event_type"]]
            for each in page.data["events"]
        ]
        append_line(self.path, {"cursor": page.data["cursor"], "events": events})
        self.cursor = page.data["cursor"]
        return True


class Signer:
    """Signs checkpoints, and keeps each as if it had left the machine; the key is replaced now and then."""

    def __init__(self, tools: NexusControlTools, folder: Path, seed: int, name: str) -> None:
        self.tools = tools
        self.path = folder / f"{name}.notes"
        self.trouble = Trouble(folder, name)
        self.chance = Random(f"{seed}.{name}")

    def step(self) -> None:
        try:
            append_line(self.path, publish(self.tools.store).note)
            if self.chance.random() < _ROTATE:
                rotate(self.tools.store)
        except NexusControlError as fault:
            self.trouble.note("sign", fault.code, fault.message)
        time.sleep(_SIGN_EVERY)
