"""Any single change to a store's file is found, whoever made it past the library; and a history that its owner wrote
anew, with everything that hangs on it and the log's own key, is found by a checkpoint that was saved elsewhere.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from nexus_control import DecisionStore
from nexus_control.storage.contract import Entry, Placed
from nexus_control.upkeep import Fault, find_faults
from tests.cli.running import Commands
from tests.support.tampering import Log, Victim, attacking, busy_store, changed, forged, rewritten, sealed

MALLORY = "mallory"

Change: TypeAlias = Callable[[Log, int], Iterator[Log]]
"""What can be done of one kind to the row at a position."""


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return busy_store(tmp_path_factory.mktemp("victim"))


def faults_of(path: Path) -> list[Fault]:
    with DecisionStore(path) as store:
        return find_faults(store)


def payload(log: Log, position: int) -> Iterator[Log]:
    content = json.loads(log[position].entry.payload)
    for altered in _each_altered(content):
        text = json.dumps(altered, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        yield changed(log, position, payload=text)


def _each_altered(value: Any) -> Iterator[Any]:
    """The value with each of its leaves changed, one at a time."""
    match value:
        case dict() if value:
            for key, inner in value.items():
                yield from ({**value, key: altered} for altered in _each_altered(inner))
        case list() if value:
            for number, inner in enumerate(value):
                for altered in _each_altered(inner):
                    yield [*value[:number], altered, *value[number + 1 :]]
        case bool():
            yield not value
        case int():
            yield value + 1
        case str():
            yield f"{value}x"
        case _:
            yield "x"


def column(name: str, *values: Any) -> Change:
    """Each of these values, or what these functions make of an entry, in one column."""

    def change(log: Log, position: int) -> Iterator[Log]:
        entry = log[position].entry
        for value in values:
            altered = value(entry) if callable(value) else value
            if altered != getattr(entry, name):
                yield changed(log, position, **{name: altered})

    return change


def other_stream(log: Log, position: int) -> Iterator[Log]:
    streams = {entry.stream for _, entry in log} | {"elsewhere"}
    for stream in sorted(streams - {log[position].entry.stream}):
        yield changed(log, position, stream=stream)


COLUMNS: dict[str, Change] = {
    "payload": payload,
    "actor id": column("actor_id", MALLORY, lambda entry: entry.actor_id.upper()),
    "actor type": column("actor_type", "human", "system"),
    "time": column("ts", "2026-01-02T03:04:05.000005+00:00", lambda entry: entry.ts.replace("+00:00", "Z")),
    "event type": column(
        "event_type", "APPROVAL_GRANTED", "APPROVAL_DENIED", "DECISION_WITHDRAWN", "IMPORTED"
    ),
    "digest": column("digest", lambda entry: entry.digest[::-1], lambda entry: entry.digest.upper()),
    "leaf": column("leaf", lambda entry: entry.leaf[::-1], lambda entry: entry.leaf.upper()),
    "origin": column("origin", "local", "imported"),
    "stream": other_stream,
    "seq": column("seq", lambda entry: entry.seq + 1, lambda entry: entry.seq + 100),
    "generation": column(
        "generation", lambda entry: entry.generation + 1, lambda entry: entry.generation + 9
    ),
    "kind": column("kind", "decision", "template", "import", "key"),
}
