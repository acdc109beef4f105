"""A private PostgreSQL server for tests: its own cluster in a temporary folder, on a socket and on a loopback port.

Each process of pytest starts one when its first test needs it, and stops it at its end. A server does not run as root,
so root starts it as another user. The kernel ends it when its test process is killed (`setpriv --pdeathsig`), and a
later run removes the folder: nobody holds the lock on it any more.

It does not flush: what is tested is what survives the end of a process, not of a machine.
"""

import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from nexus_control.storage.contract import BUSY_SECONDS, Storage
from nexus_control.storage.postgres import PostgresStorage
from nexus_control.storage.sidecar import MemorySidecar

PASSWORD = "quite-secret"
_PREFIX = "nexus-control-postgres-"
_USERS = ("postgres", "nobody")
_READY = b"database system is ready to accept connections"
_TRIES = 3


class Cluster:
    """A server that runs until `stop`. `user` is its superuser."""

    user = "postgres"

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        made = Path(tempfile.mkdtemp(prefix="new-"))
        self._lock = _lock_on(made)  # before it has the name by which another process takes it for a leftover
        self._folder = made.rename(made.with_name(_PREFIX + made.name))
        self._as_user = _other_user(self._folder)
        self._data = self._folder / "data"
        self._numbers = count(1)
        self.port = 0
        self._server: subprocess.Popen[bytes] | None = None
        password = self._folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        password.chmod(0o644)
        subprocess.run(
            [
                *self._as_user,
                binaries / "initdb",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
                f"--username={self.user}",
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                f"--pwfile={password}",
                f"--pgdata={self._data}",
            ],
            check=True,
            capture_output=True,
            cwd=self._folder,
        )
        self.start()

    def url(self, schema: str = "", *, tcp: bool = False, user: str = "", database: str = "postgres") -> str:
        """The URL of a store in this schema, which need not be there yet."""
        options = f"options=-csearch_path%3D{schema}" if schema else ""
        if tcp:
            return f"postgresql://{user or self.user}:{PASSWORD}@127.0.0.1:{self.port}/{database}?{options}"
        where = f"host={quote(str(self._folder), safe='')}&port={self.port}"
        return f"postgresql://{user or self.user}@/{database}?{where}&{options}".rstrip("&")

    def execute(self, sql: str, *, schema: str = "") -> list[tuple[Any, ...]]:
        """As the superuser, on a connection of its own."""
        with psycopg_connect(self.url(schema)) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def new_schema(self) -> str:
        """A name that no test has used."""
        return f"store_{os.getpid()}_{next(self._numbers)}"

    def start(self) -> None:
        for _ in range(_TRIES):
            self.port = self.port or _free_port()
            command = [
                *self._as_user,
                self._binaries / "postgres",
                f"-D{self._data}",
                "-clisten_addresses=127.0.0.1",
                f"-cport={self.port}",
                f"-cunix_socket_directories={self._folder}",
                "-cfsync=off",
                "-clogging_collector=off",
                "-clog_destination=stderr",
                "-clc_messages=C",
                "-cmax_connections=100",
            ]
            self._server = subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            if self._is_ready(self._server):
                return
            self.port = 0
        raise RuntimeError("the server does not start")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends all connections, SIGQUIT ends the server as a crash does."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait()
            self._server = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)
        os.close(self._lock)

    def _is_ready(self, server: subprocess.Popen[bytes]) -> bool:
        assert server.stderr is not None
        for line in server.stderr:
            if _READY in line:
                # A pipe that nobody reads would stop the server.
                threading.Thread(target=_drain, args=(server,), daemon=True).start()
                return True
        server.wait()
        return False


def open_postgres(url: str, busy_seconds: float = BUSY_SECONDS) -> Storage:
    """The store at this URL, with what lies beside it in memory."""
    return PostgresStorage(url, busy_seconds, sidecar=MemorySidecar())


def psycopg_connect(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection of somebody else, in autocommit mode."""
    return psycopg.connect(url, autocommit=True)


def binaries() -> Path | None:
    """The folder of the server's programs; a package puts them outside the PATH."""
    found = shutil.which("postgres")
    if found is not None:
        return Path(found).resolve().parent
    if (tool := shutil.which("pg_config")) is not None:
        said = subprocess.run([tool, "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
        if (Path(said) / "postgres").exists():
            return Path(said)
    kept = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return kept[-1].parent if kept else None


def started() -> Iterator[Cluster]:
    """A running cluster; skips where there can be none."""
    found = binaries()
    if found is None:
        pytest.skip("there are no programs of a PostgreSQL server here")
    _remove_leftovers()
    cluster = Cluster(found)
    yield cluster
    cluster.remove()


def _other_user(folder: Path) -> list[str]:
    """What runs a command as a user who may start a server, and ends it together with this process."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if os.geteuid() == 0:
            pytest.skip(
                "a PostgreSQL server does not run as root, and there is no setpriv to start it as another user"
            )
        return []
    command = [setpriv, "--pdeathsig=INT"]
    if os.geteuid() == 0:
        user = next((each for name in _USERS if (each := _user(name)) is not None), None)
        if user is None:
            pytest.skip("a PostgreSQL server does not run as root, and there is no other user")
        os.chown(folder, user.pw_uid, user.pw_gid)
        command += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return command


def _user(name: str) -> pwd.struct_passwd | None:
    with suppress(KeyError):
        return pwd.getpwnam(name)
    return None


def _remove_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            os.close(_lock_on(folder))
            shutil.rmtree(folder)


def _lock_on(folder: Path) -> int:
    """Raises OSError where a living process has it."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _drain(server: subprocess.Popen[bytes]) -> None:
    assert server.stderr is not None
    with server.stderr as lines:
        for _ in lines:
            pass
