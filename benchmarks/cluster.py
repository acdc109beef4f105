"""A PostgreSQL server for one run: a new cluster in a folder, on the loopback interface, behind a password.

Where this process is root, the server runs as the user `postgres`, since it refuses to run as root. It syncs as it does
by default.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

OWNER = "postgres"


def programs() -> Path | None:
    """The folder of the server's programs; None where there are none, or nobody to run them."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders or (os.geteuid() == 0 and OWNER not in {user.pw_name for user in pwd.getpwall()}):
        return None
    return folders[-1]


@contextmanager
def private_cluster(binaries: Path, folder: Path) -> Generator[str]:
    """The URL of a server that runs until the end of the block."""
    folder.mkdir(mode=0o700)
    data, secret, password, port = folder / "data", folder / "secret", secrets.token_urlsafe(24), _free_port()
    secret.write_text(password, encoding="utf-8")
    if os.geteuid() == 0:
        for path in (folder, secret):
            shutil.chown(path, OWNER)
    _run(
        binaries, "initdb", "-D", data, "-A", "scram-sha-256", f"--pwfile={secret}", "-U", OWNER, "-E", "UTF8"
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c timezone=UTC"
    _run(binaries, "pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", options)
    try:
        yield f"postgresql://{OWNER}:{password}@127.0.0.1:{port}/postgres"
    finally:
        _run(binaries, "pg_ctl", "stop", "-w", "-m", "fast", "-D", data)


def _run(binaries: Path, program: str, *arguments: str | Path) -> None:
    subprocess.run(
        [str(binaries / program), *map(str, arguments)],
        cwd="/",
        user=OWNER if os.geteuid() == 0 else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
