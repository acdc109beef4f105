"""A database that a user may read and not write. Root tries it as another user; others take their own permission."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.run_log import RunLog
from nexus_control.storage import open_storage
from nexus_control.storage.contract import Storage
from nexus_control.storage.faults import is_without_permission
from nexus_control.storage.sqlite_reading import Copy, keeps_from_writing, open_to_read
from nexus_control.storage.sqlite_schema import EARLIER
from nexus_control.system.clock import SYSTEM_CLOCK
from tests.joints.office import in_child, wait_for
from tests.storage.steps import append, in_thread, log_size, number, raw
from tests.support.places import REPOSITORY

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")

WRITER = """
import sys
from nexus_control.storage import open_storage
from tests.storage.steps import append
storage = open_storage(sys.argv[1])
for number, _ in enumerate(sys.stdin):
    append(storage, f"w{number}")
    print("written", flush=True)
storage.close()
"""


@pytest.fixture
def path() -> Generator[Path]:
    """A store with one entry, in a folder that everybody may enter; tmp_path is its owner's alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    storage = open_storage(folder / "store.db")
    append(storage, "d1")
    storage.close()
    yield folder / "store.db"
    folder.chmod(0o755)
    shutil.rmtree(folder)


def as_a_reader(path: Path, work: Callable[[], None]) -> None:
    """Do the work as a user who may read and not write, and see that no file was made."""
    if os.geteuid():
        path.chmod(0o444)
        path.parent.chmod(0o555)

    before = sorted(path.parent.iterdir())
    wait_for(in_child(lambda: become_nobody_and(work)))
    assert sorted(path.parent.iterdir()) == before


def become_nobody_and(work: Callable[[], None]) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    work()


class Writing:
    """Another process that writes to the store, an entry each time it is asked to, and keeps it open."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def write(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("write\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "written\n"

    def end(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def require_refused_to_write(storage: Storage, file: Path) -> None:
    with pytest.raises(NexusControlError) as caught:
        append(storage, "d2")
    assert caught.value.code == ErrorCode.STORE_UNAVAILABLE
    assert is_without_permission(caught.value)
    assert caught.value.details["unwritable"] == str(file)
    assert str(file) in caught.value.message


def test_a_store_that_nobody_has_open_is_read_and_nothing_is_made_beside_it(path: Path) -> None:
    def read() -> None:
        storage = open_storage(path)
        assert log_size(storage) == 1
        assert storage.form_differences() == []
        in_thread(lambda: log_size(storage))
        require_refused_to_write(storage, path)
        with pytest.raises(NexusControlError):
            storage.mend_form()
        assert log_size(storage) == 1
        storage.close()

    as_a_reader(path, read)


@needs_root
def test_who_may_write_the_database_and_not_its_folder_reads_it(path: Path) -> None:
    path.chmod(0o666)

    def read() -> None:
        assert keeps_from_writing(path) == path.parent
        storage = open_storage(path)
        assert log_size(storage) == 1
        require_refused_to_write(storage, path.parent)

    as_a_reader(path, read)


@needs_root
def test_a_reader_sees_what_a_writer_adds_whether_the_writer_has_it_open_or_not(path: Path) -> None:
    def read() -> None:
        storage = open_storage(path)
        assert log_size(storage) == 1  # a copy
        begin.write("\n")
        begin.flush()
        assert seen.readline() == "open\n"
        assert log_size(storage) == 2  # beside the writer
        begin.write("\n")
        begin.flush()
        assert seen.readline() == "closed\n"
        assert log_size(storage) == 2
        storage.close()
        assert log_size(open_storage(path)) == 2

    asked, ask = os.pipe()
    told, tell = os.pipe()
    begin, seen = os.fdopen(ask, "w"), os.fdopen(told)
    asking, telling = os.fdopen(asked), os.fdopen(tell, "w")
    pid = in_child(lambda: become_nobody_and(read))
    asking.readline()
    writing = Writing(path)
    writing.write()
    telling.write("open\n")
    telling.flush()
    asking.readline()
    writing.end()
    telling.write("closed\n")
    telling.flush()
    wait_for(pid)
    for file in (begin, seen, asking, telling):
        file.close()


@needs_root
def test_a_reader_in_the_middle_of_a_long_look_keeps_no_writer_waiting(path: Path) -> None:
    writing = Writing(path)
    writing.write()

    def read() -> None:
        storage = open_storage(path)
        with storage.reading() as rows:
            before = rows.log_size()
            began.write("\n")
            began.flush()
            assert written.readline()
            assert rows.log_size() == before == 2
        assert log_size(storage) == 12

    begun, begin = os.pipe()
    read_end, write_end = os.pipe()
    began, written = os.fdopen(begin, "w"), os.fdopen(read_end)
    waiting, write = os.fdopen(begun), os.fdopen(write_end, "w")
    pid = in_child(lambda: become_nobody_and(read))
    waiting.readline()
    for _ in range(10):
        writing.write()
    write.write("\n")
    write.flush()
    wait_for(pid)
    writing.end()
    for file in (began, written, waiting, write):
        file.close()


@needs_root
def test_what_a_killed_writer_committed_is_read_before_anybody_may_recover_it(path: Path) -> None:
    writing = Writing(path)
    writing.write()
    writing.kill()

    def read() -> None:
        storage = open_storage(path)
        assert log_size(storage) == 2

    as_a_reader(path, read)


@needs_root
def test_a_wal_without_its_index_is_left_to_somebody_who_may_write(path: Path) -> None:
    writing = Writing(path)
    writing.write()
    writing.kill()
    path.with_name("store.db-shm").unlink()

    def read() -> None:
        with pytest.raises(NexusControlError, match="by a user who may write it") as caught:
            open_storage(path)
        assert caught.value.code == ErrorCode.STORE_UNAVAILABLE

    as_a_reader(path, read)
    storage = open_storage(path)
    assert log_size(storage) == 2
    storage.close()
    as_a_reader(path, lambda: open_storage(path).close())


def test_a_file_that_may_not_be_read_is_named(path: Path) -> None:
    path.chmod(0)

    def look() -> None:
        with pytest.raises(NexusControlError, match="may not be read") as caught:
            open_storage(path)
        assert caught.value.code == ErrorCode.STORE_UNAVAILABLE

    as_a_reader(path, look) if os.geteuid() == 0 else look()


def test_a_store_that_is_replaced_while_a_reader_has_it_open_is_named(path: Path) -> None:
    def read() -> None:
        storage = open_storage(path)
        assert log_size(storage) == 1
        began.write("\n")
        began.flush()
        assert replaced.readline()
        with pytest.raises(NexusControlError) as caught:
            log_size(storage)
        assert caught.value.code == ErrorCode.STORE_REPLACED

    if os.geteuid():
        path.chmod(0o444)
    begun, begin = os.pipe()
    read_end, write_end = os.pipe()
    began, replaced = os.fdopen(begin, "w"), os.fdopen(read_end)
    waiting, tell = os.fdopen(begun), os.fdopen(write_end, "w")
    pid = in_child(lambda: become_nobody_and(read))
    waiting.readline()
    shutil.copy(path, path.with_name("other"))
    path.with_name("other").chmod(0o444)
    path.with_name("other").replace(path)
    tell.write("\n")
    tell.flush()
    wait_for(pid)
    for file in (began, replaced, waiting, tell):
        file.close()


def test_an_empty_file_or_another_programs_database_is_no_store_for_a_reader(path: Path) -> None:
    empty, other = path.with_name("empty.db"), path.with_name("other.db")
    empty.touch()
    empty.chmod(0o444)
    with raw(other) as connection:
        connection.execute("CREATE TABLE t (a)")
    other.chmod(0o444)

    def read() -> None:
        for file in (empty, other):
            with pytest.raises(NexusControlError) as caught:
                open_storage(file)
            assert caught.value.code == ErrorCode.STORE_UNAVAILABLE

    as_a_reader(path, read)


@pytest.mark.parametrize(
    ("version", "advice"),
    [(EARLIER[-1], "a user who may write to it open it once"), (EARLIER[0] - 1, "Export the decisions")],
    ids=["that this version updates", "that is too old"],
)
def test_a_store_of_an_earlier_schema_is_not_changed_for_a_reader(
    version: int, advice: str, path: Path
) -> None:
    with raw(path) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()

    def read() -> None:
        with pytest.raises(NexusControlError, match="earlier") as caught:
            open_storage(path)
        assert advice in caught.value.next

    as_a_reader(path, read)
    assert path.read_bytes() == before


def test_a_run_log_that_may_only_be_read_gives_its_runs_and_takes_none(path: Path) -> None:
    runs = path.with_name("store.db.runs")
    log = RunLog(runs, SYSTEM_CLOCK)
    run_id = log.begin("apply", "goal").run_id
    log.close()

    def read() -> None:
        found = RunLog(runs, SYSTEM_CLOCK)
        assert found.export(run_id)["run"]
        with pytest.raises(NexusControlError) as caught:
            found.require_writable()
        assert is_without_permission(caught.value)
        found.close()

    as_a_reader(runs, read)


@needs_root
def test_a_store_on_a_file_system_that_is_mounted_read_only_is_read(path: Path, tmp_path: Path) -> None:
    """In a mount namespace of its own, so nothing stays mounted."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom nexus_control.storage import open_storage\n"
        "from tests.storage.steps import log_size\n"
        "from tests.storage.test_reading_only import require_refused_to_write\n"
        "path = Path(sys.argv[1])\nstorage = open_storage(path)\nassert log_size(storage) == 1\n"
        "require_refused_to_write(storage, path)\n"
    )
    mounting = 'mount --bind "$1" "$2" && mount -o remount,ro,bind "$2" && exec "$3" -c "$4" "$2/store.db"'
    words = ["sh", "-c", mounting, "sh", str(path.parent), str(tmp_path), sys.executable, code]
    ran = subprocess.run(["unshare", "--mount", *words], cwd=REPOSITORY, capture_output=True, text=True)
    if "ermission denied" in ran.stderr or "not permitted" in ran.stderr:
        pytest.skip("this container may not mount")
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("stays_open", [False, True], ids=["that came and went", "that stays"])
def test_a_copy_that_a_writer_may_have_torn_is_made_again(stays_open: bool, path: Path) -> None:
    looks: list[int] = []
    writing = Writing(path)

    def interfere(connection: sqlite3.Connection) -> None:
        looks.append(number(connection, "SELECT count(*) FROM entries"))
        if len(looks) == 1:
            writing.write()
            if not stays_open:
                writing.end()

    with contextlib.closing(open_to_read(str(path), path.as_uri(), interfere, 5)) as connection:
        assert number(connection, "SELECT count(*) FROM entries") == 2
        assert isinstance(connection, Copy) is not stays_open
    assert looks == [1, 2]
    if stays_open:
        writing.end()


@needs_root
@pytest.mark.sample(1)
@pytest.mark.parametrize("attempt", range(5))
def test_a_reader_beside_writers_that_come_and_go_never_sees_half_a_change(attempt: int, path: Path) -> None:
    """Each writer opens the store, appends one entry, and closes it: now with a -wal, now without."""
    writers = (
        "import sys\nfrom nexus_control.storage import open_storage\nfrom tests.storage.steps import append\n"
        "for number in range(60):\n"
        "    storage = open_storage(sys.argv[1])\n    append(storage, f'w{number}')\n    storage.close()\n"
    )
    writing = subprocess.Popen([sys.executable, "-c", writers, str(path)], cwd=REPOSITORY)

    def read() -> None:
        seen = 0
        while seen < 61:
            storage = open_storage(path)
            with storage.reading() as rows:
                size = rows.log_size()
                assert size == len(list(rows.log())) >= seen, attempt
                seen = size
            storage.close()

    pid = in_child(lambda: become_nobody_and(read))
    assert writing.wait() == 0
    wait_for(pid)
