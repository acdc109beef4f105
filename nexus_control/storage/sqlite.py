"""SqliteStorage: the contract on SQLite, in a file or in memory.

A file is in WAL mode with `synchronous=FULL`: acknowledged writes survive a loss of power, and readers neither block
the writer nor wait for it. `storage.sqlite_file` says how one process shares a file among threads, stores and forks. A
file that this process may only read is read as `storage.sqlite_reading` says. A
storage in memory is one connection under one lock. It refuses to work in a forked child, where its writes would be lost
unnoticed.

The path is resolved once, links too (`storage.place_of`). The store stays that file, whatever happens to the links
later, and its other files lie beside the file itself.

A `sqlite3.Error` is translated to STORE_UNAVAILABLE in one place, where the transaction ends.
"""

import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType

from nexus_control.errors import NexusControlError
from nexus_control.storage.contract import BUSY_SECONDS, Derive, Reader, ResultT, Writer, unled
from nexus_control.storage.faults import busy, damaged, old_for_a_reader, unavailable
from nexus_control.storage.moved import migrated, parse_moved
from nexus_control.storage.sidecar import FileSidecar, MemorySidecar, Sidecar
from nexus_control.storage.sqlite_connection import connect, transaction
from nexus_control.storage.sqlite_file import SqliteFile
from nexus_control.storage.sqlite_form import Form, damages, differences, form_of, mending, stale_indexes
from nexus_control.storage.sqlite_memory import SqliteMemory
from nexus_control.storage.sqlite_reading import keeps_from_writing
from nexus_control.storage.sqlite_rows import SqliteRows
from nexus_control.storage.sqlite_schema import (
    DERIVED_SINCE,
    EARLIER,
    LEADING,
    SCHEMA,
    VERSION,
    is_made,
    require_usable_path,
    schema_of,
)

IN_MEMORY = ":memory:"

_UNMARKED = (0, 0)
_TAKE_SNAPSHOT = "SELECT 1 FROM claims LIMIT 1"
"""BEGIN takes no snapshot; the first read does."""

_OF_CONTENT = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_ERROR,  # a missing table or column
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_NOTADB,
}


class SqliteStorage:
    """A store in the file at `path`, which is made if it is missing, or in memory (":memory:"). `path` is absolute and
    leads through no link (`storage.place_of`).
    """

    def __init__(
        self, path: str | os.PathLike[str], busy_seconds: float = BUSY_SECONDS, *, derive: Derive = unled
    ) -> None:
        if os.fspath(path) == IN_MEMORY:
            self.name = IN_MEMORY
            self.sidecar: Sidecar = MemorySidecar()
            self._place = SqliteMemory(partial(_make, where=IN_MEMORY), busy_seconds)
            return
        file = Path(path)
        self.name = str(file)
        self.sidecar = FileSidecar(file)
        self._place = _opened(file, busy_seconds, derive)

    def reading(self) -> AbstractContextManager[Reader]:
        return _Transaction(self._place.transaction("BEGIN", writing=False), self.name, _TAKE_SNAPSHOT)

    def writing(self) -> AbstractContextManager[Writer]:
        return _Transaction(self._place.transaction("BEGIN IMMEDIATE", writing=True), self.name)

    def write(self, work: Callable[[Writer], ResultT]) -> ResultT:
        def on(connection: sqlite3.Connection) -> ResultT:
            rows = SqliteRows(connection)
            try:
                return work(rows)
            finally:
                rows.end()

        try:
            return self._place.write(on)
        except sqlite3.Error as error:
            raise _fault(error, self.name) from error

    def form_differences(self) -> list[str]:
        with self._raw("BEGIN", writing=False) as connection:
            return differences(form_of(connection), _form()) + stale_indexes(connection)

    def mend_form(self) -> None:
        with self._raw("BEGIN IMMEDIATE", writing=True) as connection:
            for statement in list(mending(form_of(connection), _form())):
                connection.execute(statement)

    @contextmanager
    def _raw(self, begin: str, *, writing: bool) -> Generator[sqlite3.Connection]:
        """A transaction that has not read any table yet."""
        try:
            with self._place.transaction(begin, writing=writing) as connection:
                yield connection
        except sqlite3.Error as error:
            raise _fault(error, self.name) from error

    def held(self) -> AbstractContextManager[None]:
        return self._place.held()

    def close(self) -> None:
        self._place.close()


def require_form(path: Path) -> None:
    """Refuse a file that is not exactly as this version makes a store, or as the one before did, or that SQLite finds
    damaged. The file is only read, as one that nobody writes. Raises STORE_UNAVAILABLE.
    """
    _require_ours(path)
    try:
        with closing(connect(f"{path.as_uri()}?immutable=1", 0)) as connection:
            form = _form(_version(connection))
            problems = differences(form_of(connection), form) or damages(connection)
    except UnicodeDecodeError as error:  # as in `_opened`
        raise damaged(f"{path} is damaged: its schema is not text", path=str(path)) from error
    except sqlite3.Error as error:
        raise _fault(error, str(path)) from error
    if problems:
        raise damaged(problems[0], path=str(path))


class _Transaction(AbstractContextManager[SqliteRows]):
    """A transaction as rows. Every call of a store makes one, and a generator takes twice as long."""

    __slots__ = ("_first", "_inner", "_session", "_where")

    def __init__(
        self, inner: AbstractContextManager[sqlite3.Connection], where: str, first: str | None = None
    ) -> None:
        self._inner = inner
        self._where = where
        self._first = first

    def __enter__(self) -> SqliteRows:
        try:
            connection = self._inner.__enter__()
            try:
                if self._first is not None:
                    connection.execute(self._first).fetchone()
            except BaseException as error:
                self._inner.__exit__(type(error), error, error.__traceback__)
                raise
        except sqlite3.Error as error:
            raise _fault(error, self._where) from error
        self._session = SqliteRows(connection)
        return self._session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._session.end()
            self._inner.__exit__(kind, error, trace)
        except sqlite3.Error as fault:
            raise _fault(fault, self._where) from fault
        if isinstance(error, sqlite3.Error):
            raise _fault(error, self._where) from error


def _opened(path: Path, busy_seconds: float, derive: Derive) -> SqliteFile:
    require_usable_path(path)
    where = str(path)
    prepare = partial(_prepare, where=where, derive=derive)
    try:
        if not path.exists():
            return SqliteFile(path, prepare, busy_seconds)
        _require_ours(path)
        if reads_only := keeps_from_writing(path) is not None:
            prepare = partial(_prepare_to_read, where=where)
        return SqliteFile(path, prepare, busy_seconds, reads_only=reads_only)
    except UnicodeDecodeError as error:  # SQLite quotes a damaged schema in its message
        raise damaged(f"{path} is damaged: its schema is not text", path=where) from error
    except sqlite3.Error as error:
        raise _fault(error, where) from error


def _require_ours(path: Path) -> None:
    """Refuse another program's database before it is changed. Raises STORE_UNAVAILABLE.

    An immutable connection takes no lock, recovers nothing and makes no file. It sees the file without its WAL, and
    perhaps in the middle of a checkpoint: where it cannot tell, `_prepare` decides. A schema cookie of 0 means that no
    table was ever made.
    """
    connection = connect(f"{path.as_uri()}?immutable=1", 0)
    try:
        mark = _mark(connection)
        is_empty = mark == _UNMARKED and _number(connection, "PRAGMA schema_version") == 0
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            return
        raise damaged(f"{path} is not a database: choose another path", path=str(path)) from error
    finally:
        connection.close()
    is_made(path, *mark, empty=is_empty)


def _prepare(connection: sqlite3.Connection, where: str, derive: Derive) -> None:
    with transaction(connection, "BEGIN"):  # before the file is switched to WAL
        version = _made_version(connection, where)
    connection.execute("PRAGMA synchronous = FULL")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise unavailable(f"{where} is on a file system without WAL: use a local disk", path=where)
    if version is None:
        _make(connection, where)
    elif version in EARLIER:
        _migrate(connection, derive)


def _prepare_to_read(connection: sqlite3.Connection, where: str) -> None:
    version = _made_version(connection, where)
    if version is None:
        raise unavailable(f"{where} holds no store yet, and may not be written here", path=where)
    if version in EARLIER:
        raise old_for_a_reader(Path(where))


def _make(connection: sqlite3.Connection, where: str) -> None:
    """Make the store, unless another process was faster. Raises STORE_UNAVAILABLE for another database."""
    with transaction(connection, "BEGIN IMMEDIATE"):
        if _made_version(connection, where) is None:
            for statement in SCHEMA:
                connection.execute(statement)


def _migrate(connection: sqlite3.Connection, derive: Derive) -> None:
    """Lead an earlier schema to this one, unless another process was faster."""
    with transaction(connection, "BEGIN IMMEDIATE"):
        earlier = _version(connection)
        statements = [each for version in EARLIER if version >= earlier for each in LEADING[version]]
        for statement in statements:
            connection.execute(statement)
        rows = SqliteRows(connection)
        if earlier < DERIVED_SINCE:
            derive(rows)
        if (moved := rows.moved()) is not None:
            rows.move(moved)  # tables that are new are guarded, too


def _version(connection: sqlite3.Connection) -> int:
    return _number(connection, "PRAGMA user_version")


def _mark(connection: sqlite3.Connection) -> tuple[int, int]:
    """`application_id` and `user_version`: whose database it is, and of which schema."""
    return _number(connection, "PRAGMA application_id"), _version(connection)


def _made_version(connection: sqlite3.Connection, where: str) -> int | None:
    """The schema of the store; None where the database is still empty. Raises STORE_UNAVAILABLE for another one."""
    mark = _mark(connection)
    is_empty = mark == _UNMARKED and _number(connection, "SELECT count(*) FROM sqlite_master") == 0
    return mark[1] if is_made(where, *mark, empty=is_empty) else None


def _form(version: int = VERSION) -> Form:
    """The form of a new store of this version."""
    with closing(connect(IN_MEMORY, 0)) as connection:
        for statement in schema_of(version):
            connection.execute(statement)
        return form_of(connection)


def _number(connection: sqlite3.Connection, sql: str) -> int:
    return connection.execute(sql).fetchone()[0]


def _fault(error: sqlite3.Error, where: str) -> NexusControlError:
    if (moved := parse_moved(str(error))) is not None:
        return migrated(moved)
    details = {"path": where}
    if name := getattr(error, "sqlite_errorname", None):
        details["sqlite_errorname"] = name
    if details.get("sqlite_errorname", "").startswith("SQLITE_BUSY"):
        return busy(f"{where} is busy: another program holds it ({error})", **details)
    make = damaged if _is_of_content(error) else unavailable
    return make(f"the store {where} failed: {error}", **details)


def _is_of_content(error: sqlite3.Error) -> bool:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by Python itself, for a text that is not UTF-8
        return isinstance(error, sqlite3.OperationalError)
    return code & 0xFF in _OF_CONTENT or code == sqlite3.SQLITE_IOERR_SHORT_READ
