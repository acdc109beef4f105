"""PostgresStorage beyond the contract: what the database refuses, what is remembered, and what a fault says."""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from operator import methodcaller
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.merkle import whole_tree
from nexus_control.storage.contract import NEVER, ApprovalRow, DecisionRow, Storage, Writer
from nexus_control.storage.faults import is_without_permission
from nexus_control.storage.postgres import is_made
from nexus_control.storage.postgres_address import address_of
from nexus_control.storage.postgres_function import LOCK
from nexus_control.storage.postgres_link import Link, connect
from nexus_control.storage.postgres_rows import PostgresRows
from nexus_control.storage.postgres_schema import VERSION, grants
from nexus_control.storage.sink_rows import EventSetAside, SinkRow
from tests.storage.contract_suite import contents, refused
from tests.storage.rows import T1, approval, claim, decision_row, entry
from tests.storage.steps import append, in_thread, log_size
from tests.support.postgres import PASSWORD, Cluster, open_postgres, psycopg_connect


@pytest.fixture
def storage(postgres_url: str) -> Iterator[Storage]:
    storage = open_postgres(postgres_url)
    yield storage
    storage.close()


@pytest.fixture
def other(postgres_url: str, storage: Storage) -> Iterator[Storage]:
    """The same store, as another process has it."""
    other = open_postgres(postgres_url)
    yield other
    other.close()


def change(sql: str, url: str) -> None:
    """As the owner of the tables, past the storage."""
    with psycopg_connect(url) as connection:
        connection.execute(sql.encode())


def leaf_of(number: int) -> str:
    return f"{number:064x}"


def begin(storage: Storage, decision_id: str = "d1", ordinal: int = 1) -> None:
    with storage.writing() as rows:
        rows.append([entry(decision_id, leaf=leaf_of(0))])
        rows.save(decision_row(ordinal, decision_id=decision_id, head=leaf_of(0)))


def next_event(
    decision_id: str = "d1", person: str = "", runs: list[int] | None = None
) -> Callable[[Writer], int]:
    """A work that appends one event, and says which `seq` it got."""

    def work(rows: Writer) -> int:
        row = rows.decision_row(decision_id)
        assert row is not None
        seq = row.event_count
        if runs is not None:
            runs.append(seq)
        rows.append([entry(decision_id, seq, leaf=leaf_of(seq))])
        rows.save(row._replace(event_count=seq + 1, head=leaf_of(seq)), row)
        rows.put_approvals(row.ordinal, [approval(person, seq)] if person else [])
        return seq

    return work


def of_decision(
    storage: Storage, decision_id: str = "d1"
) -> tuple[DecisionRow | None, list[ApprovalRow], int]:
    with storage.reading() as rows:
        row = rows.decision_row(decision_id)
        return row, rows.approvals(row.ordinal) if row else [], len(rows.entries("decision", decision_id, 0))


# --- the log is append-only for every program that writes --------------------------------------------------------

COLUMNS = "kind, stream, generation, seq, event_type, ts, actor_type, actor_id, payload, digest, leaf, origin"
REST = COLUMNS.partition(", ")[2]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE entries SET payload = '{}'",
        "UPDATE entries SET payload = '{}' WHERE false",
        "UPDATE entries SET position = 9 WHERE position = 1",
        "DELETE FROM entries WHERE position = 1",
        "TRUNCATE entries",
        "SET session_replication_role = replica; DELETE FROM entries",
        f"INSERT INTO entries SELECT 7, 'import', {REST} FROM entries WHERE position = 0",
        f"INSERT INTO entries SELECT -1, 'import', {REST} FROM entries WHERE position = 0",
        f"INSERT INTO entries SELECT 2, 'other', {REST} FROM entries WHERE position = 0",
        f"INSERT INTO entries SELECT 2, {COLUMNS} FROM entries WHERE position = 0",
        f"INSERT INTO entries SELECT 1, 'import', {REST} FROM entries WHERE position = 0"
        " ON CONFLICT (position) DO UPDATE SET payload = '{}'",
    ],
)
def test_the_database_itself_refuses_to_change_the_log(sql: str, storage: Storage, postgres_url: str) -> None:
    append(storage, "d1")
    append(storage, "d2")
    before = contents(storage)
    with pytest.raises(psycopg.IntegrityError):
        change(sql, postgres_url)
    assert contents(storage) == before


def test_the_tree_is_the_one_that_the_formats_define(storage: Storage) -> None:
    leaves = [bytes([number]) * 32 for number in range(37)]
    with storage.writing() as rows:
        rows.append([entry("d1", seq, leaf=leaf.hex()) for seq, leaf in enumerate(leaves[:20])])
    for seq, leaf in enumerate(leaves[20:], 20):
        with storage.writing() as rows:
            rows.append([entry("d1", seq, leaf=leaf.hex())])
    with storage.reading() as rows:
        assert rows.subtrees() == whole_tree(leaves)


# --- a role of an application --------------------------------------------------------------------------------------


def test_a_role_with_the_documented_grants_can_do_everything_but_change_the_log(
    cluster: Cluster, storage: Storage, postgres_url: str
) -> None:
    schema = postgres_url.rpartition("%3D")[2]
    cluster.execute("DROP ROLE IF EXISTS application; CREATE ROLE application LOGIN")
    begin(storage)
    change(grants(schema, "application"), postgres_url)
    url = cluster.url(schema, user="application")
    try:
        limited = open_postgres(url)
        assert [limited.write(next_event(person="bob")) for _ in range(3)] == [1, 2, 3]
        with limited.writing() as rows:
            rows.append([entry("d1", 4)])
            rows.save(decision_row(1, labels=("a",)))
            rows.replace_decision_rows([(decision_row(1), [])])
            rows.replace_subtrees(rows.subtrees())
            rows.replace_approvals(1, [approval("carol")])
        assert limited.form_differences() == []
        for sql in (
            "UPDATE entries SET payload = '{}'",
            "DELETE FROM entries",
            "TRUNCATE entries",
            "DROP TRIGGER entries_are_not_changed ON entries",
            "ALTER TABLE entries DISABLE TRIGGER ALL",
            "SET session_replication_role = replica",
            f"CREATE OR REPLACE FUNCTION {schema}.refuse_to_change_entries() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN RETURN NULL; END'",
            "UPDATE store SET version = 9",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                change(sql, url)
        limited.close()
    finally:
        cluster.execute("DROP OWNED BY application; DROP ROLE application")


def test_a_role_that_only_reads_is_told_who_grants_more(
    cluster: Cluster, storage: Storage, postgres_url: str
) -> None:
    schema = postgres_url.rpartition("%3D")[2]
    cluster.execute("DROP ROLE IF EXISTS auditor; CREATE ROLE auditor LOGIN")
    change("".join(grants(schema, "auditor").partition("GRANT INSERT")[:1]), postgres_url)
    try:
        limited = open_postgres(cluster.url(schema, user="auditor"))
        assert log_size(limited) == 0
        with pytest.raises(NexusControlError) as caught, limited.writing() as rows:
            rows.drop_claim("")
        assert is_without_permission(caught.value)
        assert "the role auditor" in caught.value.next
        assert "docs/howto/run-it-on-postgresql.md" in caught.value.next
        limited.close()
    finally:
        cluster.execute("DROP OWNED BY auditor; DROP ROLE auditor")


@pytest.mark.parametrize(
    ("user", "database", "more", "advice"),
    [
        ("nobody_here", "postgres", "", "Name a role"),
        ("", "no_such_database", "", "Make the database"),
        ("", "postgres", "&service=no_such_service", "Name a service"),
        ("", "postgres", "&sslmode=maybe", "?sslmode="),
        ("", "postgres", "&sslmode=require", "?sslmode="),
    ],
)
def test_a_refused_connection_says_what_to_change(
    user: str, database: str, more: str, advice: str, cluster: Cluster
) -> None:
    with pytest.raises(NexusControlError) as caught:
        open_postgres(
            cluster.url(user=user, database=database, tcp=True).rstrip("?") + f"?{more}".replace("?&", "?")
        )
    assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
    assert advice in caught.value.next


def test_a_role_that_may_not_make_a_store_is_told_who_can(cluster: Cluster) -> None:
    cluster.execute("DROP ROLE IF EXISTS visitor; CREATE ROLE visitor LOGIN")
    with pytest.raises(NexusControlError) as caught:
        open_postgres(cluster.url(cluster.new_schema(), user="visitor"))
    assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
    assert "open the store once" in caught.value.next
    cluster.execute("DROP ROLE visitor")


# --- one round trip ------------------------------------------------------------------------------------------------


def test_an_event_is_appended_on_what_is_remembered_and_equals_a_real_transaction(
    storage: Storage, other: Storage
) -> None:
    begin(storage)
    begin(other, "d2", 2)
    for person in ("bob", "carol", "bob", ""):
        storage.write(next_event("d1", person))
        with other.writing() as rows:
            next_event("d2", person)(rows)
    row, approvals, events = of_decision(storage, "d1")
    like, its_approvals, its_events = of_decision(storage, "d2")
    assert row is not None
    assert like is not None
    assert row == like._replace(decision_id="d1", ordinal=1)
    assert (approvals, events) == (its_approvals, its_events)
    assert approvals == [approval("carol", 2), approval("bob", 3)]
    with storage.reading() as rows:
        assert rows.subtrees() == whole_tree([bytes.fromhex(at.entry.leaf) for at in rows.log()])


def test_what_another_process_changed_is_noticed_and_the_work_is_done_again(
    storage: Storage, other: Storage
) -> None:
    begin(storage)
    runs: list[int] = []
    assert storage.write(next_event(runs=runs)) == 1
    assert other.write(next_event()) == 2
    assert storage.write(next_event(runs=runs)) == 3
    assert runs == [1, 2, 3]
    assert of_decision(storage)[2] == 4


def test_the_approvals_of_a_remembered_row_are_never_those_of_a_later_one(storage: Storage) -> None:
    begin(storage)
    storage.write(next_event(person="bob"))
    answers: list[tuple[int, list[ApprovalRow]]] = []
    others = [next_event(person="carol"), next_event(person="bob")]

    def work(rows: Writer) -> int:
        row = rows.decision_row("d1")
        assert row is not None
        while others:
            in_thread(partial(storage.write, others.pop(0)))
        answers.append((row.event_count, rows.approvals(row.ordinal)))
        return next_event()(rows)

    assert storage.write(work) == 4
    assert answers == [(4, [approval("carol", 2), approval("bob", 3)])]


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM approvals", "INSERT INTO approvals VALUES (1, 'carol', 1, '{}')"],
    ids=["removed", "added"],
)
def test_an_approval_that_somebody_removed_or_added_keeps_no_event_out(
    sql: str, storage: Storage, postgres_url: str
) -> None:
    begin(storage)
    storage.write(next_event(person="bob"))
    change(sql, postgres_url)
    assert [storage.write(next_event(person=person)) for person in ("bob", "carol")] == [2, 3]
    assert of_decision(storage) == (
        decision_row(1, event_count=4, head=leaf_of(3)),
        [approval("bob", 2), approval("carol", 3)],
        4,
    )


def test_a_row_that_was_repaired_under_the_same_head_is_noticed(storage: Storage, other: Storage) -> None:
    begin(storage)
    storage.write(next_event())
    row, _, _ = of_decision(storage)
    assert row is not None
    with other.writing() as rows:
        # What an event sets anew is repaired, too: a write on the row before the repair would take that back.
        rows.replace_decision_rows(
            [(row._replace(goal="repaired", progress='{"repaired":1}'), [approval("bob", 1)])]
        )
    storage.write(next_event())
    row, approvals, _ = of_decision(storage)
    assert row is not None
    assert (row.goal, row.progress, row.event_count) == ("repaired", '{"repaired":1}', 3)
    assert approvals == [approval("bob", 1)]


def test_a_work_that_waited_long_for_the_lock_is_done_again_at_its_own_time(
    storage: Storage, postgres_url: str
) -> None:
    begin(storage)
    runs: list[int] = []
    storage.write(next_event(runs=runs))
    with ThreadPoolExecutor(1) as pool, psycopg_connect(postgres_url) as connection:
        with connection.transaction():
            connection.execute(f"SELECT {LOCK}".format(schema=postgres_url.rpartition("%3D")[2]).encode())
            waiting = pool.submit(storage.write, next_event(runs=runs))
            # The server's clock, as the function reads it: until the other one has waited for more than a second.
            connection.execute(
                b"""DO $$ BEGIN WHILE NOT EXISTS (SELECT 1 FROM pg_locks
                    WHERE NOT granted AND waitstart < clock_timestamp() - interval '1100 ms')
                LOOP PERFORM pg_sleep(0.02); END LOOP; END $$"""
            )
        assert waiting.result() == 2
    assert runs == [1, 2, 2]


def test_a_refusal_rests_on_the_row_as_it_is_now(storage: Storage, other: Storage) -> None:
    begin(storage)
    storage.write(next_event())
    other.write(next_event())
    seen: list[int] = []

    def refuse_three_events(rows: Writer) -> int:
        row = rows.decision_row("d1")
        assert row is not None
        seen.append(row.event_count)
        if row.event_count < 3:
            raise LookupError
        return row.event_count

    assert storage.write(refuse_three_events) == 3
    assert seen == [2, 3]
    with pytest.raises(LookupError):
        storage.write(lambda _: [][0])  # pyright: ignore[reportUnknownLambdaType]


def test_a_work_that_needs_more_than_one_decision_is_done_in_a_real_transaction(storage: Storage) -> None:
    begin(storage)
    begin(storage, "d2", 2)

    def both(rows: Writer) -> int:
        next_event("d1")(rows)
        return next_event("d2")(rows)

    def new_decision(rows: Writer) -> int:
        ordinal = rows.next_ordinal()
        rows.save(decision_row(ordinal))
        return ordinal

    storage.write(next_event("d1"))
    assert storage.write(both) == 1
    assert storage.write(new_decision) == 3
    assert [of_decision(storage, name)[2] for name in ("d1", "d2")] == [3, 2]
    with refused(ErrorCode.STORE_UNAVAILABLE):
        storage.write(lambda rows: rows.append([entry("d1", 0)]))
    assert log_size(storage) == 5


def test_a_work_that_catches_everything_still_writes_all_or_nothing(storage: Storage) -> None:
    begin(storage)

    def careless(rows: Writer) -> int:
        seq = next_event()(rows)
        try:
            return seq + len(rows.claims())
        except LookupError:
            return -1

    assert storage.write(careless) == 1
    assert of_decision(storage)[2] == 2


def test_positions_have_no_gaps_under_eight_appenders(storage: Storage, postgres_url: str) -> None:
    others = [open_postgres(postgres_url) for _ in range(4)]
    for number in range(4):
        begin(storage, f"d{number}", number + 1)
    stop = threading.Event()
    sizes: list[int] = []

    def append_many(place: int) -> list[int]:
        # Two of the eight append to each decision: each misses what the other one wrote.
        return [others[place % 4].write(next_event(f"d{place % 4 ^ place // 4}")) for _ in range(15)]

    def read() -> None:
        while not stop.is_set():
            with storage.reading() as rows:
                size = rows.log_size()
                assert len(rows.log()) == size
                sizes.append(size)

    with ThreadPoolExecutor(9) as pool:
        reader = pool.submit(read)
        taken = list(pool.map(append_many, range(8)))
        stop.set()
        reader.result()
    assert sizes == sorted(sizes)
    assert sum(len(each) for each in taken) == 120
    with storage.reading() as rows:
        log = rows.log()
        assert [at.position for at in log] == list(range(124))
        assert rows.subtrees() == whole_tree([bytes.fromhex(at.entry.leaf) for at in log])
        assert [len(rows.entries("decision", f"d{number}", 0)) for number in range(4)] == [31] * 4
    for each in others:
        each.close()


# --- transactions ----------------------------------------------------------------------------------------------------


def test_a_reader_keeps_the_snapshot_of_its_beginning_while_others_write(storage: Storage) -> None:
    append(storage, "d1")
    with storage.reading() as rows:
        in_thread(lambda: append(storage, "d2"))
        assert rows.log_size() == 1
        in_thread(lambda: append(storage, "d3"))
        assert (rows.log_size(), len(rows.log())) == (1, 1)
    assert log_size(storage) == 3


def test_a_store_that_is_written_all_the_time_is_busy(storage: Storage, postgres_url: str) -> None:
    begin(storage)
    hasty = open_postgres(postgres_url, 0.05)
    with storage.writing() as rows:
        rows.append([entry("d2")])
        for write in (lambda: append(hasty, "d3"), lambda: hasty.write(next_event())):
            with pytest.raises(NexusControlError) as caught:
                write()
            assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
            assert "is busy" in caught.value.message
        assert log_size(hasty) == 1
    hasty.write(next_event())
    assert log_size(storage) == 3
    hasty.close()


def test_a_transaction_that_the_server_took_back_is_not_acknowledged(
    storage: Storage,
) -> None:
    begin(storage)
    for write_more in (False, True):
        with refused(ErrorCode.STORE_UNAVAILABLE), storage.writing() as rows:
            rows.append([entry("d2")])
            with suppress(psycopg.Error):
                rows.append([entry("d1")])
                rows.log_size()
            if write_more:
                rows.drop_claim("d1")
    assert log_size(storage) == 1


def test_more_threads_than_connections_wait_for_one(storage: Storage) -> None:
    with ThreadPoolExecutor(24) as pool:
        for done in [pool.submit(append, storage, f"d{number}") for number in range(48)]:
            done.result()
    assert log_size(storage) == 48


# --- faults ------------------------------------------------------------------------------------------------------


def test_a_server_that_was_restarted_is_used_again(
    cluster: Cluster, storage: Storage, other: Storage
) -> None:
    begin(storage)
    storage.write(next_event())
    for how in (signal.SIGINT, signal.SIGQUIT):
        cluster.stop(how)
        with pytest.raises(NexusControlError) as caught:
            append(storage, "d2")
        assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
        assert str(cluster.port) in caught.value.message
        cluster.start()
        storage.write(next_event())
        append(other, f"of {how}")
        assert log_size(storage) == log_size(other)
    assert of_decision(storage)[2] == 4


def test_a_transaction_in_which_the_server_goes_away_is_unavailable_and_changes_nothing(
    cluster: Cluster, storage: Storage
) -> None:
    append(storage, "d1")
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.writing() as rows:
        rows.append([entry("d2")])
        assert rows.log_size() == 2
        cluster.stop(signal.SIGQUIT)
        cluster.start()
        rows.log_size()
    with refused(ErrorCode.STORE_UNAVAILABLE), storage.reading() as rows:
        cluster.stop(signal.SIGQUIT)
        cluster.start()
        rows.log_size()
    assert log_size(storage) == 1


def fault_of_one_that_waits_for(
    cluster: Cluster, wait_event: str, call: Callable[[], object]
) -> NexusControlError:
    """What a call raises whose backend is ended while it waits for this."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(call)
        asking = f"SELECT pid FROM pg_stat_activity WHERE wait_event = '{wait_event}'"
        while not (pids := cluster.execute(asking)):
            pass
        cluster.execute(f"SELECT pg_terminate_backend({pids[0][0]})")
        with pytest.raises(NexusControlError) as caught:
            waiting.result()
    return caught.value


def test_a_lost_answer_is_an_unknown_outcome_and_is_not_sent_again(
    cluster: Cluster, storage: Storage, other: Storage
) -> None:
    begin(storage)
    storage.write(next_event())
    runs: list[int] = []
    with other.writing() as rows:  # the call of the thread waits for this transaction's lock
        rows.log_size()
        fault = fault_of_one_that_waits_for(cluster, "advisory", lambda: storage.write(next_event(runs=runs)))
    assert fault.code == ErrorCode.STORE_UNAVAILABLE
    assert fault.details["outcome"] == "unknown"
    assert "status" in fault.next
    assert runs == [2]
    assert of_decision(storage)[2] == 2


def test_a_commit_in_which_the_server_goes_away_is_an_unknown_outcome(
    cluster: Cluster, storage: Storage, postgres_url: str
) -> None:
    append(storage, "d1")

    def take() -> None:
        with storage.writing() as rows:
            rows.put_claim(claim("d1"))
            rows.save(decision_row(1))
            rows.save(decision_row(2))

    with psycopg_connect(postgres_url) as connection:
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE claims")  # a statement that is sent with the COMMIT waits for it
        fault = fault_of_one_that_waits_for(cluster, "relation", take)
    assert fault.code == ErrorCode.STORE_UNAVAILABLE
    assert fault.details["outcome"] == "unknown"


@pytest.mark.parametrize(
    "place", ["postgresql://{user}:{password}@127.0.0.1:1/team", "host=127.0.0.1 port=1 password={password}"]
)
def test_a_server_that_is_away_is_named_without_the_password(place: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        open_postgres(place.format(user="bob", password=PASSWORD), 0.1)
    assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
    assert "127.0.0.1:1" in caught.value.message
    assert PASSWORD not in repr(caught.getrepr())
    assert PASSWORD not in str(caught.value.details)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://bob:{PASSWORD}/x@server/team",
        f"postgresql://bob:{PASSWORD}@more@server/team",
        f"postgresql://bob:12/{PASSWORD}@server/team",
        f"postgresql://bob:{PASSWORD}@server:port/team",
        f"postgresql://bob@server/team?pasword={PASSWORD}",
        f"postgresql://bob:%zz{PASSWORD}@server/team",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        open_postgres(url, 0.1)
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert PASSWORD not in str(caught.getrepr(style="native"))


def test_a_wrong_password_is_unavailable_and_not_printed(cluster: Cluster) -> None:
    url = cluster.url(tcp=True).replace(PASSWORD, wrong := PASSWORD[::-1])
    with pytest.raises(NexusControlError) as caught:
        open_postgres(url, 0.1)
    assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
    assert wrong not in str(caught.getrepr(style="native"))


@pytest.mark.parametrize(
    ("url", "sslmode"),
    [
        ("postgresql://db.example.org/team", "verify-full"),
        ("postgresql://10.0.0.7/team", "verify-full"),
        ("postgresql://localhost,db.example.org/team", "verify-full"),
        ("postgresql://localhost/team?hostaddr=10.0.0.7", "verify-full"),
        ("postgresql:///team?service=team", "verify-full"),
        ("postgresql://db.example.org/team?sslmode=require", "require"),
        ("postgresql://db.example.org/team?sslmode=disable", "disable"),
        ("postgresql://localhost/team", None),
        ("postgresql://127.0.0.1:6000/team", None),
        ("postgresql://[::1]/team", None),
        ("postgresql:///team", None),
        ("postgresql:///team?host=/run/postgresql", None),
    ],
)
def test_another_machine_must_prove_who_it_is_unless_the_url_says_otherwise(
    url: str, sslmode: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    assert address_of(url, 30).parameters.get("sslmode") == sslmode


def test_the_settings_of_a_connection_are_those_that_a_store_needs(
    cluster: Cluster, storage: Storage, postgres_url: str
) -> None:
    weak = "-csynchronous_commit=off -cdefault_transaction_isolation=serializable -ctimezone=Asia/Tokyo"
    url = postgres_url + quote(f" {weak}", safe="")
    append(storage, "d1")
    address = address_of(url, 2.5)
    link = Link(address.where)
    connect(link, address, 2.5)
    names = (
        "synchronous_commit",
        "default_transaction_isolation",
        "TimeZone",
        "lock_timeout",
        "statement_timeout",
    )
    assert [link.execute(f"SHOW {name}")[0][0] for name in names] == [
        "on",
        "read committed",
        "UTC",
        "2500ms",
        "62500ms",
    ]
    assert link.execute("SELECT count(*) FROM entries") == [(1,)]
    link.close()


@pytest.mark.parametrize(
    "schema", ["it's", "a%sb", '"a,b"', "a,b", "a b", "a-b", "1a", "é", '"a"', "$user", ""]
)
def test_a_schema_with_an_odd_name_is_refused_before_anything_is_connected(schema: str) -> None:
    option = "-csearch_path=" + schema.replace(" ", "\\ ")
    with pytest.raises(NexusControlError) as caught:
        address_of(f"postgresql://localhost/team?options={quote(option, safe='')}", 30)
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert "search_path" in caught.value.message


@pytest.mark.parametrize(
    "work",
    [
        methodcaller("is_filed"),
        methodcaller("replace_subtrees", {}),
        methodcaller("replace_decision_rows", []),
    ],
    ids=["is_filed", "replace_subtrees", "replace_decision_rows"],
)
def test_work_on_the_whole_store_may_take_longer_than_other_statements(
    work: Callable[[Writer], object], postgres_url: str, storage: Storage
) -> None:
    address = address_of(postgres_url, 30)
    with closing(Link(address.where)) as link:
        connect(link, address, 30)
        for after, timeout in (("BEGIN", "0"), ("ROLLBACK", "90s")):
            link.control(after)
            if after == "BEGIN":
                rows = PostgresRows(link)
                work(rows)
                assert rows.log_size() == 0
            assert link.execute("SHOW statement_timeout") == [(timeout,)]


@settings(max_examples=50)
@given(st.lists(st.text("\0\1\2\3ab\U0010ffff", max_size=6), min_size=1, unique=True, max_size=8))
def test_a_text_with_any_character_comes_back_and_is_in_its_place(cluster: Cluster, texts: list[str]) -> None:
    address = address_of(cluster.url(), 30)
    with closing(Link(address.where)) as link:
        connect(link, address, 30)
        rows = link.execute('SELECT t FROM unnest(%s::text[]) AS given(t) ORDER BY t COLLATE "C"', (texts,))
        assert [text for (text,) in rows] == sorted(texts)


# --- tables of others ------------------------------------------------------------------------------------------------


def test_tables_of_another_program_are_left_alone(cluster: Cluster) -> None:
    schema = cluster.new_schema()
    cluster.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.entries(a int)")
    with pytest.raises(NexusControlError) as caught:
        open_postgres(cluster.url(schema))
    assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
    assert caught.value.details["damaged"] is True
    assert cluster.execute(f"SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'") == [(1,)]
    cluster.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.parametrize(("version", "said"), [(VERSION + 1, "a newer"), (0, "an earlier")])
def test_a_store_of_another_version_is_refused(
    version: int, said: str, storage: Storage, postgres_url: str
) -> None:
    change(f"UPDATE store SET version = {version}", postgres_url)
    with pytest.raises(NexusControlError) as caught:
        open_postgres(postgres_url)
    assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
    assert caught.value.details["schema"] == version
    assert f"by {said} nexus-control" in caught.value.message


_AS_VERSION_2 = "DROP TABLE sinks, events_set_aside; UPDATE store SET version = 2"
_AS_VERSION_1 = f"{_AS_VERSION_2}; ALTER TABLE claims DROP COLUMN cancel; UPDATE store SET version = 1"


@pytest.mark.parametrize("earlier", [_AS_VERSION_1, _AS_VERSION_2])
def test_a_store_of_an_earlier_version_is_led_with_its_claims(
    storage: Storage, postgres_url: str, earlier: str
) -> None:
    with storage.writing() as rows:
        rows.put_claim(claim())
    change(earlier, postgres_url)
    assert is_made(postgres_url)
    with closing(open_postgres(postgres_url)) as led:
        assert led.form_differences() == []
        with led.reading() as rows:
            assert rows.claims() == [claim()]


def test_a_role_that_may_not_lead_a_store_is_told_who_can(
    cluster: Cluster, storage: Storage, postgres_url: str
) -> None:
    schema = postgres_url.rpartition("%3D")[2]
    cluster.execute("DROP ROLE IF EXISTS clerk; CREATE ROLE clerk LOGIN")
    change(grants(schema, "clerk"), postgres_url)
    change(_AS_VERSION_1, postgres_url)
    try:
        with pytest.raises(NexusControlError) as caught:
            open_postgres(cluster.url(schema, user="clerk"))
        assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
        assert "owns the tables" in caught.value.next
    finally:
        cluster.execute("DROP OWNED BY clerk; DROP ROLE clerk")


def test_who_could_work_with_a_store_works_with_it_once_it_is_led(
    cluster: Cluster, storage: Storage, postgres_url: str
) -> None:
    schema = postgres_url.rpartition("%3D")[2]
    cluster.execute('DROP ROLE IF EXISTS "the clerk"; CREATE ROLE "the clerk" LOGIN')
    change(grants(schema, "the clerk"), postgres_url)
    change(_AS_VERSION_2, postgres_url)
    open_postgres(postgres_url).close()
    try:
        with closing(open_postgres(cluster.url(schema, user="the%20clerk"))) as clerks:
            with clerks.writing() as rows:
                rows.put_sink(SinkRow("chat", 3, "", NEVER, ""))
                rows.set_event_aside(EventSetAside("chat", 1, "evt_d1_0", T1, "HTTP 410"))
                rows.take_event_back("chat", 1)
            assert clerks.form_differences() == []
    finally:
        cluster.execute('DROP OWNED BY "the clerk"; DROP ROLE "the clerk"')


def test_several_stores_lie_in_one_database_beside_other_tables(cluster: Cluster, storage: Storage) -> None:
    schema = cluster.new_schema()
    cluster.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.invoices(a int)")
    neighbour = open_postgres(cluster.url(schema))
    append(storage, "d1")
    assert (log_size(neighbour), neighbour.form_differences()[1:]) == (0, [])
    with neighbour.writing() as rows:  # another store, another lock
        rows.append([entry("d1")])
        in_thread(lambda: append(storage, "d2"))
    assert (log_size(neighbour), log_size(storage)) == (1, 2)
    neighbour.close()
    cluster.execute(f"DROP SCHEMA {schema} CASCADE")


# --- form ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DROP TRIGGER entries_are_not_changed ON entries", "the trigger entries_are_not_changed is missing"),
        (
            "ALTER TABLE entries DISABLE TRIGGER entries_are_not_changed",
            "the trigger entries_are_not_changed is not",
        ),
        ("DROP INDEX labels_of", "the index labels_of is missing"),
        ("CREATE INDEX more ON claims(seq)", "the index more on claims was added"),
        ("CREATE VIEW seen AS SELECT 1", "the view seen on seen was added"),
        (
            "CREATE RULE nothing AS ON INSERT TO claims DO INSTEAD NOTHING",
            "the rule nothing on claims was added",
        ),
        (
            "CREATE OR REPLACE FUNCTION refuse_to_change_entries() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN RETURN NULL; END'",
            "the function refuse_to_change_entries() is not",
        ),
    ],
)
def test_a_form_that_somebody_changed_is_named_and_mended(
    sql: str, problem: str, storage: Storage, postgres_url: str
) -> None:
    append(storage, "d1")
    change(sql, postgres_url)
    (found,) = storage.form_differences()
    assert found.startswith(problem)
    storage.mend_form()
    assert storage.form_differences() == []
    with pytest.raises(psycopg.IntegrityError):
        change("DELETE FROM entries", postgres_url)


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE claims ADD COLUMN more int",
        "ALTER TABLE claims ALTER COLUMN owner DROP NOT NULL",
        'ALTER TABLE claims ALTER COLUMN owner TYPE text COLLATE "und-x-icu"',
        "ALTER TABLE claims SET UNLOGGED",
        "ALTER TABLE claims ENABLE ROW LEVEL SECURITY",
    ],
)
def test_a_changed_table_is_named_and_left_as_it_is(sql: str, storage: Storage, postgres_url: str) -> None:
    change(sql, postgres_url)
    assert storage.form_differences() == ["the table claims is not as it was made"]
    storage.mend_form()
    assert storage.form_differences() == ["the table claims is not as it was made"]


def test_a_label_that_somebody_removed_is_not_filed(storage: Storage, postgres_url: str) -> None:
    with storage.writing() as rows:
        rows.save(decision_row(1, labels=("a", "b")))
    change("DELETE FROM labels WHERE label = 'a'", postgres_url)
    with storage.reading() as rows:
        assert not rows.is_filed()
