"""What the processes of a soak write down about their calls: one JSON object a line, in a file of each life's own.

    {"n": "1.3.0.17", "begun": "approve", "on": "<request id>"}      before the call
    {"n": "1.3.0.17", "code": null, "got": {"state": "approved"}}    after it returned, flushed to the disk

`n` is the nonce of the call, which the events that it makes carry. `code` is that of a refusal. A call without its
second line was killed. A last line without its end was being written then, and says nothing.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def append_line(path: Path, content: object, *, flush: bool = True) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{json.dumps(content)}\n".encode())
        if flush:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lines_of(path: Path) -> Iterator[Any]:
    """The whole lines of a file, which need not be there."""
    if path.exists():
        for line in path.read_bytes().split(b"\n")[:-1]:
            yield json.loads(line)


def without_torn_line(path: Path) -> None:
    """Cut off a last line that its writer could not end."""
    if path.exists():
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)


@dataclass
class Call:
    """One call, as its process wrote it down. `ended` is False where the process was killed in it."""

    nonce: str
    what: str
    on: str
    ended: bool = False
    code: str | None = None
    got: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_acknowledged(self) -> bool:
        return self.ended and self.code is None


def calls_in(folder: Path) -> dict[str, Call]:
    """All calls of all processes, by their nonces."""
    calls: dict[str, Call] = {}
    for path in sorted(folder.glob("*.calls")):
        for line in lines_of(path):
            if "begun" in line:
                calls[line["n"]] = Call(line["n"], line["begun"], line["on"])
            else:
                call = calls[line["n"]]
                call.ended, call.code, call.got = True, line["code"], line["got"]
    return calls
