"""`make soak` in twenty seconds, and that what its judge compares can disagree."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from nexus_control.log.checkpoints import publish
from nexus_control.log.head import Head
from tests.concurrency.crashing import in_nursery
from tests.soak.conducting import soak
from tests.soak.journal import lines_of
from tests.soak.judging import judge
from tests.soak.places import SqliteFile
from tests.support.amounts import IN_FULL
from tests.support.postgres import binaries

pytestmark = pytest.mark.skipif(not IN_FULL, reason="takes a minute: make joints")
SEED = 7


POSTGRES = pytest.param(
    "postgres", marks=pytest.mark.skipif(binaries() is None, reason="needs a PostgreSQL server")
)


@pytest.mark.parametrize("storage", ["sqlite", POSTGRES])
def test_writers_that_are_killed_all_the_time_leave_a_store_in_which_everything_agrees(
    storage: str, tmp_path: Path
) -> None:
    in_nursery(soak, storage, tmp_path, 20.0, 2, SEED, 8)


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("soaked")
    in_nursery(soak, "sqlite", folder, 4.0, 1, SEED, 4)
    return folder


Change = Callable[[Path], None]


def _journals(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.calls"), key=lambda path: path.stat().st_size)


def _last_ended(path: Path, what: str) -> tuple[list[dict[str, object]], int]:
    """The lines, and which of them ends the last acknowledged call of this kind."""
    lines = list(lines_of(path))
    begun = {line["n"] for line in lines if line.get("begun") == what}
    return lines, max(n for n, line in enumerate(lines) if line["n"] in begun and line.get("code", 0) is None)


def _written(path: Path, lines: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def _acknowledge_what_is_not_stored(folder: Path) -> None:
    path = _journals(folder)[-1]
    lines, at = _last_ended(path, "approve")
    (begun,) = [line for line in lines if line["n"] == lines[at]["n"] and "begun" in line]
    _written(path, [*lines, begun | {"n": "more"}, lines[at] | {"n": "more"}])


def _forget_a_call(folder: Path) -> None:
    path = _journals(folder)[-1]
    lines, at = _last_ended(path, "approve")
    _written(path, [line for line in lines if line["n"] != lines[at]["n"]])


def _refuse_what_is_stored(folder: Path) -> None:
    path = _journals(folder)[-1]
    lines, at = _last_ended(path, "approve")
    lines[at] = lines[at] | {"code": "INVALID_STATE", "got": {}}
    _written(path, lines)


def _refuse_with_another_code(folder: Path) -> None:
    path = _journals(folder)[-1]
    lines, _ = _last_ended(path, "approve")
    more: list[dict[str, object]] = [
        {"n": "more", "begun": "approve", "on": "x"},
        {"n": "more", "code": "INTERNAL", "got": {}},
    ]
    _written(path, [*lines, *more])


def _export_something_else(folder: Path) -> None:
    for path in _journals(folder):
        lines = list(lines_of(path))
        for line in lines:
            if "events" in line.get("got", ()):
                line["got"]["events"] = "0" * 64
        _written(path, lines)


def _run_twice(folder: Path) -> None:
    tally = folder / "tally"
    tally.write_text(tally.read_text() + tally.read_text().splitlines()[-1] + "\n")


def _run_what_nobody_asked_for(folder: Path) -> None:
    tally = folder / "tally"
    tally.write_text(f"{tally.read_text()}x something\n")


def _forget_an_effect(folder: Path) -> None:
    tally = folder / "tally"
    tally.write_text("".join(tally.read_text().splitlines(keepends=True)[1:]))


def _read_a_page_twice(folder: Path) -> None:
    path = folder / "follower-0.feed"
    pages = list(lines_of(path))
    # A page of the log's own entries has a cursor and no events, and may be read twice.
    _written(path, [next(page for page in pages if page["events"]), *pages])


def _keep_a_checkpoint_of_another_log(folder: Path) -> None:
    (folder / "other").mkdir()
    with SqliteFile(folder / "other").store() as other:
        note = publish(other).note
    (folder / "x.notes").write_text(f"{json.dumps(note)}\n")


def _change_a_projection(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "decisions.db")) as connection, connection:
        connection.execute("UPDATE projections SET goal = 'another' WHERE ordinal = 3")


def _put_another_head(folder: Path) -> None:
    (folder / "decisions.db.head").write_bytes(Head(size=3, root="0" * 64).to_bytes())


CHANGES: dict[str, tuple[Change, str]] = {
    "an acknowledged call that is not stored": (_acknowledge_what_is_not_stored, "call more: approve"),
    "a projection that is no replay": (_change_a_projection, "PROJECTION_DIFFERS"),
    "a head of another history": (_put_another_head, "STORE_ROLLED_BACK"),
    "an event that nobody made": (_forget_a_call, "nobody made"),
    "an event of a refused call": (_refuse_what_is_stored, "ended with INVALID_STATE"),
    "a refusal that cannot be": (_refuse_with_another_code, "was refused with INTERNAL"),
    "a bundle of something else": (_export_something_else, "is not the beginning"),
    "an effect that happened twice": (_run_twice, "had its effect 2 times"),
    "an effect of no decision": (_run_what_nobody_asked_for, "an effect of something"),
    "a completed run without its effect": (
        _forget_an_effect,
        "is completed, and its effect happened 0 times",
    ),
    "a follower that read a page twice": (_read_a_page_twice, "follower-0 read other events"),
    "a checkpoint of another log": (_keep_a_checkpoint_of_another_log, "is not of this log"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_judge_names_what_does_not_agree(what: str, soaked: Path, tmp_path: Path) -> None:
    change, said = CHANGES[what]
    folder = tmp_path / "copy"
    shutil.copytree(soaked, folder)
    change(folder)
    found, _ = judge(SqliteFile(folder), folder)
    assert any(said in each for each in found), found
