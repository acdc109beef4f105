"""`-o` on whatever a person can name: as `cp` and `curl -o` would, and never over the store's own files."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nexus_control.cli.targets import put
from nexus_control.execution.run_log import RunLog
from nexus_control.store import DecisionStore
from nexus_control.system.clock import SYSTEM_CLOCK
from tests.cli.office import field
from tests.cli.running import Commands, environment, nexus_control

NOBODY = 65534


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """A store with one request in it."""
    made = Commands(tmp_path)
    made.run("request", "rotate the keys")
    return made


def leaves(commands: Commands) -> str:
    """The document that the tests have written somewhere."""
    return commands.run("log", "export")


def node(path: Path, minor: int) -> Path:
    """A character node of the test's own: 3 is null, 7 is full."""
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, minor))
        path.open("wb").close()
    except OSError as error:
        pytest.skip(f"no nodes can be made or opened here: {error}")
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o666])
def test_an_existing_file_keeps_its_mode_and_owner(
    commands: Commands, tmp_path: Path, permissions: int
) -> None:
    target = tmp_path / "leaves"
    target.write_text("a longer content than the new one" * 100)
    target.chmod(permissions)
    if os.getuid() == 0:
        os.chown(target, NOBODY, NOBODY)
    before = target.stat()
    commands.run("log", "export", "-o", str(target))
    after = target.stat()
    assert target.read_text() == leaves(commands)
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_a_new_file_gets_the_mode_of_the_umask(commands: Commands, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        commands.run("log", "export", "-o", str(tmp_path / "leaves"))
    finally:
        os.umask(before)
    assert mode(tmp_path / "leaves") == 0o640


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing yet"])
def test_a_link_is_followed_and_stays_a_link(commands: Commands, tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    real, link, second = folder / "real", tmp_path / "link", tmp_path / "second"
    if there:
        real.write_text("old")
    link.symlink_to(Path("elsewhere") / "real")
    second.symlink_to(link)
    commands.run("log", "export", "-o", str(second))
    assert (real.read_text(), link.is_symlink(), second.is_symlink()) == (leaves(commands), True, True)
    assert [each.name for each in folder.iterdir()] == ["real"]


def test_a_file_of_two_names_is_changed_under_both(commands: Commands, tmp_path: Path) -> None:
    target, other = tmp_path / "leaves", tmp_path / "other"
    target.write_text("old" * 1000)
    other.hardlink_to(target)
    commands.run("log", "export", "-o", str(target))
    assert (other.read_text(), other.samefile(target)) == (leaves(commands), True)


def test_a_file_with_attributes_keeps_them(commands: Commands, tmp_path: Path) -> None:
    target = tmp_path / "leaves"
    target.write_text("old" * 1000)
    try:
        os.setxattr(target, "user.note", b"mine")
    except OSError as error:
        pytest.skip(f"no attributes here: {error}")
    commands.run("log", "export", "-o", str(target))
    assert (target.read_text(), os.getxattr(target, "user.note")) == (leaves(commands), b"mine")


def test_a_device_is_written_to_and_stays_one(commands: Commands, tmp_path: Path) -> None:
    target, link = node(tmp_path / "null", 3), tmp_path / "link"
    link.symlink_to(target)
    for each in (target, link):
        assert str(each) in commands.run("log", "export", "-o", str(each))
    assert stat.S_ISCHR(target.stat().st_mode)
    assert not list(tmp_path.glob(".writing-*"))


def test_a_device_that_takes_nothing_is_a_refusal_that_names_the_option(
    commands: Commands, tmp_path: Path
) -> None:
    refused = commands.answer("log", "export", "-o", str(node(tmp_path / "full", 7)), code=2)
    assert field(refused) == "--output"
    assert "No space left" in refused["message"]


def test_who_reads_a_fifo_gets_the_document(commands: Commands, tmp_path: Path) -> None:
    fifo, read = tmp_path / "fifo", list[str]()
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    commands.run("log", "export", "-o", str(fifo))
    reader.join(60)
    assert read == [leaves(commands)]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("as_file", [True, False], ids=["a file", "a pipe"])
def test_standard_output_has_names(commands: Commands, tmp_path: Path, name: str, as_file: bool) -> None:
    expected = leaves(commands)
    with (tmp_path / "out").open("wb") as out:
        ran = subprocess.run(
            [sys.executable, "-m", "nexus_control", "log", "export", "--db", "store.db", "-o", name],
            cwd=tmp_path,
            env=environment(),
            stdout=out if as_file else subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=240,
        )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ((tmp_path / "out").read_bytes() if as_file else ran.stdout).decode() == expected
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize("through_a_link", [False, True], ids=["by name", "through a link"])
def test_a_descriptor_is_written_to(commands: Commands, tmp_path: Path, through_a_link: bool) -> None:
    reading, writing = os.pipe()
    name = f"/dev/fd/{writing}"
    if through_a_link:
        (tmp_path / "link").symlink_to(name)
        name = str(tmp_path / "link")
    commands.run("log", "export", "-o", name)
    os.close(writing)  # what was written to was another descriptor of the same pipe
    with os.fdopen(reading) as pipe:
        assert pipe.read() == leaves(commands)


def test_a_process_substitution_gets_the_document(commands: Commands, tmp_path: Path) -> None:
    script = f"{sys.executable} -m nexus_control log export --db store.db -o >(cat > got); wait $!"
    ran = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment(), timeout=240, check=False)
    assert ran.returncode == 0
    assert (tmp_path / "got").read_text() == leaves(commands)


def test_a_full_disk_leaves_the_old_content_and_names_the_option(tmp_path: Path) -> None:
    """On a disk of 64 KiB: one file that is replaced, and one of two names that is written in its place."""
    commands = Commands(tmp_path)
    request_id = commands.answer("request", "g", "--plan", "x" * 100_000)["request_id"]
    disk = tmp_path / "disk"
    disk.mkdir()
    run = f"{sys.executable} -m nexus_control export {request_id} --db store.db --json -o"
    script = f"""
        mount -t tmpfs -o size=64k none disk || exit 99
        for each in one two; do echo old > disk/$each; done
        ln disk/two disk/three
        for each in one two new; do {run} disk/$each; echo $?; done
        cat disk/one disk/two; ls -A disk
    """
    ran = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if ran.returncode == 99 or "unshare" in ran.stderr:
        pytest.skip(f"nothing can be mounted here: {ran.stderr}")
    assert ran.stdout.count('"problem": "names disk/') == ran.stdout.count('No space left on device"\n') == 3
    assert ran.stdout.count('"field": "--output"') == 3
    assert [line for line in ran.stdout.splitlines() if line.isdigit()] == ["2", "2", "2"]
    assert ran.stdout.splitlines()[-5:] == ["old", "old", "one", "three", "two"]


@pytest.mark.sample(3)
@pytest.mark.parametrize("option", ["-o", "--output"])
@pytest.mark.parametrize("name", ["", ".", "folder", "missing/leaves", "link"])
def test_what_is_no_file_is_refused(commands: Commands, tmp_path: Path, option: str, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    ran = nexus_control("log", "export", "--db", "store.db", option, name, "--json", folder=tmp_path)
    assert (ran.returncode, field(json.loads(ran.stdout))) == (2, "--output")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "link", "store.db"]


OWN = ["", "-wal", "-shm", "-journal", ".key", ".head", ".checkpoint", ".runs", ".runs-wal"]


def own_commands(commands: Commands, target: str) -> Iterator[tuple[str, ...]]:
    request_id = commands.answer("list")["requests"][0]["request_id"]
    bundle = str(commands.folder / "bundle")
    commands.run("export", request_id, "-o", bundle)
    yield from (
        ("export", request_id, "-o", target),
        ("statement", request_id, "--as", "human:bob", "-o", target),
        ("log", "checkpoint", "-o", target),
        ("log", "prove", request_id, "-o", target),
        ("log", "export", "-o", target),
        ("report", bundle, "-o", target),
        ("key", "generate", target),
    )


@pytest.mark.sample(2)
@pytest.mark.parametrize("suffix", OWN)
def test_no_command_writes_over_a_file_of_its_store(commands: Commands, tmp_path: Path, suffix: str) -> None:
    commands.run("log", "checkpoint", "-o", str(tmp_path / "checkpoint"))
    link = tmp_path / "link"
    link.symlink_to(f"store.db{suffix}")
    for target in (tmp_path / f"store.db{suffix}", link):
        for arguments in own_commands(commands, str(target)):
            before = target.read_bytes() if target.exists() else None
            refused = commands.answer(*arguments, code=2)
            assert field(refused) in ("--output", "FILE"), arguments
            assert "of the store itself" in refused["message"], arguments
            assert (target.read_bytes() if target.exists() else None) == before
    commands.run("doctor")


def test_a_key_is_never_put_over_anything_and_leaves_nothing_where_its_public_half_cannot_be(
    commands: Commands, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    (tmp_path / "key.pub").mkdir()
    assert field(commands.answer("key", "generate", str(key), code=2)) == "FILE"
    assert not key.exists()
    (tmp_path / "key.pub").rmdir()
    (tmp_path / "key.pub").symlink_to("missing/key.pub")
    assert field(commands.answer("key", "generate", str(key), code=2)) == "FILE"
    assert not key.exists()
    (tmp_path / "key.pub").unlink()
    commands.run("key", "generate", str(key))
    assert mode(key) == 0o600
    content = key.read_bytes()
    (tmp_path / "dangling").symlink_to("nowhere")
    for taken in (key, tmp_path / "dangling", node(tmp_path / "null", 3)):
        assert field(commands.answer("key", "generate", str(taken), code=2)) == "FILE"
    assert (key.read_bytes(), (tmp_path / "nowhere").exists()) == (content, False)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter, which that of pytest is not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def as_nobody(action: Callable[[], None]) -> str:
    """What an action raised that another user took, in a child of this process."""
    if os.getuid() != 0:
        pytest.skip("only root becomes another user")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            action()
        except OSError as error:
            os.write(writing, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "raised", "content"),
    [
        (0o777, 0o444, "PermissionError", b"old content"),
        (0o755, 0o666, "", b"new"),
        (0o777, 0o666, "", b"new"),
        (0o1777, 0o666, "", b"new"),
    ],
    ids=["not the file", "not the folder", "not the owner", "not in a sticky folder"],
)
def test_who_may_write_a_file_writes_it_and_nobody_else_does(
    public_folder: Path, folder_mode: int, file_mode: int, raised: str, content: bytes
) -> None:
    target = public_folder / "leaves"
    target.write_bytes(b"old content")
    target.chmod(file_mode)
    public_folder.chmod(folder_mode)
    assert as_nobody(lambda: put(target, b"new")) == raised
    assert target.read_bytes() == content
    assert (mode(target), target.stat().st_uid) == (file_mode, 0)
    assert [each.name for each in public_folder.iterdir()] == ["leaves"]


@pytest.mark.parametrize("kind", ["itself", "a link", "another name"])
def test_no_command_writes_over_what_it_reads(commands: Commands, tmp_path: Path, kind: str) -> None:
    request_id = commands.answer("list")["requests"][0]["request_id"]
    key, bundle, signers = tmp_path / "key", tmp_path / "bundle", tmp_path / "signers"
    commands.run("key", "generate", str(key))
    commands.run("export", request_id, "-o", str(bundle))
    signers.write_text("")
    package = ("audit", request_id, "--sign", str(key), "-o")
    for read, arguments in (
        (key, package),
        (bundle, ("report", str(bundle), "-o")),
        (bundle, ("audit", request_id, "--run-bundle", str(bundle), "-o")),
        (signers, ("--allowed-signers", str(signers), "export", request_id, "-o")),
    ):
        target = tmp_path / f"{read.name}.target"
        target.unlink(missing_ok=True)
        if kind == "a link":
            target.symlink_to(read)
        elif kind == "another name":
            target.hardlink_to(read)
        else:
            target = read
        before = read.read_bytes()
        refused = commands.answer(*arguments, str(target), code=2)
        assert (field(refused), "reads" in refused["message"]) == ("--output", True), arguments
        assert read.read_bytes() == before
    (tmp_path / "package.dsse.json").hardlink_to(key)
    assert field(commands.answer(*package, str(tmp_path / "package.json"), code=2)) == "--output"


@pytest.mark.sample(4)
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".key", ".head", ".checkpoint", ".runs", ".runs-wal"])
@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "in use"])
def test_no_command_writes_over_a_file_of_another_store(
    commands: Commands, tmp_path: Path, suffix: str, is_open: bool
) -> None:
    other, target = tmp_path / "other.db", tmp_path / f"other.db{suffix}"
    with DecisionStore(other):
        pass
    RunLog(f"{other}.runs", SYSTEM_CLOCK).close()
    program = (
        f"from nexus_control.store import DecisionStore; DecisionStore({str(other)!r}); print(); input()"
    )
    user = subprocess.Popen(
        [sys.executable, "-c", program], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert user.stdout is not None
    try:
        if is_open:
            user.stdout.readline()
        else:
            user.communicate(b"\n", timeout=240)
        before = target.read_bytes() if target.exists() else None
        refused = commands.answer("log", "export", "-o", str(target), code=2)
        assert (field(refused), "a file of a store" in refused["message"]) == ("--output", True)
        assert (target.read_bytes() if target.exists() else None) == before
    finally:
        if is_open:
            user.communicate(b"\n", timeout=240)


def test_another_programs_database_is_replaced_as_any_file_is(commands: Commands, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    commands.run("log", "export", "-o", str(tmp_path / "other.db"))
    assert (tmp_path / "other.db").read_text() == leaves(commands)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "words", ["log export -o new/", "log export --output file/", "key generate new/", "--db new/ request g"]
)
def test_a_name_that_says_it_is_a_folder_is_none_of_a_file(
    commands: Commands, tmp_path: Path, words: str
) -> None:
    (tmp_path / "file").write_text("old")
    given = ["--db", "store.db", *words.split(), "--json"]
    ran = nexus_control(*given, folder=tmp_path)
    assert ran.returncode == 2, ran.stdout
    refused = json.loads(ran.stdout)
    assert field(refused) == ("--db" if "new/ r" in words else "FILE" if "key" in words else "--output")
    assert "is not a folder" in refused["message"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "store.db"]
