"""What of which nexus-control.toml is used: by its place, and by who may have written it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nexus_control.configuration import FILE_NAME, Configuration, Source, look
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.config import adapters_of
from nexus_control.execution.opening import opened_router
from nexus_control.storage import IN_MEMORY
from tests.support.amounts import ROUNDS

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
SOMEBODY = 12_345
ADAPTER = '[adapters.keys]\nkind = "subprocess"\n'


class Machine:
    """The places of the files, each in a folder of its own; the working folder is `project/src`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        for name in ("project/src", "home", "etc", "named"):
            (folder / name).mkdir(parents=True)
        monkeypatch.chdir(folder / "project" / "src")

    def place(self, name: str) -> Path:
        return self.folder / name / FILE_NAME

    def write(self, name: str, text: str) -> Path:
        self.place(name).write_text(text, encoding="utf-8")
        return self.place(name)

    def look(self, given: Path | None = None) -> Configuration:
        return look(given, user=self.place("home"), system=self.place("etc"))

    def project(self) -> Source:
        (found,) = [source for source in self.look().sources if source.kind == "project"]
        return found


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def database(configuration: Configuration) -> str | None:
    setting = configuration.setting("database")
    return None if setting is None else setting.value


def test_the_file_of_the_option_then_the_systems_then_the_users_names_the_database(machine: Machine) -> None:
    assert database(machine.look()) is None
    machine.write("home", 'database = "own.db"')
    assert database(machine.look()) == str(machine.folder / "home" / "own.db")
    machine.write("etc", 'database = "/srv/all.db"')
    assert database(machine.look()) == "/srv/all.db"
    named = machine.write("named", 'database = "../named.db"')
    assert database(machine.look(named)) == str(machine.folder / "named" / ".." / "named.db")


def test_a_url_stays_as_it_is(machine: Machine) -> None:
    machine.write("home", 'database = "postgresql://h/decisions"')
    assert database(machine.look()) == "postgresql://h/decisions"


def test_a_projects_file_gives_its_adapters_and_nothing_else(machine: Machine) -> None:
    path = machine.write("project", f'database = "x.db"\nallowed_signers = "x"\ndefault = "allow"\n{ADAPTER}')
    configuration = machine.look()
    assert database(configuration) is None
    assert configuration.setting("allowed_signers") is None
    adapters = configuration.adapters()
    assert adapters is not None
    assert adapters.path == path


def test_the_first_file_that_declares_adapters_gives_them(machine: Machine) -> None:
    def adapters() -> Path | None:
        found = machine.look().adapters()
        return found and found.path

    assert adapters() is None
    system = machine.write("etc", ADAPTER)
    machine.write("project", 'database = "x.db"')
    assert adapters() == system
    assert adapters() != machine.write("home", 'database = "x.db"')
    user = machine.write("home", ADAPTER)
    assert adapters() == user
    nearer = machine.write("project/src", ADAPTER)
    assert adapters() == nearer
    named = machine.write("named", "")
    found = machine.look(named).adapters()
    assert found is not None
    assert found.path == named


def test_the_users_own_file_is_no_projects_where_one_works_beside_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.write("home", 'database = "own.db"')
    monkeypatch.chdir(machine.folder / "home")
    assert [source.kind for source in machine.look().sources] == ["user", "system"]


@pytest.mark.parametrize("place", ["home", "etc"])
@pytest.mark.parametrize("text", ["[adapters", 'database = ""', "database = 5", "databse = 'x.db'"])
def test_a_file_that_might_name_the_database_and_cannot_be_read_is_an_error(
    machine: Machine, place: str, text: str
) -> None:
    path = machine.write(place, text)
    with pytest.raises(NexusControlError) as refused:
        machine.look().setting("database")
    assert refused.value.code is ErrorCode.CONFIG_INVALID
    assert str(path) in refused.value.message


def test_the_names_of_later_versions_are_known(machine: Machine) -> None:
    later = "[groups]\n[[notify]]\n[secrets]\n[inbox]\n"
    (project, *_) = machine.look(machine.write("named", later)).sources
    assert (project.fault, len(project.table)) == (None, 4)


def test_the_rule_book_is_that_of_one_file_and_never_of_a_projects(machine: Machine) -> None:
    def rules() -> Path | None:
        found = machine.look().section("rules")
        return found and found.path

    machine.write("project", 'default = "allow"\n[[rules]]\n')
    assert rules() is None
    user = machine.write("home", 'default = "deny"\n')
    assert rules() == user
    system = machine.write(
        "etc", "[[rules]]\n"
    )  # without a default: its own fault, not filled from another file
    assert rules() == system
    named = machine.write("named", 'default = "deny"\n')
    found = machine.look(named).section("rules")
    assert found is not None
    assert found.path == named


@pytest.mark.parametrize(
    ("mode", "folder_mode", "says"),
    [
        (0o646, 0o755, "everybody may write"),
        (0o644, 0o757, "everybody may write the folder"),
        (0o644, 0o1777, "everybody may write the folder"),
    ],
)
def test_what_others_may_write_is_not_used(machine: Machine, mode: int, folder_mode: int, says: str) -> None:
    path = machine.write("project", ADAPTER)
    path.chmod(mode)
    path.parent.chmod(folder_mode)
    found = machine.project()
    assert found.unsafe is not None
    assert says in found.unsafe
    assert not found.table
    assert machine.look().adapters() is None


@needs_root
@pytest.mark.parametrize("owned", ["file", "folder", "target", "folder of the target"])
def test_what_belongs_to_somebody_else_is_not_used(machine: Machine, owned: str) -> None:
    path = machine.write("project", ADAPTER)
    if "target" in owned:
        path.rename(machine.place("named"))
        path.symlink_to(machine.place("named"))
    target = path.resolve()
    os.chown(target.parent if "folder" in owned else target, SOMEBODY, -1)
    found = machine.project()
    assert found.unsafe is not None
    assert f"belongs to uid {SOMEBODY}" in found.unsafe


@needs_root
def test_a_group_may_write_it_only_where_the_user_is_alone_in_it(machine: Machine) -> None:
    path = machine.write("project", ADAPTER)
    path.chmod(0o664)
    assert machine.project().unsafe is None  # root's own group
    os.chown(path, -1, SOMEBODY)
    assert "its group may write" in str(machine.project().unsafe)
    os.chown(path, -1, 0)
    if shutil.which("setfacl"):
        subprocess.run(["setfacl", "-m", f"u:{SOMEBODY}:rw", str(path)], check=True)
        assert "its group may write" in str(machine.project().unsafe)


@needs_root
@pytest.mark.parametrize("place", ["home", "etc"])
def test_a_users_or_systems_file_of_somebody_else_names_no_database(machine: Machine, place: str) -> None:
    os.chown(machine.write(place, 'database = "x.db"'), SOMEBODY, -1)
    assert database(machine.look()) is None


@needs_root
def test_a_file_that_the_option_names_is_trusted_whoever_owns_it(machine: Machine) -> None:
    named = machine.write("named", 'database = "x.db"')
    os.chown(named, SOMEBODY, -1)
    assert database(machine.look(named)) == str(machine.folder / "named" / "x.db")


@needs_root
@pytest.mark.parametrize(
    "others", ["the link", "the folder of the link", "a folder above", "the link in a sticky one"]
)
def test_what_is_reached_through_others_is_not_used(machine: Machine, others: str) -> None:
    real = machine.write("named", ADAPTER)
    between = machine.folder / "project" / "between"
    between.mkdir()
    link = between / "link"
    link.symlink_to(real)
    machine.place("project").symlink_to(link)
    assert machine.project().table
    if others == "the link":
        os.chown(link, SOMEBODY, -1, follow_symlinks=False)
    elif others == "the folder of the link":
        os.chown(between, SOMEBODY, -1)
    elif others == "a folder above":
        os.chown(machine.folder, SOMEBODY, -1)
    else:
        between.chmod(0o1777)
    found = machine.project()
    assert found.unsafe is not None
    assert not found.table


def test_a_sticky_folder_may_lie_on_the_way(machine: Machine) -> None:
    machine.write("project", ADAPTER)
    machine.folder.chmod(0o1777)
    assert machine.project().table


def test_links_that_lead_in_a_circle_are_no_file(machine: Machine) -> None:
    machine.place("project").symlink_to(machine.place("project"))
    assert [source.kind for source in machine.look().sources] == ["user", "system"]


FLIP = """
import os, sys
folder, targets = sys.argv[1], sys.argv[2:]
print("ready", flush=True)
while True:
    for target in targets:
        os.symlink(target, f"{folder}/new")
        os.rename(f"{folder}/new", f"{folder}/link")
"""


@needs_root
def test_a_link_that_somebody_else_turns_never_leads_to_their_file(machine: Machine) -> None:
    theirs = machine.folder / "theirs"
    theirs.mkdir()
    machine.folder.chmod(0o755)
    (theirs / FILE_NAME).write_text(ADAPTER.replace("keys", "theirs"))
    real = machine.write("named", ADAPTER)
    (theirs / "link").symlink_to(real)
    machine.place("project").symlink_to(theirs / "link")
    os.chown(theirs, SOMEBODY, -1)
    os.chown(theirs / FILE_NAME, SOMEBODY, -1)
    words = [sys.executable, "-c", FLIP, str(theirs), str(real), str(theirs / FILE_NAME)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as flipping:
        try:
            assert flipping.stdout is not None
            assert flipping.stdout.readline()
            for _ in range(ROUNDS * 10):
                assert [source.table for source in machine.look().sources if source.kind == "project"] == [{}]
        finally:
            flipping.kill()


def test_what_was_read_is_what_is_used_after_the_file_has_changed(machine: Machine) -> None:
    whole = f'{ADAPTER}capabilities = ["apply"]\n[adapters.keys.tools.look]\nargv = ["true"]\n'
    path = machine.write("project", whole)
    found = machine.look().adapters()
    path.write_text(whole.replace("keys", "theirs"))
    assert found is not None
    assert adapters_of(found).ids() == ("subprocess:keys",)
    with opened_router(database=IN_MEMORY, config=found, factory=None) as router:
        assert router is not None
        assert router.get_adapter_capabilities("subprocess:keys") is not None


def test_without_a_projects_file_the_users_is_the_first(machine: Machine) -> None:
    machine.write("project", ADAPTER)
    user = machine.write("home", ADAPTER)
    found = look(project=False, user=user, system=machine.place("etc")).adapters()
    assert found is not None
    assert found.path == user


def _link_to_nothing(path: Path) -> None:
    path.symlink_to("/nonexistent/file")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("put", "said"),
    [
        (_link_to_nothing, "is a link that leads to nothing"),
        (_loop, "cannot be read"),
        (Path.mkdir, "is not a regular file"),
        (os.mkfifo, "is not a regular file"),
    ],
    ids=["a dangling link", "a loop", "a folder", "a FIFO"],
)
def test_what_cannot_be_looked_at_in_the_systems_place_is_a_fault_and_not_an_absent_file(
    put: Callable[[Path], object], said: str, machine: Machine
) -> None:
    machine.write("home", 'database = "own.db"\ndefault = "allow"\n')
    put(machine.place("etc"))
    (system,) = [source for source in machine.look().sources if source.kind == "system"]
    assert system.is_there
    for read in (lambda: machine.look().section("rules"), lambda: database(machine.look())):
        with pytest.raises(NexusControlError, match=said) as caught:
            read()
        assert caught.value.code == ErrorCode.CONFIG_INVALID


def test_a_file_in_a_folder_that_is_not_there_is_absent(machine: Machine) -> None:
    machine.write("home", 'database = "own.db"')
    for missing in (machine.folder / "gone", machine.place("home")):  # no folder, and a file in place of one
        found = look(None, project=False, user=machine.place("home"), system=missing / FILE_NAME)
        assert database(found) == str(machine.folder / "home" / "own.db")
