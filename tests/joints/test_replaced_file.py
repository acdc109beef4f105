"""Files that are taken away or put there beneath an open store, and the names by which they are reached."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.cli.frame import Frame
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.opening import opened_router
from nexus_control.log.checkpoints import publish
from nexus_control.storage import in_place
from tests.joints.office import approved, execute, requested, require_whole, runs_in
from tests.support.clock import an_hour_later
from tests.support.governed import ALICE
from tests.support.places import REPOSITORY


def _delete(path: Path) -> None:
    path.unlink()


def _replace_by_another_store(path: Path) -> None:
    other = path.with_name("other.db")
    DecisionStore(other).close()
    other.replace(path)


def _replace_by_a_copy_of_itself(path: Path) -> None:
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def _take_the_wal_away(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def _take_the_locks_away(path: Path) -> None:
    path.with_name(f"{path.name}-shm").unlink()


def _put_back_by_tar(path: Path) -> None:
    """What a person does who restores a folder: tar sets the folder's time back, too."""
    folder, archive = path.parent, path.parent.parent / f"{path.parent.name}.tar"
    tar = ["tar", "--format=posix", f"--directory={folder}", f"--file={archive}"]
    subprocess.run([*tar, "--create", "."], check=True)
    subprocess.run([*tar, "--extract", f"--exclude=./{path.name}"], check=True)


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize(
    ("replace", "is_readable"),
    [
        (_delete, False),
        (_replace_by_another_store, False),
        (_replace_by_a_copy_of_itself, False),
        (_take_the_wal_away, True),
        (_take_the_locks_away, True),
        (_put_back_by_tar, True),
    ],
)
def test_a_store_acknowledges_and_runs_nothing_once_its_file_was_replaced(
    replace: Callable[[Path], None],
    is_readable: bool,
    settled: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, runs = tmp_path / "store.db", tmp_path / "runs"
    tools = NexusControlTools(db_path=path)
    if settled:  # the folder has not changed for long
        monkeypatch.setattr(in_place, "SYSTEM_CLOCK", an_hour_later())
    request_id = approved(tools)
    replace(path)
    result = tools.request("Rotate", ALICE)
    assert result.error_code == ErrorCode.STORE_REPLACED, result.error
    assert str(path) in str(result.error)
    assert tools.status(request_id).success == is_readable
    assert execute(tools, request_id, runs) == ErrorCode.STORE_REPLACED
    assert runs_in(runs) == 0
    tools.store.close()


def test_what_is_written_while_the_file_is_replaced_is_not_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    def write(store: DecisionStore) -> None:
        with store.writing() as session:
            session.reserve()
            _replace_by_another_store(path)

    with DecisionStore(path) as store:
        with pytest.raises(NexusControlError) as refused:
            write(store)
        assert refused.value.code == ErrorCode.STORE_REPLACED


def test_closing_a_replaced_store_leaves_the_new_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    old = NexusControlTools(db_path=path)
    requested(old)
    _replace_by_another_store(path)
    path.with_name("store.db-wal").unlink()
    path.with_name("store.db-shm").unlink()
    new = NexusControlTools(db_path=path)
    request_id = requested(new)
    old.store.close()
    later = requested(new)
    new.store.close()
    require_whole(path, request_id, later)


def test_a_link_is_followed_once_and_everything_lies_beside_the_real_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, links = tmp_path / "real", tmp_path / "links"
    real.mkdir()
    links.mkdir()
    (links / "store.db").symlink_to(real / "store.db")
    monkeypatch.chdir(links)
    with DecisionStore("store.db", allowed_signers="signers") as by_link:
        monkeypatch.chdir(tmp_path)
        origin = publish(by_link).verifier
        assert by_link.allowed_signers == links / "signers"
    with DecisionStore(real / "store.db") as by_path:
        assert publish(by_path).verifier == origin
    assert sorted(each.name for each in links.iterdir()) == ["store.db"]
    config = tmp_path / "nexus-control.toml"
    config.write_text("")
    for database in (str(links / "store.db"), f"sqlite://{links / 'store.db'}"):
        assert Frame(database=database).path == str(real / "store.db")
        with opened_router(database=database, config=config, factory=None):
            pass
    assert sorted(each.name for each in real.iterdir()) == [
        "store.db",
        "store.db.checkpoint",
        "store.db.key",
        "store.db.runs",
    ]


_MAKE_A_KEY = """
import os, signal, sys
from pathlib import Path
from nexus_control import DecisionStore
from nexus_control.log.checkpoints import publish
moment, kill = sys.argv[2], lambda *_: os.kill(os.getpid(), signal.SIGKILL)
def killed(event, arguments):
    if event == moment and (isinstance(arguments[0], int) or ".writing-" in str(arguments[0])):
        kill()
sys.addaudithook(killed)
with DecisionStore(sys.argv[1]) as store:
    store.create_decision()
    publish(store)
"""


@pytest.mark.parametrize("moment", ["open", "os.chmod", "os.link", "os.remove"])
def test_a_kill_while_the_key_is_made_leaves_a_store_that_can_sign(moment: str, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    command = [sys.executable, "-c", _MAKE_A_KEY, str(path), moment]
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL
    with DecisionStore(path) as store:
        assert publish(store).checkpoint.size
    assert (tmp_path / "store.db.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("content", "code"), [(b"", None), (b"-----BEGIN", ErrorCode.KEY_UNUSABLE)])
def test_an_empty_key_is_replaced_by_a_new_one_and_a_broken_one_is_named(
    content: bytes, code: ErrorCode | None, tmp_path: Path
) -> None:
    path, key = tmp_path / "store.db", tmp_path / "store.db.key"
    key.touch(0o600)
    key.write_bytes(content)
    with DecisionStore(path) as store:
        store.create_decision()
        if code is None:
            assert publish(store).checkpoint.size
            return
        with pytest.raises(NexusControlError, match=str(key)) as refused:
            publish(store)
        assert refused.value.code == code


_MOUNTED = """
mount --bind "$1/real/store.db" "$1/other/store.db"
exec "$2" -c "import sys; from nexus_control import *; DecisionStore(sys.argv[1])" "$1/other/store.db"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_database_that_is_mounted_as_a_single_file_is_refused(tmp_path: Path) -> None:
    """Each of its two names would have a WAL of its own, and a decision could run twice."""
    for folder in ("real", "other"):
        (tmp_path / folder).mkdir()
    DecisionStore(tmp_path / "real" / "store.db").close()
    (tmp_path / "other" / "store.db").touch()
    command = ["unshare", "--mount", "sh", "-ec", _MOUNTED, "sh", str(tmp_path), sys.executable]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if "unshare" in ended.stderr or "mount:" in ended.stderr:
        pytest.skip(f"nothing can be mounted here: {ended.stderr}")
    assert "mounted as a single file" in ended.stderr
