"""Several processes with one PostgreSQL store."""

import pytest

from tests.storage import postgres_processes as processes
from tests.storage.postgres_processes import append
from tests.storage.processes import run, spawn
from tests.support.postgres import open_postgres


def streams_of(url: str) -> list[tuple[str, int]]:
    """What the log holds, after a look at its positions."""
    storage = open_postgres(url)
    with storage.reading() as rows:
        log = rows.log()
        assert [at.position for at in log] == list(range(len(log)))
    assert storage.form_differences() == []
    storage.close()
    return [(at.entry.stream, at.entry.seq) for at in log]


def test_processes_that_make_one_store_at_the_same_time_all_write_to_it(postgres_url: str) -> None:
    ready = spawn.Barrier(4)
    run(processes.open_and_append, [(postgres_url, ready, f"p{number}", 15) for number in range(4)])
    assert sorted(streams_of(postgres_url)) == [
        (f"p{number}", seq) for number in range(4) for seq in range(15)
    ]


def test_of_four_processes_that_race_for_a_decision_one_gets_it(postgres_url: str) -> None:
    rounds = 50
    open_postgres(postgres_url).close()
    ready = spawn.Barrier(4)
    run(processes.race_for_claims, [(postgres_url, ready, f"p{number}", rounds) for number in range(4)])
    assert sorted(streams_of(postgres_url)) == sorted((f"d{number}", 0) for number in range(rounds))


def test_a_killed_process_leaves_what_it_acknowledged_and_nothing_else(postgres_url: str) -> None:
    here, there = spawn.Pipe()
    process = spawn.Process(target=processes.stop_in_the_middle, args=(postgres_url, there))
    process.start()
    there.close()  # so that its end is seen here
    acknowledged = 0
    while (said := here.recv()) is not None:
        acknowledged = said
    process.kill()
    process.join()
    storage = open_postgres(postgres_url)
    append(storage, "next", 0)  # the lock of the dead process is free
    with storage.reading() as rows:
        row = rows.decision_row("d1")
        assert row is not None
        assert row.event_count == acknowledged == 10
        assert (rows.log_size(), rows.claims()) == (11, [])
    storage.close()


@pytest.mark.parametrize(
    ("target", "left"),
    [
        (processes.fork_between_transactions, ["parent", "child", "child", "child", "parent", "parent"]),
        (processes.fork_in_a_transaction, ["parent", "parent"]),
        (processes.return_into_a_transaction_of_the_parent, ["parent", "parent"]),
        (processes.fork_beside_a_transaction, ["parent"]),
        (processes.fork_while_a_thread_holds_the_gate, ["parent", "parent", "child"]),
        (processes.fork_while_a_thread_forgets, ["parent", "child"]),
    ],
)
def test_a_fork_leaves_the_parents_connections_to_the_parent(
    target: object, left: list[str], postgres_url: str
) -> None:
    assert callable(target)
    run(target, [(postgres_url,)])
    assert [stream for stream, _ in streams_of(postgres_url)] == left
