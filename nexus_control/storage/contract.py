"""The contract of a storage: rows in, rows out, in transactions. A storage knows nothing of rules, digests or
decisions.

Every storage keeps seven things:

* **entries**, append-only: (kind, stream, generation, seq) is unique and `position` numbers all entries of the store
  0, 1, 2, ... without gaps, in the order in which they were committed. Nothing is ever updated or deleted.
* **subtrees**, the hashes of the complete subtrees of the Merkle tree over the entries, leaves included. Appending an
  entry writes those that it completes, so that a root or a proof reads only a few of them. They can be rebuilt from the
  entries.
* **projections**, one row a decision: the state that its events add up to. It is written in the transaction of the
  event, so that `status` and `list_requests` need no replay, and can be rebuilt from the entries.
* **approvals**, one row for each decision and person: a part of the projection that can grow large, while an event
  changes at most one of its rows.
* **claims**: who is executing a decision at this moment. Claims are operational data, and no part of the log.
* **answers** of routers, by their digest: what the steps of a run gave back. The digest is in the log, the answer not.
* **sinks**: how far those who are told what happens were told it (`storage.sink_rows`).

A storage never reads the clock, and computes no hash but those of the tree (`formats.merkle`). The log's key, the last
checkpoint and the head lie beside the storage, in its `sidecar`.

Entries and decision rows are named tuples because they are read by the thousand: a frozen dataclass takes five times as
long to make.

Transactions: `reading()` gives one consistent snapshot. `writing()` gives the only writer of the whole store: it
commits at normal exit, durably when the call returns, and an exception rolls everything back. A transaction belongs to
the thread that opened it. Beginning one inside another of the same storage and thread, or using a reader or writer
after its end, is a defect: INTERNAL. A storage in memory may let every other thread wait during a transaction, also
during a reading one.

`close()` waits for the transactions under way (`storage.usage`). After `fork()` a storage in memory refuses to work in
the child (STORE_FORKED); `storage.sqlite_file` gives the rule for a storage in a file.

A fault of the medium or of the driver leaves the transaction as STORE_UNAVAILABLE. A key or an ordinal that is taken is
such a fault, too: under a single writer it cannot happen. A caller must let a fault end the transaction: to catch it
inside and go on would commit half of the failed call. The caller gives only well-formed Unicode, and numbers of at most
63 bits that are not negative (`policy_seq` may be -1).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import Origin
from nexus_control.facts import Phase
from nexus_control.storage.moved import Moved
from nexus_control.storage.sidecar import Sidecar
from nexus_control.storage.sink_rows import SinkReader, SinkWriter
from nexus_control.values.actors import ActorType

ResultT = TypeVar("ResultT")

BUSY_SECONDS = 30.0
"""The default time that a call waits for another transaction."""

EntryKind: TypeAlias = Literal["decision", "template", "import", "key", "rollback"]
NEVER = ""
NO_END = "~"
"""NEVER sorts before every instant that is written as UTC text, NO_END after."""


class Entry(NamedTuple):
    """One line of the store's log, ready to be stored. `payload` is canonical JSON; `leaf` is its chain hash."""

    kind: EntryKind
    stream: str
    generation: int
    seq: int
    event_type: str
    ts: str
    actor_type: ActorType
    actor_id: str
    payload: str
    digest: str
    leaf: str
    origin: Origin


class Placed(NamedTuple):
    """An entry at its position in the store's log."""

    position: int
    entry: Entry


class DecisionRow(NamedTuple):
    """The state of one decision's current generation.

    `ordinal` numbers decisions in the order in which they came to this store, from 1. `policy_seq` is where the
    policy was attached (-1: not yet). `approved_until` is the instant at which the decision stops being approved if no
    further event comes, by the approvals that were given here: NEVER, NO_END, or UTC text with microseconds.
    `expires_at` is when the request expires, NO_END if it does not. `requester` is the folded id. `head` is the last
    event's chain hash, `progress` the folded facts as JSON, `provenance` the import's details as JSON ("" if local).
    `mode` is the requested mode, `adapter_id` the adapter that the request is bound to ("" for none). `request_key` is
    unique among the decisions that were made here with an idempotency key, and "" for the others. The first
    `imported_count` events of the generation came from an import.
    """

    decision_id: str
    ordinal: int
    generation: int
    event_count: int
    created_at: str
    last_ts: str
    head: str
    phase: Phase
    approved_until: str
    expires_at: str
    policy_seq: int
    goal: str
    requester: str
    labels: tuple[str, ...]
    imported_count: int
    provenance: str
    progress: str
    mode: str
    adapter_id: str
    request_key: str


@dataclass(frozen=True, slots=True)
class DecisionQuery:
    """A page of rows, newest ordinal first. Decisions without events are not listed.

    `phase`, `approved` and `expired` filter by state: `approved` True keeps `approved_until > now`, `expired` True
    keeps `expires_at <= now`, False the rest, None all.
    `before` is a cursor: the page holds only smaller ordinals. `label` and `requester` (folded) match exactly.
    """

    limit: int
    offset: int = 0
    before: int | None = None
    phase: Phase | None = None
    approved: bool | None = None
    expired: bool | None = None
    now: str = NEVER
    label: str | None = None
    requester: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim of a process that executes (or executed) a decision: `seq` is that of EXECUTION_REQUESTED, `owner`
    JSON.

    Recording the outcome drops the claim. A claim that was given up stays with `recovered` true. Its `late_outcome`
    keeps what its owner reported too late, as JSON ("" before). `cancel` says who asked to cancel the execution, when
    and why, as JSON ("" before).
    """

    decision_id: str
    generation: int
    seq: int
    owner: str
    claimed_at: str
    recovered: bool = False
    late_outcome: str = ""
    cancel: str = ""


class ApprovalRow(NamedTuple):
    """The latest approval of one person in a decision. `person` is the folded id, `content` the approval as JSON."""

    person: str
    seq: int
    content: str


class KeptAnswer(NamedTuple):
    """A router's answer. `digest` is the bare response digest of its event; `content` is the text that the digest is
    of or, where `truncated`, a shorter JSON object.
    """

    digest: str
    content: str
    truncated: bool


class Reader(SinkReader, Protocol):
    """One consistent snapshot of the store."""

    def entries(
        self, kind: EntryKind, stream: str, generation: int, start: int = 0, stop: int | None = None
    ) -> list[Entry]:
        """Entries with start <= seq < stop, by seq."""
        ...

    def generations(self, kind: EntryKind, stream: str) -> list[int]:
        """The generations that have entries, ascending."""
        ...

    def first_entries(self, kind: EntryKind) -> list[Entry]:
        """The entry with seq 0 of each stream's generation 0, by position."""
        ...

    def log(self, start: int = 0, stop: int | None = None) -> list[Placed]:
        """Entries of all kinds with start <= position < stop, by position."""
        ...

    def log_size(self) -> int:
        """The next position."""
        ...

    def position(self, kind: EntryKind, stream: str, generation: int, seq: int) -> int | None:
        """The position of this entry in the log; None where there is no such entry."""
        ...

    def subtree(self, level: int, index: int) -> bytes:
        """The hash of the complete subtree over the leaves [index * 2^level, (index + 1) * 2^level).

        Raises STORE_UNAVAILABLE where it is not kept.
        """
        ...

    def subtrees(self) -> dict[tuple[int, int], bytes]:
        """All stored subtrees, by (level, index)."""
        ...

    def decision_row(self, decision_id: str, known: DecisionRow | None = None) -> DecisionRow | None:
        """The row as it is now. A caller that has read it before gives that as `known`, and may get it back where all
        of it is still so: a wide row takes longer to read than to compare.
        """
        ...

    def decision_rows(self, query: DecisionQuery) -> list[DecisionRow]: ...

    def approvals(self, ordinal: int) -> list[ApprovalRow]:
        """The approvals of the decision with this ordinal, by seq."""
        ...

    def decisions(self, limit: int, offset: int) -> list[tuple[str, str]]:
        """(decision id, created_at) of all decisions, also those without events, newest ordinal first."""
        ...

    def decision_of(self, request_key: str) -> str | None:
        """The id of the decision with this `request_key`, which is not ""."""
        ...

    def answer(self, digest: str) -> KeptAnswer | None:
        """The router's answer with this response digest, if it was kept."""
        ...

    def decision_ids(self, start: str, limit: int) -> list[str]:
        """The first ids of decisions at or after `start`, in the order of their code points."""
        ...

    def claim(self, decision_id: str) -> Claim | None: ...

    def claims(self) -> list[Claim]:
        """All claims, by decision id."""
        ...

    def moved(self) -> Moved | None:
        """Where the store goes on, if it was moved away from here."""
        ...

    def is_filed(self) -> bool:
        """Whether pages find each row by exactly what it says, and each approval belongs to a decision. False where
        another program wrote to the storage.
        """
        ...


class Writer(Reader, SinkWriter, Protocol):
    """The only writer of the store, until it commits. It sees its own writes."""

    def append(self, entries: Sequence[Entry]) -> None:
        """Append the entries at the next positions, in this order, and to the tree. Their leaves are bare hex."""
        ...

    def replace_subtrees(self, subtrees: Mapping[tuple[int, int], bytes]) -> None:
        """Replace all subtrees by these."""
        ...

    def next_ordinal(self) -> int:
        """The ordinal of the next new decision: one more than the largest in use."""
        ...

    def save(self, decision_row: DecisionRow, before: DecisionRow | None = None) -> None:
        """Insert or replace the decision's row. No other decision has its ordinal. `before`, if it is given, is the row
        as it is stored, with the same ordinal: only what differs from it is written.
        """
        ...

    def put_approvals(self, ordinal: int, approvals: Iterable[ApprovalRow]) -> None:
        """Insert these approvals, or replace those of the same persons."""
        ...

    def replace_decision_rows(self, decisions: Iterable[tuple[DecisionRow, Sequence[ApprovalRow]]]) -> None:
        """Replace all rows and approvals by these."""
        ...

    def replace_approvals(self, ordinal: int, approvals: Iterable[ApprovalRow]) -> None:
        """Replace all approvals of the decision with this ordinal by these."""
        ...

    def put_claim(self, claim: Claim) -> None:
        """Insert or replace the decision's claim."""
        ...

    def drop_claim(self, decision_id: str) -> None: ...

    def keep_answer(self, answer: KeptAnswer) -> None:
        """Keep a router's answer. One that is kept already stays as it is."""
        ...

    def move(self, moved: Moved | None) -> None:
        """Mark the store as moved: whatever is added from then on raises STORE_MIGRATED. None takes the mark away."""
        ...


class Storage(Protocol):
    """A place for one store. Safe to use from several threads. `name` says where it is, without a password."""

    name: str
    sidecar: Sidecar

    def reading(self) -> AbstractContextManager[Reader]: ...

    def writing(self) -> AbstractContextManager[Writer]: ...

    def write(self, work: Callable[[Writer], ResultT]) -> ResultT:
        """What `work` returns, in a writing transaction.

        A storage for which transactions are slow may run `work` on what it remembers, and again where that is no longer
        true; or in another thread, with the works of others, before one commit. Only the last run counts; so `work`
        must change nothing but through the writer. Nobody is answered before the commit.
        """
        ...

    def form_differences(self) -> list[str]:
        """Each difference from the form that this version makes, in one line: tables, the triggers that keep the log
        append-only, and indexes, also an index that does not lead to its rows. Empty for a storage without such a form.
        """
        ...

    def mend_form(self) -> None:
        """Make indexes, views and triggers as this version does, and drop added ones. Tables are left as they are."""
        ...

    def held(self) -> AbstractContextManager[None]:
        """In the block, this thread may begin transactions even after `close()`: to record what it executes."""
        ...

    def close(self) -> None:
        """Release everything, once the transactions of other threads have ended. Closing twice is allowed; any other
        call afterwards is STORE_UNAVAILABLE. Raises STORE_IN_USE inside a transaction or an execution of this thread.
        """
        ...


Derive: TypeAlias = Callable[[Writer], None]
"""Makes the rows that follow from the log, in the transaction that leads a store of an earlier form to this one."""


def unled(_: Writer) -> None:
    """The `Derive` of a storage that is opened without one: such a store is not led."""
    raise NexusControlError(
        ErrorCode.STORE_UNAVAILABLE, "This store has an earlier form: open it as a DecisionStore"
    )
