"""Attackers that write to the database file past the library: rows as they lie there, changed and put back.

An attack works on a copy of a store that is closed, and of what lies beside it. Triggers are dropped and CHECKs ignored
meanwhile, since anybody who can write the file can do that. The triggers are put back, so that what is found is the
attack.
"""

import shutil
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.evidence.chain import GENESIS
from nexus_control.log.checkpoints import publish
from nexus_control.log.entries import chain_key, digest_of, leaf_of
from nexus_control.log.head import Head
from nexus_control.log.log_keys import rotate
from nexus_control.log.upkeep import accept_rollback, rebuild_derived
from nexus_control.storage.contract import Entry, Placed
from tests.support.clock import FakeClock
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, data_of, overwritten
from tests.support.routers import ScriptedRouter, good_answer

Log: TypeAlias = list[Placed]

_BESIDE = ("", ".key", ".checkpoint", ".head")


@dataclass(frozen=True)
class Victim:
    """A closed store, its log, and a checkpoint that was saved elsewhere when the log had `saved` entries."""

    path: Path
    log: Log
    note: str
    saved: int

    def copy(self, path: Path) -> Path:
        """The store at another path, with what lies beside it."""
        for suffix in _BESIDE:
            Path(f"{path}{suffix}").unlink(
                missing_ok=True
            )  # ext4 flushes a file that is cut to be written anew
            shutil.copy(f"{self.path}{suffix}", f"{path}{suffix}")
        return path

    def with_log(self, path: Path, log: Iterable[Placed]) -> Path:
        """A copy whose entries are these."""
        self.copy(path)
        with attacking(path) as rows:
            rows.execute("DELETE FROM entries")
            places = ", ".join("?" for _ in range(1 + len(Entry._fields)))
            rows.executemany(f"INSERT INTO entries VALUES ({places})", ((n, *entry) for n, entry in log))
        return path


@contextmanager
def without_triggers(connection: sqlite3.Connection) -> Generator[None]:
    """While this lasts, nothing keeps the log append-only."""
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    yield
    for _, sql in triggers:
        connection.execute(sql)


@contextmanager
def attacking(path: Path) -> Generator[sqlite3.Connection]:
    """The file, opened for writing."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        with without_triggers(connection):
            yield connection
        connection.commit()
    finally:
        connection.close()


def busy_store(folder: Path) -> Victim:
    """A store with everything that a log can hold.

    Its last entry is a template at an even position: nothing else in the store depends on that.
    """
    path = folder / "store.db"
    clock = FakeClock()
    tools = NexusControlTools(store=DecisionStore(path, clock=clock))
    publish(tools.store)
    tools.template_create(name="rotation", actor=ALICE, min_approvals=2, allowed_modes=["apply"])
    executed = _requested(tools, template_name="rotation", labels=["prod"])
    waiting = _requested(tools, min_approvals=3, plan="1. Rotate\n2. Tell", labels=["keys", "prod"])
    denied = _requested(tools)
    clock.advance(minutes=1)
    for name in ("bob", "carol", "dora"):
        data_of(tools.approve(executed, actor={"type": "human", "id": name}, comment="Read it."))
    data_of(tools.approve(waiting, actor=BOB, expires_at="2030-01-01T00:00:00+00:00"))
    data_of(tools.revoke_approval(executed, actor={"type": "human", "id": "dora"}, reason="On leave"))
    data_of(tools.deny(denied, actor=BOB, reason="Not in the freeze"))
    clock.advance(minutes=1)
    data_of(tools.execute(executed, ADAPTER, SCHEDULER, ScriptedRouter(good_answer)))
    _import_each(tools, denied, waiting)
    rotate(tools.store)
    lost = Head(size=999, root="0" * 64)
    tools.store.sidecar.slot("head").update(lambda _: lost.to_bytes())
    assert accept_rollback(tools.store, ALICE)
    data_of(tools.approve(waiting, actor={"type": "human", "id": "carol"}))
    published = publish(tools.store)
    data_of(tools.approve(waiting, actor={"type": "human", "id": "erin"}))
    tools.store.create_decision()
    for name in ("late", "later"):
        with tools.store.reading() as session:
            size = session.rows.log_size()
        if name == "late" or size % 2 == 0:
            data_of(tools.template_create(name=name, actor=BOB))
    log = log_of(tools.store)
    tools.store.close()
    assert (log[-1].entry.kind, log[-1].position % 2) == ("template", 0)
    return Victim(path=path, log=log, note=published.note, saved=published.checkpoint.size)


def _requested(tools: NexusControlTools, **asked: Any) -> str:
    request: dict[str, Any] = {"goal": "Rotate the keys", "actor": ALICE, "mode": "apply", **asked}
    return data_of(tools.request(**request))["request_id"]


def _import_each(tools: NexusControlTools, copied: str, superseded: str) -> None:
    """An import of each kind: a copy, a superseding history, and one whose digests are false."""
    bundle: dict[str, Any] = data_of(tools.export_bundle(copied))["bundle"]
    data_of(tools.import_bundle(bundle, conflict_mode="new_decision_id"))
    bundle["events"][0]["payload"]["plan"] = "Something else than its digest says"
    data_of(tools.import_bundle(bundle, conflict_mode="new_decision_id", verify_digest=False))
    data_of(overwritten(tools, superseded))


def log_of(store: DecisionStore) -> Log:
    with store.reading() as session:
        return session.rows.log()


def changed(log: Log, position: int, **columns: Any) -> Log:
    """The log with other values in one row."""
    return [Placed(n, entry._replace(**columns) if n == position else entry) for n, entry in log]


def sealed(log: Log, position: int, *, leaf: bool) -> Log:
    """The log after the digest of one row, and its chain hash too if wanted, were computed again."""
    entry = log[position].entry
    entry = entry._replace(digest=digest_of(entry))
    if leaf:
        prev = [other.leaf for n, other in log if n < position and chain_key(other) == chain_key(entry)]
        entry = entry._replace(leaf=leaf_of(entry, prev[-1] if prev else GENESIS))
    return [Placed(n, entry if n == position else other) for n, other in log]


def rewritten(entries: Iterable[Entry]) -> Log:
    """A log of these entries in which everything that hangs on them was computed again: positions, seqs, digests
    and chain hashes.
    """
    chains: dict[tuple[object, ...], tuple[int, str]] = {}
    log: Log = []
    for position, entry in enumerate(entries):
        seq, prev = chains.get(chain_key(entry), (0, GENESIS))
        entry = entry._replace(seq=0 if entry.kind == "import" else seq)
        entry = entry._replace(digest=digest_of(entry) if entry.origin == "local" else entry.digest)
        entry = entry._replace(leaf=leaf_of(entry, prev))
        chains[chain_key(entry)] = (seq + 1, entry.leaf)
        log.append(Placed(position, entry))
    return log


def forged(victim: Victim, path: Path, entries: Iterable[Entry]) -> Path:
    """The store with another history, as the owner of file and key leaves it: whole, and signed."""
    victim.with_log(path, rewritten(entries))
    for beside in ("checkpoint", "head"):
        Path(f"{path}.{beside}").unlink()
    with DecisionStore(path) as store:
        rebuild_derived(store)
        publish(store)
    return path
