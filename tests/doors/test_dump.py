"""The lines of docs/howto/run-it-on-postgresql.md that dump a store and put the dump back, run by a real server."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.doors.place import Place, execution, requested
from tests.support.places import REPOSITORY
from tests.support.postgres import Cluster, binaries

PAGE = REPOSITORY / "docs/howto/run-it-on-postgresql.md"
PROGRAMS = ("pg_dump", "pg_restore", "psql")


def lines_of_the_page(*, place: str, places: dict[str, str]) -> list[list[str]]:
    """The lines of the page that name one of the programs and this place, with these places instead of the page's."""
    blocks = re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    named = [
        each
        for block in blocks
        for each in block.splitlines()
        if each.startswith((*PROGRAMS, "tar")) and place in each
    ]
    for old, new in places.items():
        named = [each.replace(old, new) for each in named]
    return [shlex.split(each) for each in named]


def ran(command: list[str]) -> None:
    found = binaries()
    assert found is not None
    environment = {**os.environ, "PATH": f"{found}:{os.environ['PATH']}"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture
def dumps(tmp_path: Path) -> Path:
    if not all((binaries() or tmp_path).joinpath(each).exists() for each in PROGRAMS):
        pytest.skip("the client programs of PostgreSQL are not here")
    folder = tmp_path / "dumps"
    folder.mkdir()
    return folder


def database(cluster: Cluster) -> str:
    """The URL of a new database."""
    name = cluster.new_schema()
    cluster.execute(f"CREATE DATABASE {name}")
    return cluster.url(database=name)


def desk(cluster: Cluster, dumps: Path, folder: Path) -> tuple[Place, list[list[str]]]:
    """A new store, and the page's lines that dump it, drop it, and put it back."""
    url = database(cluster)
    place = Place(url, folder / "log")
    place.answer("init")
    places = {"postgresql://owner@db.example/decisions": url, "/var/backups/decisions": str(dumps)}
    return place, lines_of_the_page(place="db.example", places=places)


def test_a_dump_that_was_put_back_executes_nothing_until_its_owner_accepts_the_loss(
    cluster: Cluster, dumps: Path, tmp_path: Path
) -> None:
    place, (dump, drop, restore) = desk(cluster, dumps, tmp_path)
    once, later = (requested(place, tmp_path / name) for name in ("once", "later"))
    ran(dump)
    place.answer(*execution(once, tmp_path))
    ran(drop)
    ran(restore)
    refused = place.answer(*execution(once, tmp_path), code=1)
    assert refused["code"] == "STORE_ROLLED_BACK"
    place.answer("doctor", "--accept-rollback")
    place.answer(*execution(later, tmp_path))
    assert place.answer("doctor")["ok"]


def test_a_dump_goes_on_in_the_database_of_a_new_server(
    cluster: Cluster, dumps: Path, tmp_path: Path
) -> None:
    old, (dump, *_) = desk(cluster, dumps, tmp_path)
    request_id = requested(old, tmp_path / "done")
    ran(dump)
    new = database(cluster)
    places = {"postgresql://owner@new.example/decisions": new, "/var/backups/decisions": str(dumps)}
    (restore,) = lines_of_the_page(place="@new.example", places=places)
    ran(restore)
    place = Place(new, tmp_path / "log")
    assert place.answer("doctor")["ok"]
    place.answer(*execution(request_id, tmp_path))
    assert (tmp_path / "done").read_text() == "new"


def test_a_dump_beside_a_folder_that_was_lost_too_executes_nothing_until_its_owner_accepts_the_loss(
    cluster: Cluster, dumps: Path, tmp_path: Path
) -> None:
    """The page says to copy the folder without its head."""
    place, (dump, drop, restore) = desk(cluster, dumps, tmp_path)
    once, later = (requested(place, tmp_path / name) for name in ("once", "later"))
    pack, lay_out = lines_of_the_page(
        place="log.tar",
        places={"/srv/nexus-control": str(tmp_path), "/var/backups/decisions": str(dumps)},
    )
    ran(pack)
    ran(dump)
    place.answer(*execution(once, tmp_path))
    (tmp_path / "once").unlink()
    ran(drop)
    shutil.rmtree(tmp_path / "log")
    ran(lay_out)
    ran(restore)
    for command in (execution(once, tmp_path), ("log", "checkpoint")):
        assert place.answer(*command, code=1)["code"] == "STORE_ROLLED_BACK"
    place.answer("deny", later, "--reason", "not now", "--as", "human:bob", "--yes")  # which makes no head
    looked = place.answer("doctor", code=3)
    assert [each["code"] for each in looked["faults"]] == ["STORE_RESTORED"]
    assert not (tmp_path / "once").exists()
    place.answer("doctor", "--accept-rollback")
    assert place.answer("doctor")["ok"]
    place.answer(*execution(once, tmp_path))
