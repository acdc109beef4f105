"""Whatever happens, SQLite and PostgreSQL answer what the model answers."""

import shutil
import tempfile
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage import open_storage
from nexus_control.storage.contract import (
    ApprovalRow,
    Claim,
    DecisionQuery,
    DecisionRow,
    Entry,
    EntryKind,
    KeptAnswer,
    Phase,
    Reader,
    Storage,
    Writer,
)
from tests.storage.contract_suite import OnPurposeError
from tests.storage.rows import APPROVED_UNTIL, T0
from tests.storage.rows import DECISION as EVENT
from tests.support.model_storage import ModelStorage
from tests.support.postgres import Cluster, open_postgres

Command: TypeAlias = Callable[[Writer], object]

KINDS: tuple[EntryKind, ...] = ("decision", "template", "import", "key", "rollback")
PHASES: tuple[Phase, ...] = ("draft", "open", "executing", "completed")
LABELS = ("%", "_", "café", 'a"b', "a\\b", "")
STREAMS = ("d1", "d2", "d3", "d4")


kinds = st.sampled_from(KINDS)
streams = st.sampled_from(STREAMS)
numbers = st.integers(0, 4)
ordinals = st.integers(1, 6)
instants = st.sampled_from(APPROVED_UNTIL)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)

entries = st.builds(
    Entry,
    kind=kinds,
    stream=streams,
    generation=st.integers(0, 1),
    seq=numbers,
    event_type=st.just("DECISION_CREATED"),
    ts=st.just(T0),
    actor_type=st.sampled_from(["human", "system"]),
    actor_id=texts,
    payload=texts,
    digest=texts,
    leaf=st.binary(min_size=32, max_size=32).map(bytes.hex),
    origin=st.sampled_from(["local", "imported"]),
)
REQUEST_KEYS, DIGESTS = ("k1", "k2"), ("a" * 64, "b" * 64)
decision_rows = st.builds(
    DecisionRow,
    decision_id=streams,
    ordinal=ordinals,
    generation=numbers,
    event_count=st.integers(0, 2),
    created_at=st.just(T0),
    last_ts=st.just(T0),
    head=texts,
    phase=st.sampled_from(PHASES),
    approved_until=instants,
    expires_at=instants,
    policy_seq=st.integers(-1, 2),
    goal=texts,
    requester=st.sampled_from(LABELS),
    labels=st.lists(st.sampled_from(LABELS), max_size=3).map(tuple),
    imported_count=numbers,
    provenance=texts,
    progress=texts,
    mode=texts,
    adapter_id=texts,
    request_key=st.sampled_from(("", *REQUEST_KEYS)),
)
people = st.sampled_from(("bob", "bób", "carol", ""))
approvals = st.lists(st.builds(ApprovalRow, people, numbers, texts), max_size=3)
answers = st.builds(KeptAnswer, st.sampled_from(DIGESTS), texts, st.booleans())
claims = st.builds(Claim, streams, numbers, numbers, texts, st.just(T0), st.booleans(), texts)
queries = st.builds(
    DecisionQuery,
    limit=numbers,
    offset=st.integers(0, 2),
    before=st.none() | st.integers(1, 6),
    phase=st.none() | st.sampled_from(PHASES),
    approved=st.none() | st.booleans(),
    expired=st.none() | st.booleans(),
    now=instants,
    label=st.none() | st.sampled_from(LABELS),
    requester=st.none() | st.sampled_from(LABELS),
)


def save_under_a_new_ordinal(row: DecisionRow) -> Command:
    return lambda rows: rows.save(row._replace(ordinal=rows.next_ordinal()))


def calls(method: str, arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Command]:
    return st.builds(methodcaller, st.just(method), arguments)


def save_what_changed(row: DecisionRow) -> Command:
    def save(rows: Writer) -> None:
        before = rows.decision_row(row.decision_id)
        rows.save(row._replace(ordinal=before.ordinal) if before else row, before)

    return save


subtrees = st.dictionaries(
    st.tuples(st.integers(1, 3), numbers), st.binary(min_size=32, max_size=32), max_size=3
)
commands = st.one_of(
    calls("replace_subtrees", subtrees),
    calls("append", st.lists(entries, max_size=3)),
    calls("save", decision_rows),
    decision_rows.map(save_under_a_new_ordinal),
    calls("replace_decision_rows", st.lists(st.tuples(decision_rows, approvals), max_size=3)),
    st.builds(methodcaller, st.just("put_approvals"), ordinals, approvals),
    st.builds(methodcaller, st.just("replace_approvals"), ordinals, approvals),
    decision_rows.map(save_what_changed),
    calls("put_claim", claims),
    calls("drop_claim", streams),
    calls("keep_answer", answers),
)


def everything(rows: Reader) -> list[object]:
    return [
        rows.log(),
        rows.log_size(),
        rows.is_filed(),
        rows.claims(),
        rows.subtrees(),
        rows.decisions(9, 0),
        *(rows.decision_row(stream) for stream in STREAMS),
        *(rows.approvals(ordinal) for ordinal in range(8)),
        *(rows.claim(stream) for stream in STREAMS),
        *(rows.decision_of(key) for key in REQUEST_KEYS),
        *(rows.answer(digest) for digest in DIGESTS),
        *(rows.first_entries(kind) for kind in KINDS),
        *(rows.generations(kind, stream) for kind in KINDS for stream in STREAMS),
        *(rows.position(kind, stream, 0, 1) for kind in KINDS for stream in STREAMS),
        *(rows.entries(kind, stream, 0) for kind in KINDS for stream in STREAMS),
    ]


def outcome(storage: Storage, commands: list[Command], *, fail: bool) -> list[object]:
    """What a write transaction of these commands says from beginning to end. A fault may show later than the command
    that caused it, so only that there was one is compared.
    """
    said: list[object] = []
    try:
        with storage.writing() as rows:
            said.extend(command(rows) for command in commands)
            said.append(everything(rows))
            said.append(rows.next_ordinal())
            if fail:
                raise OnPurposeError
    except OnPurposeError:
        said.append("rolled back")
    except NexusControlError as error:
        assert error.code == ErrorCode.STORE_UNAVAILABLE
        return ["fault"]
    return said


def written(storage: Storage, work: Callable[[Writer], object]) -> object:
    try:
        return storage.write(work)
    except OnPurposeError:
        return "nothing"
    except NexusControlError as error:
        assert error.code == ErrorCode.STORE_UNAVAILABLE
        return "nothing"


class Equivalence(RuleBasedStateMachine):
    place = ":memory:"

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.model = ModelStorage()
        self.storage = self.opened()

    def opened(self) -> Storage:
        return open_storage(self.folder / "store.db" if self.place == "file" else self.place)

    def teardown(self) -> None:
        self.storage.close()
        shutil.rmtree(self.folder)

    @rule(commands=st.lists(commands, max_size=4), fail=st.booleans())
    def transact(self, commands: list[Command], fail: bool) -> None:
        assert outcome(self.storage, commands, fail=fail) == outcome(self.model, commands, fail=fail)
        self.compare()

    @rule(row=decision_rows, given=approvals, fail=st.booleans(), leaf=st.binary(min_size=32, max_size=32))
    def write(self, row: DecisionRow, given: list[ApprovalRow], fail: bool, leaf: bytes) -> None:
        """An event of a decision, as a storage may write it at once; with any change of the row beside it."""

        def work(rows: Writer) -> object:
            before = rows.decision_row(row.decision_id)
            if before is None:
                return None
            key = (before.decision_id, before.generation, before.event_count)
            rows.append([EVENT._replace(stream=key[0], generation=key[1], seq=key[2], leaf=leaf.hex())])
            changed = row if given else before._replace(progress=row.progress, phase=row.phase)
            after = changed._replace(ordinal=before.ordinal, generation=key[1], event_count=key[2] + 1)
            rows.save(
                after._replace(head=leaf.hex(), last_ts=EVENT.ts, request_key=before.request_key), before
            )
            rows.put_approvals(before.ordinal, given[:1])
            if fail:
                raise OnPurposeError
            return rows.decision_row(row.decision_id)

        assert written(self.storage, work) == written(self.model, work)
        self.compare()

    def compare(self) -> None:
        with self.storage.reading() as rows, self.model.reading() as model:
            assert everything(rows) == everything(model)

    @rule(query=queries)
    def list_decision_rows(self, query: DecisionQuery) -> None:
        with self.storage.reading() as rows, self.model.reading() as model:
            assert rows.decision_rows(query) == model.decision_rows(query)

    @rule(kind=kinds, stream=streams, start=numbers, stop=st.none() | numbers)
    def read_a_part(self, kind: EntryKind, stream: str, start: int, stop: int | None) -> None:
        with self.storage.reading() as rows, self.model.reading() as model:
            assert rows.entries(kind, stream, 0, start, stop) == model.entries(kind, stream, 0, start, stop)
            assert rows.log(start, stop) == model.log(start, stop)
            assert rows.decisions(start, stop or 0) == model.decisions(start, stop or 0)


class EquivalenceOnFile(Equivalence):
    place = "file"

    @rule()
    def reopen(self) -> None:
        self.storage.close()
        self.storage = self.opened()


@pytest.mark.parametrize(("machine", "examples"), [(Equivalence, 40), (EquivalenceOnFile, 15)])
def test_sqlite_answers_what_the_model_answers(machine: type[Equivalence], examples: int) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=20))


def test_postgres_answers_what_the_model_answers(cluster: Cluster) -> None:
    class EquivalenceOnPostgres(EquivalenceOnFile):
        def opened(self) -> Storage:
            self.schema = cluster.new_schema() if not hasattr(self, "schema") else self.schema
            return open_postgres(cluster.url(self.schema))

        def teardown(self) -> None:
            super().teardown()
            cluster.execute(f"DROP SCHEMA {self.schema} CASCADE")

    few = settings(max_examples=15, stateful_step_count=20)
    run_state_machine_as_test(EquivalenceOnPostgres, settings=few)
