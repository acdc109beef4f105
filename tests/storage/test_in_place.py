"""How often a store's files are looked at: only where their folder has changed."""

import os
from pathlib import Path

import pytest

from nexus_control import DecisionStore
from nexus_control.errors import ErrorCode
from nexus_control.storage import in_place
from nexus_control.storage.in_place import Places
from tests.storage.contract_suite import refused

LONG_AGO = (0, 0)


def _placed(folder: Path) -> Places:
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (folder / name).touch()
    places = Places(str(folder / "store.db"))
    places.keep_beside()
    return places


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


def test_files_in_a_folder_that_does_not_change_are_looked_at_once(tmp_path: Path, looks: list[str]) -> None:
    places = _placed(tmp_path)
    os.utime(tmp_path, LONG_AGO)
    looks.clear()
    for _ in range(3):
        places.require_all()
    assert looks == ["store.db", "store.db-wal", "store.db-shm"]


@pytest.mark.parametrize("ahead", [1, 3_600.5])
def test_files_are_looked_at_again_while_a_change_of_their_folder_could_be_hidden(
    ahead: float, tmp_path: Path, looks: list[str]
) -> None:
    places = _placed(tmp_path)
    changed = int(tmp_path.stat().st_mtime) + ahead
    os.utime(tmp_path, (changed, changed))
    looks.clear()
    for _ in range(3):
        places.require_all()
    assert looks == 3 * ["store.db", "store.db-wal", "store.db-shm"]


def test_files_are_looked_at_again_when_a_name_in_their_folder_has_changed(
    tmp_path: Path, looks: list[str]
) -> None:
    places = _placed(tmp_path)
    os.utime(tmp_path, LONG_AGO)
    places.require_all()
    looks.clear()
    (tmp_path / "another").touch()
    places.require_all()
    assert looks


def test_a_whole_folder_that_is_replaced_is_noticed_at_the_next_commit(tmp_path: Path) -> None:
    folder, moved = tmp_path / "store", tmp_path / "moved"
    folder.mkdir()
    with DecisionStore(folder / "store.db") as store:
        store.create_decision()
        os.utime(folder, LONG_AGO)
        store.create_decision()
        with refused(ErrorCode.STORE_REPLACED), store.writing() as session:
            session.reserve()
            folder.rename(moved)
            folder.mkdir()
            os.utime(folder, LONG_AGO)
