"""How often a store's files are looked at: only where their folder has changed."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nexus_control import DecisionStore
from nexus_control.errors import ErrorCode
from nexus_control.storage import in_place
from nexus_control.storage.in_place import Places
from tests.storage.contract_suite import refused
from tests.support.clock import FakeClock, an_hour_later


def _placed(folder: Path) -> Places:
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (folder / name).touch()
    places = Places(str(folder / "store.db"))
    places.keep_beside()
    return places


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour has passed since any folder changed."""
    monkeypatch.setattr(in_place, "SYSTEM_CLOCK", an_hour_later())


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are looked at from now on."""
    names: list[str] = []
    look = in_place.inode_at

    def noted(path: str) -> in_place.Inode | None:
        names.append(Path(path).name)
        return look(path)

    monkeypatch.setattr(in_place, "inode_at", noted)
    return names


@pytest.mark.usefixtures("later")
def test_files_in_a_folder_that_does_not_change_are_looked_at_once(tmp_path: Path, looks: list[str]) -> None:
    places = _placed(tmp_path)
    looks.clear()
    for _ in range(3):
        places.require_all()
    assert looks == ["store.db", "store.db-wal", "store.db-shm"]


@pytest.mark.parametrize("behind", [0, 3_600])
def test_files_are_looked_at_again_while_a_change_of_their_folder_could_be_hidden(
    behind: int, tmp_path: Path, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = _placed(tmp_path)
    changed = tmp_path.stat().st_ctime
    monkeypatch.setattr(in_place, "SYSTEM_CLOCK", FakeClock(datetime.fromtimestamp(changed - behind, UTC)))
    looks.clear()
    for _ in range(3):
        places.require_all()
    assert looks == 3 * ["store.db", "store.db-wal", "store.db-shm"]


@pytest.mark.usefixtures("later")
def test_files_are_looked_at_again_when_a_name_in_their_folder_has_changed(
    tmp_path: Path, looks: list[str]
) -> None:
    places = _placed(tmp_path)
    places.require_all()
    looks.clear()
    (tmp_path / "another").touch()
    places.require_all()
    assert looks


@pytest.mark.usefixtures("later")
def test_a_folder_whose_time_was_set_back_has_changed(tmp_path: Path) -> None:
    """Programs that copy a folder do so."""
    places, before = _placed(tmp_path), tmp_path.stat()
    places.require_all()
    (tmp_path / "store.db-wal").unlink()
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with refused(ErrorCode.STORE_REPLACED):
        places.require_all()


@pytest.mark.usefixtures("later")
def test_a_whole_folder_that_is_replaced_is_noticed_at_the_next_commit(tmp_path: Path) -> None:
    folder, moved = tmp_path / "store", tmp_path / "moved"
    folder.mkdir()
    with DecisionStore(folder / "store.db") as store:
        store.create_decision()
        with refused(ErrorCode.STORE_REPLACED), store.writing() as session:
            session.reserve()
            folder.rename(moved)
            folder.mkdir()
