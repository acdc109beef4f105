"""A slot as a file: what may lie in its place, who may write it, and who holds it."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage.slot import FileSlot
from tests.storage import processes


@pytest.fixture
def slot(path: Path) -> FileSlot:
    path.touch()
    return FileSlot(path.with_name("store.db.head"), path)


def refused(named: str) -> pytest.RaisesExc[NexusControlError]:
    return pytest.RaisesExc(
        NexusControlError, match=named, check=lambda error: error.code == ErrorCode.STORE_UNAVAILABLE
    )


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o664])
def test_a_new_slot_has_the_permissions_of_the_database_whatever_the_umask(mode: int, path: Path) -> None:
    path.touch()
    path.chmod(mode)
    before = os.umask(0o077)
    try:
        FileSlot(path.with_name("slot"), path).require_writable()
    finally:
        os.umask(before)
    assert path.with_name("slot").stat().st_mode & 0o7777 == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_new_slot_belongs_to_those_to_whom_the_database_belongs(slot: FileSlot, path: Path) -> None:
    os.chown(path, 1234, 4321)
    slot.update(lambda _: b"written")
    owned = path.with_name("store.db.head").stat()
    assert (owned.st_uid, owned.st_gid) == (1234, 4321)


def test_it_is_overwritten_in_its_place_and_keeps_nothing_of_what_was_longer(
    slot: FileSlot, path: Path
) -> None:
    slot.update(lambda _: b"first and long")
    file = path.with_name("store.db.head")
    before = file.stat().st_ino
    slot.update(lambda _: b"second")
    assert (file.read_bytes(), file.stat().st_ino) == (b"second", before)


def test_a_folder_in_its_place_is_a_fault_that_names_it(slot: FileSlot, path: Path) -> None:
    path.with_name("store.db.head").mkdir()
    for use in (slot.require_writable, slot.read):
        with refused("store.db.head"):
            use()


def test_a_pipe_in_its_place_is_a_fault_and_is_not_waited_for(slot: FileSlot, path: Path) -> None:
    os.mkfifo(path.with_name("store.db.head"))
    for use in (slot.require_writable, slot.read):
        with refused("not a regular file"):
            use()


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_link_is_neither_read_nor_written_for_it_can_lead_to_somebody_elses_file(
    link: Callable[[Path, Path], None], slot: FileSlot, path: Path
) -> None:
    other = path.with_name("private")
    other.write_bytes(b"not for us")
    link(path.with_name("store.db.head"), other)
    with refused("cannot be read"):
        slot.read()
    for write in (slot.require_writable, slot.read_writable, lambda: slot.update(lambda _: b"content")):
        with refused("cannot be written"):
            write()
    assert other.read_bytes() == b"not for us"


def test_a_link_to_nowhere_is_not_followed_to_make_a_file_there(slot: FileSlot, path: Path) -> None:
    path.with_name("store.db.head").symlink_to(path.with_name("nowhere"))
    with refused("cannot be written"):
        slot.require_writable()
    assert not path.with_name("nowhere").exists()


def test_who_may_not_write_it_is_refused_and_who_may_only_read_it_reads() -> None:
    folder = Path(tempfile.mkdtemp())  # outside tmp_path, which only its owner may enter
    try:
        folder.chmod(0o755)
        (folder / "store.db").touch()
        slot = FileSlot(folder / "slot", folder / "store.db")
        slot.update(lambda _: b"content")
        (folder / "slot").chmod(0o444)
        processes.run(processes.use_slot_without_permission, [(folder,)])
        assert slot.read() == b"content"
    finally:
        shutil.rmtree(folder)


def test_who_keeps_it_locked_is_not_waited_for_for_ever(
    slot: FileSlot, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_control.storage.slot._PATIENCE_SECONDS", 0.02)
    slot.update(lambda _: b"content")
    with path.with_name("store.db.head").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert slot.read() == b"content"
        with refused("somebody keeps it locked"):
            slot.read_writable()
        slot.require_writable()  # only whether it may be written
        fcntl.flock(other, fcntl.LOCK_EX)
        with refused("somebody keeps it locked"):
            slot.read()


def test_a_child_that_keeps_it_open_does_not_keep_it_locked(path: Path) -> None:
    path.touch()
    processes.run(processes.fork_inside_a_slot, [(path,)])
