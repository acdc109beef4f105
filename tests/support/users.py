"""Real Unix users, made for a test and removed after it, and a Python that they may run."""

import grp
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.places import REPOSITORY

PROGRAMS = ("useradd", "userdel", "groupadd", "groupdel", "ssh-keygen", "bash")
"""The programs that such a test needs, beside root's permission."""

_WRAPPER = """#!/usr/bin/env bash
LD_LIBRARY_PATH="${0%/bin/python3}/lib" exec -a "$0" "$0.real" "$@"
"""


def missing() -> str | None:
    """Why no users can be made here; None if they can."""
    if os.geteuid() != 0:
        return "only root may make users"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"{', '.join(absent)} not installed" if absent else None


@dataclass(frozen=True)
class User:
    """A user, who has a home of their own and runs our commands."""

    name: str
    home: Path
    python: Path

    @property
    def number(self) -> int:
        return pwd.getpwnam(self.name).pw_uid

    @property
    def login(self) -> str:
        """The id under which this user acts."""
        return f"{self.name}@{os.uname().nodename}"

    def run(
        self, *words: str, changes: Mapping[str, str] | None = None, mask: int = 0o022
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program as this user, from their home."""
        return subprocess.run(
            words,
            **self.settings(changes, mask),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def settings(self, changes: Mapping[str, str] | None = None, mask: int = 0o022) -> dict[str, Any]:
        """How `subprocess` begins a process of this user, in their home."""
        known = pwd.getpwnam(self.name)
        return {
            "cwd": self.home,
            "env": {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self.home), **(changes or {})},
            "user": known.pw_uid,
            "group": known.pw_gid,
            "extra_groups": [each.gr_gid for each in grp.getgrall() if self.name in each.gr_mem],
            "umask": mask,
        }


@contextmanager
def users(
    folder: Path, members: tuple[str, ...], others: tuple[str, ...]
) -> Generator[tuple[str, list[User]]]:
    """A new group with these members, and other users outside it. The names are made unique by our process id."""
    python = readable_python(folder)
    group = f"nct{os.getpid()}"
    made: list[User] = []
    _do("groupadd", group)
    try:
        for name in (*members, *others):
            user = User(f"{group}{name}", folder / name, python)
            own = ("-G", group) if name in members else ()
            _do("useradd", "-M", "-U", *own, "-d", str(user.home), "-s", "/bin/sh", user.name)
            made.append(user)
            user.home.mkdir(mode=0o755)
            os.chown(user.home, user.number, -1)
        yield group, made
    finally:
        for user in made:
            _do("userdel", user.name)
        _do("groupdel", group)


def readable_python(folder: Path) -> Path:
    """A Python with this package that every user may run: ours, or a copy in `folder`, of hard links where possible."""
    imports = "import nexus_control.cli.main, cryptography, pydantic"
    try:
        tried = subprocess.run(
            [sys.executable, "-c", imports],
            cwd="/",
            env={},
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
        )
    except OSError:
        return _copied_python(folder / "python")
    return Path(sys.executable) if tried.returncode == 0 else _copied_python(folder / "python")


def _copied_python(prefix: Path) -> Path:
    library = Path(sysconfig.get_paths()["stdlib"])
    packages = prefix / "lib" / library.name / "site-packages"
    ignored = shutil.ignore_patterns("site-packages", "test", "idlelib")
    shutil.copytree(library, prefix / "lib" / library.name, copy_function=_link, ignore=ignored)
    for shared in library.parent.glob("libpython*.so*"):
        _link(shared, prefix / "lib" / shared.name)
    for entry in map(Path, sys.path):
        if entry.is_dir() and entry.name in ("site-packages", "dist-packages"):
            shutil.copytree(entry, packages, copy_function=_link, dirs_exist_ok=True)
    own = packages / "nexus_control"
    shutil.copytree(REPOSITORY / "nexus_control", own, dirs_exist_ok=True)
    (prefix / "bin").mkdir()
    _link(Path(sys.executable).resolve(), prefix / "bin" / "python3.real")
    python = prefix / "bin" / "python3"
    python.write_text(_WRAPPER)
    python.chmod(0o755)
    return python


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(Path(source).resolve(), target)
    except FileExistsError:
        return
    except OSError:
        shutil.copy2(source, target)


def _do(*words: str) -> None:
    ran = subprocess.run(words, capture_output=True, text=True)
    assert ran.returncode == 0, (words, ran.stderr)
