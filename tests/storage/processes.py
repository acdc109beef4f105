"""Work that tests give to fresh processes. Spawned, not forked: a test process has threads."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage import open_storage
from nexus_control.storage.slot import FileSlot
from tests.storage.contract_suite import refused
from tests.storage.rows import decision_row, entry

spawn = multiprocessing.get_context("spawn")

ACKNOWLEDGED_BEFORE_THE_MIDDLE = 10


def run(target: Callable[..., object], arguments: Sequence[tuple[object, ...]]) -> None:
    """Run `target` in one process for each tuple of arguments. A failure shows on stderr."""
    processes = [spawn.Process(target=target, args=given) for given in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)


def open_and_append(path: Path, ready: Barrier, stream: str, count: int) -> None:
    ready.wait()
    storage = open_storage(path)
    for seq in range(count):
        with storage.writing() as rows:
            rows.append([entry(stream, seq)])
    storage.close()


def append_pairs(path: Path, acknowledgements: Connection) -> None:
    """Two entries and a decision row a transaction, acknowledged after each commit, for ever."""
    storage = open_storage(path)
    seq = 0
    while True:
        with storage.writing() as rows:
            rows.append([entry("d1", seq), entry("d1", seq + 1)])
            rows.save(decision_row(1, event_count=seq + 2))
        seq += 2
        acknowledgements.send(seq)


def stop_in_the_middle(path: Path, acknowledgements: Connection) -> None:
    """As `append_pairs`, but wait inside a transaction that has spilled its pages to the disk."""
    storage = open_storage(path)
    for seq in range(0, ACKNOWLEDGED_BEFORE_THE_MIDDLE, 2):
        with storage.writing() as rows:
            rows.append([entry("d1", seq), entry("d1", seq + 1)])
            rows.save(decision_row(1, event_count=seq + 2))
        acknowledgements.send(seq + 2)
    with storage.writing() as rows:
        rows.append([entry("lost", seq, payload="x" * 100_000) for seq in range(100)])
        rows.replace_decision_rows([])
        acknowledgements.send(None)
        acknowledgements.recv()


def fork_between_transactions(path: Path) -> None:
    """Parent and child go on with the same store, each with what both wrote."""
    storage = open_storage(path)

    def write() -> None:
        with storage.writing() as rows:
            rows.append([entry("child")])
            assert rows.log_size() == 2

    with storage.writing() as rows:
        rows.append([entry("parent", 0)])
    _in_child(write)
    with storage.writing() as rows:
        rows.append([entry("parent", 1)])
        assert rows.log_size() == 3
    storage.close()


def fork_in_a_transaction(path: Path) -> None:
    """The child may not use the file any more, through no store; the parent's transaction is its own."""
    storage = open_storage(path)

    def try_everything() -> None:
        with refused(ErrorCode.STORE_FORKED), storage.reading():
            pass
        with refused(ErrorCode.STORE_FORKED):
            open_storage(path)
        storage.close()

    with storage.writing() as rows:
        rows.append([entry("parent", 0)])
        _in_child(try_everything)
        rows.append([entry("parent", 1)])
    storage.close()


def return_into_a_transaction_of_the_parent(path: Path) -> None:
    """A child that leaves the parent's transaction, in order or by an exception, commits and takes back nothing."""
    storage = open_storage(path)
    for seq in range(2):
        child = 0
        try:
            with storage.writing() as rows:
                rows.append([entry("parent", seq)])
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


def fork_beside_a_transaction_that_does_not_end(path: Path) -> None:
    """The wait is bounded; the child then may not use the file."""
    storage = open_storage(path, busy_seconds=0.05)
    begun, may_end = threading.Event(), threading.Event()

    def write() -> None:
        with storage.writing() as rows:
            rows.append([entry("parent", 0)])
            begun.set()
            may_end.wait()

    def open_afresh() -> None:
        with refused(ErrorCode.STORE_FORKED):
            open_storage(path)

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait()
    _in_child(open_afresh)
    may_end.set()
    writer.join()
    storage.close()


def fork_with_a_store_in_memory() -> None:
    storage = open_storage(":memory:")

    def read() -> None:
        with refused(ErrorCode.STORE_FORKED), storage.reading():
            pass
        storage.close()

    with storage.writing() as rows:
        rows.append([entry("parent")])
        _in_child(read)
    with storage.reading() as rows:
        assert rows.log_size() == 1
    storage.close()


def make_without_permission(path: Path) -> None:
    """Make a store at `path` as somebody who may not write to its folder."""
    if os.getuid() == 0:
        os.setuid(65534)
    with refused(ErrorCode.STORE_UNAVAILABLE):
        open_storage(path)


def use_slot_without_permission(folder: Path) -> None:
    """Use the slot in `folder`, which everybody may only read, as somebody else than its owner."""
    if os.getuid() == 0:
        os.setuid(65534)
    slot = FileSlot(folder / "slot", folder / "store.db")
    assert slot.read() == b"content"
    with refused(ErrorCode.STORE_UNAVAILABLE):
        slot.require_writable()


def fork_inside_a_slot(path: Path) -> None:
    """What is open crosses `fork()`: a lock that is not given back by name is held until the child is gone, too."""
    slot = FileSlot(path.with_name("slot"), path)
    ended, end = os.pipe()
    children: list[int] = []

    def fork(_: bytes) -> bytes:
        child = os.fork()
        if child == 0:
            os.close(end)
            os.read(ended, 1)  # lives, with the slot open, until its parent is done
            os._exit(0)
        children.append(child)
        return b"written"

    slot.update(fork)
    assert slot.update(lambda _: b"again") == b"written"
    os.close(end)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0]


def leave_open(path: Path) -> None:
    """End without closing: what was committed stays, and nobody is warned."""
    storage = open_storage(path)
    with storage.writing() as rows:
        rows.append([entry()])


def _in_child(work: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
