"""The machine, as far as figures depend on it."""

import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from benchmarks.results import Machine


def machine(postgresql: str | None) -> Machine:
    return Machine(
        cores=os.cpu_count() or 1,
        system=platform.system(),
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        postgresql=_server_version(postgresql),
        psycopg=_installed("psycopg"),
        eventsourcing=_installed("eventsourcing"),
    )


def _installed(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _server_version(url: str | None) -> str | None:
    if url is None or find_spec("psycopg") is None:
        return None
    import psycopg

    with psycopg.connect(url) as connection:
        return f"{connection.info.server_version // 10000}.{connection.info.server_version % 10000}"
