"""Work on a PostgreSQL store that tests give to fresh processes."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage.contract import Claim, Storage, Writer
from nexus_control.storage.postgres_rows import PostgresRows
from nexus_control.storage.usage import Gate
from tests.storage.contract_suite import refused
from tests.storage.rows import claim, decision_row, entry
from tests.support.postgres import open_postgres

_MOST_SECONDS = 5


def open_and_append(url: str, ready: Barrier, stream: str, count: int) -> None:
    ready.wait()
    storage = open_postgres(url)
    for seq in range(count):
        with storage.writing() as rows:
            rows.append([entry(stream, seq)])
    storage.close()


def race_for_claims(url: str, ready: Barrier, name: str, count: int) -> None:
    """Each round one of the racers finds the decision free, and claims it."""
    storage = open_postgres(url)

    def take(decision_id: str) -> Callable[[Writer], bool]:
        def work(rows: Writer) -> bool:
            if rows.claim(decision_id) is not None:
                return False
            rows.put_claim(Claim(decision_id, 0, 2, name, ""))
            rows.append([entry(decision_id, leaf=f"{1:064x}")])
            return True

        return work

    for number in range(count):
        ready.wait()
        storage.write(take(f"d{number}"))
    storage.close()


def stop_in_the_middle(url: str, acknowledgements: Connection) -> None:
    """Acknowledge what was committed, then wait inside a transaction that has written more."""
    storage = open_postgres(url)
    for seq in range(0, 10, 2):
        with storage.writing() as rows:
            rows.append([entry("d1", seq), entry("d1", seq + 1)])
            rows.save(decision_row(1, event_count=seq + 2))
        acknowledgements.send(seq + 2)
    with storage.writing() as rows:
        rows.append([entry("lost", seq) for seq in range(100)])
        rows.put_claim(claim("d1"))
        rows.log_size()
        acknowledgements.send(None)
        acknowledgements.recv()


def fork_between_transactions(url: str) -> None:
    """Parent and child go on with the same store, each on its own connections."""
    storage = open_postgres(url)

    def write() -> None:
        for seq in range(3):
            append(storage, "child", seq)
        storage.close()

    append(storage, "parent", 0)
    _in_child(write)
    append(storage, "parent", 1)
    _in_child(lambda: os._exit(0))  # ends without closing anything
    append(storage, "parent", 2)
    storage.close()


def fork_in_a_transaction(url: str) -> None:
    """The child's copy of the store is refused; the parent's transaction is its own, and a new store is the child's."""
    storage = open_postgres(url)

    def try_everything() -> None:
        with refused(ErrorCode.STORE_FORKED):
            rows.log_size()
        with refused(ErrorCode.STORE_FORKED), storage.reading():
            pass
        with refused(ErrorCode.STORE_FORKED):
            storage.write(lambda rows: rows.log_size())
        storage.close()
        fresh = open_postgres(url)
        with fresh.reading() as its_rows:
            assert its_rows.log_size() == 0
        fresh.close()

    with storage.writing() as rows:
        rows.append([entry("parent", 0)])
        _in_child(try_everything)
        rows.append([entry("parent", 1)])
    storage.close()


def return_into_a_transaction_of_the_parent(url: str) -> None:
    """A child that leaves the parent's transaction, in order or by an exception, commits and takes back nothing."""
    storage = open_postgres(url)
    for seq in range(2):
        child = 0
        try:
            with storage.writing() as rows:
                rows.append([entry("parent", seq)])
                rows.log_size()
                child = os.fork()
                if child == 0 and seq:
                    raise LookupError
        except NexusControlError as error:
            os._exit(error.code != ErrorCode.STORE_FORKED)
        except LookupError:
            os._exit(0)
        if not child:
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    storage.close()


def fork_beside_a_transaction(url: str) -> None:
    """Another thread's transaction is no hindrance: the child has its own connections."""
    storage = open_postgres(url)
    begun, may_end = threading.Event(), threading.Event()

    def write() -> None:
        with storage.writing() as rows:
            rows.append([entry("parent", 0)])
            begun.set()
            may_end.wait()

    def read() -> None:
        with storage.reading() as rows:
            assert rows.log_size() == 0

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait()
    _in_child(read)
    may_end.set()
    writer.join()
    storage.close()


class _Pause(set[str]):
    """The first thread that comes by here waits until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self._begun, self._may_end = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> None:
        if not self._begun.is_set():
            self._begun.set()
            self._may_end.wait()

    def __iter__(self) -> Iterator[str]:
        self()
        return super().__iter__()

    def fork_beside(self, work: Callable[[], None], in_child: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        self._begun.wait()
        try:
            _in_child(in_child)
        finally:
            self._may_end.set()
            thread.join()


def fork_while_a_thread_holds_the_gate(url: str) -> None:
    """The child does not wait for a lock whose holder it does not have."""
    storage, pause, changed = open_postgres(url), _Pause(), Gate.changed
    append(storage, "parent", 0)

    def go_on() -> None:
        Gate.changed = changed
        append(storage, "child", 0)

    Gate.changed = lambda self: pause()  # which is called with the lock held
    pause.fork_beside(lambda: append(storage, "parent", 1), go_on)
    storage.close()


def fork_while_a_thread_forgets(url: str) -> None:
    """As before, while the rows of a transaction that has ended are forgotten."""
    storage, pause = open_postgres(url), _Pause()

    def write() -> None:
        with storage.writing() as rows:
            rows.append([entry("parent", 0)])
            assert isinstance(rows, PostgresRows)
            rows.saved = pause

    pause.fork_beside(write, lambda: append(storage, "child", 0))
    storage.close()


def append(storage: Storage, stream: str, seq: int) -> None:
    with storage.writing() as rows:
        rows.append([entry(stream, seq)])


def _in_child(work: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        signal.alarm(_MOST_SECONDS)  # which ends a child that waits without end
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
