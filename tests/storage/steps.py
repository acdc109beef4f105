"""Small steps that the tests of SqliteStorage take."""

import contextlib
import sqlite3
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nexus_control.storage.contract import Storage
from nexus_control.storage.sqlite import migrate
from nexus_control.storage.sqlite_schema import MIGRATIONS
from tests.storage.rows import entry


@contextlib.contextmanager
def raw(path: Path) -> Generator[sqlite3.Connection]:
    """A connection of somebody else."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def copy_to_schema(version: int, source: Path, target: Path) -> None:
    """A database of an earlier schema with what `source` holds, as far as that schema had a place for it."""
    with raw(target) as connection:
        migrate(connection, str(target), MIGRATIONS[:version])
        connection.execute("ATTACH ? AS source", (str(source),))
        for (table,) in connection.execute(
            "SELECT name FROM main.sqlite_master WHERE type = 'table'"
        ).fetchall():
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
            connection.execute(f"INSERT INTO main.{table}({columns}) SELECT {columns} FROM source.{table}")


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
