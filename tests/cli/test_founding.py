"""`init`: a store for one user or for a group, and what it says of the files."""

import grp
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.system.sharing import share
from tests.cli.office import field
from tests.cli.running import Commands, nexus_control

GROUP = (
    grp.getgrgid(os.getegid()).gr_name
    if os.geteuid()
    else next(each.gr_name for each in grp.getgrall() if each.gr_gid)  # the last one may be another test's
)
"""A group to which this process may give files."""


def mode_of(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):04o}"


def init(folder: Path, *words: str, umask: int = 0o022) -> dict[str, Any]:
    """`init` under this umask, for the store in `folder`."""
    before = os.umask(umask)
    try:
        return Commands(folder).answer("init", *words)
    finally:
        os.umask(before)


def modes(answer: dict[str, Any]) -> dict[str, str]:
    return {Path(each["path"]).name: each["mode"] for each in answer["files"]}


@pytest.mark.parametrize(("umask", "others"), [(0o022, "0644"), (0o077, "0600"), (0o002, "0644")])
def test_a_store_for_one_user_has_the_permissions_that_the_umask_leaves(
    umask: int, others: str, tmp_path: Path
) -> None:
    made = init(tmp_path / "new", umask=umask)
    assert (made["made"], made["differs"]) == (True, [])
    assert modes(made) == {
        "store.db": others,
        "store.db.key": "0600",
        "store.db.checkpoint": others,
        "store.db.head": others,
    }
    assert {each["path"]: each["mode"] for each in made["files"]} == {
        str(file): mode_of(file) for file in (tmp_path / "new").iterdir()
    }
    assert Commands(tmp_path / "new").answer("doctor")["ok"]


@pytest.mark.parametrize(
    ("umask", "others"), [(0o022, (0o005, 0o004)), (0o077, (0, 0)), (0o007, (0, 0))], ids=["22", "77", "7"]
)
def test_a_group_may_write_all_but_the_key_and_others_what_the_umask_leaves(
    umask: int, others: tuple[int, int], tmp_path: Path
) -> None:
    made = init(tmp_path / "new", "--group", GROUP, umask=umask)
    folder, file = others
    assert made["folder"]["mode"] == f"{0o2770 | folder:04o}"
    assert modes(made) == {
        "store.db": f"{0o660 | file:04o}",
        "store.db.key": "0600",
        "store.db.checkpoint": f"{0o640 | file:04o}",
        "store.db.head": f"{0o660 | file:04o}",
        "store.db.runs": f"{0o660 | file:04o}",
    }
    assert {each["group"] for each in made["files"]} == {GROUP}
    with NexusControlTools(tmp_path / "new" / "store.db") as tools:
        assert tools.store.form_differences() == []
        for suffix in ("-wal", "-shm"):
            assert mode_of(tmp_path / "new" / f"store.db{suffix}") == f"{0o660 | file:04o}"
            assert (tmp_path / "new" / f"store.db{suffix}").stat().st_gid == grp.getgrnam(GROUP).gr_gid


def test_a_store_that_is_there_is_only_looked_at_and_group_changes_its_permissions(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    made = init(folder)
    before = {each.name: (each.read_bytes(), mode_of(each)) for each in folder.iterdir()}
    again = init(folder)
    assert (again["made"], again["changed"], again["files"]) == (False, False, made["files"])
    assert {each.name: (each.read_bytes(), mode_of(each)) for each in folder.iterdir()} == before

    shared = init(folder, "--group", GROUP)
    assert (shared["made"], shared["changed"], shared["differs"]) == (False, True, [])
    assert shared["folder"]["mode"] == "2775"
    assert modes(shared)["store.db"] == modes(shared)["store.db.head"] == "0664"
    assert modes(shared)["store.db.key"] == "0600"
    assert not init(folder, "--group", GROUP)["changed"]


def test_what_keeps_a_group_from_working_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    init(folder, "--group", GROUP)
    folder.chmod(0o755)
    (folder / "store.db.head").chmod(0o644)
    (folder / "store.db.key").chmod(0o640)
    differs = "\n".join(init(folder)["differs"])
    for name in (
        "store.db.head may not be written",
        "store.db.key may be read by others",
        "is not the group's",
    ):
        assert name in differs
    assert mode_of(folder / "store.db.head") == "0644"
    assert "Differs:" in Commands(folder).run("init")


@pytest.mark.parametrize(
    ("given", "blamed"),
    [
        (("--group", "no-such-group"), "--group"),
        (("--group", GROUP), "--db"),
    ],
    ids=["an unknown group", "a folder with other files"],
)
def test_what_cannot_be_shared_is_refused_and_nothing_is_made(
    given: tuple[str, ...], blamed: str, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").touch()
    mode = mode_of(tmp_path)
    assert field(Commands(tmp_path).answer("init", *given, code=2)) == blamed
    assert ([each.name for each in tmp_path.iterdir()], mode_of(tmp_path)) == (["notes.txt"], mode)


def test_the_files_of_an_earlier_store_get_no_new_database(tmp_path: Path) -> None:
    (tmp_path / "store.db.key").touch()
    refused = Commands(tmp_path).answer("init", code=2)
    assert refused["code"] == "STORE_UNAVAILABLE"
    assert str(tmp_path / "store.db.key") in refused["message"]
    assert not (tmp_path / "store.db").exists()


def test_a_person_reads_a_table_of_the_files_and_how_to_back_up(tmp_path: Path) -> None:
    shown = nexus_control("init", "--db", "new/store.db", folder=tmp_path).stdout
    for name in ("store.db.key", "0600", "the log's private key", "never the head", " backup FILE --db "):
        assert name in " ".join(shown.split())


PLANTED: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "a link at the head's place": (".head", lambda place, private: place.symlink_to(private)),
    "a link at the runs' place": (".runs", lambda place, private: place.symlink_to(private)),
    "a link that leads nowhere": (".runs", lambda place, private: place.symlink_to(private.with_name("no"))),
    "a link at the checkpoint's place": (".checkpoint", lambda place, private: place.symlink_to(private)),
    "a second name": (".head", lambda place, private: place.hardlink_to(private)),
    "a pipe": (".head", lambda place, _: os.mkfifo(place)),
    "a folder": (".runs", lambda place, _: place.mkdir()),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_a_member_put_into_the_folder_gives_the_group_nothing_of_the_owner(
    what: str, tmp_path: Path
) -> None:
    suffix, plant = PLANTED[what]
    folder = tmp_path / "new"
    init(folder)
    private = tmp_path / "private"
    private.touch(0o600)
    place = folder / f"store.db{suffix}"
    place.unlink(missing_ok=True)
    plant(place, private)
    refused = Commands(folder).answer("init", "--group", GROUP, code=2)
    assert refused["code"] == "STORE_UNAVAILABLE"
    assert str(place) in refused["message"]
    assert (mode_of(private), private.stat().st_uid) == ("0600", os.geteuid())
    assert {mode_of(folder), mode_of(folder / "store.db")} == {"0755", "0644"}  # nothing is half shared


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".runs-shm"])
def test_a_link_in_the_place_of_a_database_or_of_its_parts_is_not_followed(
    suffix: str, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.touch(0o600)
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / f"store.db{suffix}").symlink_to(private)
    with pytest.raises(OSError, match="it is a link"):
        share(folder / "store.db", os.getegid(), dict.fromkeys(("-wal", "-shm", ".runs-shm"), True))
    assert mode_of(private) == "0600"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_not_given_to_the_group(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    init(folder)
    os.chown(folder / "store.db.head", 65534, -1)
    refused = Commands(folder).answer("init", "--group", GROUP, code=2)
    assert "store.db.head" in refused["message"]
    assert "another user" in refused["message"]


def test_a_link_in_the_databases_place_does_not_share_the_store_that_it_leads_to(tmp_path: Path) -> None:
    private = tmp_path / "private"
    init(private)
    folder = tmp_path / "team"
    folder.mkdir()
    (folder / "store.db").symlink_to(private / "store.db")
    assert field(Commands(folder).answer("init", "--group", GROUP, code=2)) == "--db"
    assert (mode_of(private), mode_of(private / "store.db")) == ("0755", "0644")


def test_a_file_that_takes_the_place_of_one_that_was_looked_at_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    init(folder)
    private = tmp_path / "private"
    private.touch(0o600)
    head = folder / "store.db.head"
    chown = os.chown

    def plant_first(*given: Any, **options: Any) -> None:
        if not head.is_symlink():
            head.unlink()
            head.symlink_to(private)
        chown(*given, **options)

    monkeypatch.setattr(os, "chown", plant_first)
    share(folder / "store.db", grp.getgrnam(GROUP).gr_gid, {".head": True})
    assert head.is_symlink()
    assert mode_of(private) == "0600"
