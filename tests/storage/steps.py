"""Small steps that the tests of SqliteStorage take."""

import contextlib
import sqlite3
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nexus_control.storage.contract import Storage
from tests.storage.rows import entry


@contextlib.contextmanager
def raw(path: Path) -> Generator[sqlite3.Connection]:
    """A connection of somebody else."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def number(connection: sqlite3.Connection, sql: str) -> int:
    return connection.execute(sql).fetchone()[0]


def append(storage: Storage, stream: str, seq: int = 0) -> None:
    with storage.writing() as rows:
        rows.append([entry(stream, seq)])


def log_size(storage: Storage) -> int:
    with storage.reading() as rows:
        return rows.log_size()


def in_thread(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()
