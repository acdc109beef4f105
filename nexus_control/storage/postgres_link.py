"""One connection to a PostgreSQL server, and what a fault on it means.

Text may hold U+0000, which PostgreSQL cannot store. It is written as U+0001 U+0001, and U+0001 as U+0001 U+0002: other
text is stored as it is, no two texts are stored alike, and the order by code points stays.

Every connection waits for a lock as long as the storage's `busy_seconds`, and for a statement a minute more, which is
enough to read a store of a million entries. A transaction in which the client falls silent ends after ten minutes.
"""

import contextlib
import os
import re
import select
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import psycopg
from psycopg import conninfo, generators
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.types.numeric import Int8Dumper

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage.faults import damaged, forked, unavailable
from nexus_control.storage.postgres_address import Address

Row: TypeAlias = tuple[Any, ...]
Statement: TypeAlias = tuple[str, Sequence[Any]]

OLDEST_SERVER = 140_000
_SCHEMA = "nexus_control"
_SHORTEST_SECONDS = 0.001
_STATEMENT_SECONDS = 60
_SILENT_SECONDS = 600
_SETTINGS = """SELECT set_config(name, value, false) FROM (VALUES
    ('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END),
    ('default_transaction_isolation', 'read committed'),
    ('timezone', 'UTC'),
    ('lock_timeout', %s::text),
    ('statement_timeout', %s::text),
    ('idle_in_transaction_session_timeout', %s::text),
    ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3')
) AS settings(name, value)"""
_SEARCH_PATH = "SELECT setting, source FROM pg_settings WHERE name = 'search_path'"
_COMMIT = "COMMIT"
_DONE = (psycopg.pq.ExecStatus.TUPLES_OK, psycopg.pq.ExecStatus.COMMAND_OK)
_ACTIVE = psycopg.pq.TransactionStatus.ACTIVE
_IDLE = psycopg.pq.TransactionStatus.IDLE

UNBOUNDED = "SET LOCAL statement_timeout = 0"
"""For the rest of a transaction that makes something of the whole store again, however large it is."""

BUSY = "55P03"
_NO_PRIVILEGE = "42501"
_READ_ONLY = "25006"
_OF_CONTENT = ("42P01", "42703", "42883", "XX001", "XX002")
"""A table, column or function is missing, or a page is corrupt."""

_RIGHTS = (
    "Let the owner grant the role {role} what it needs: docs/howto/run-it-on-postgresql.md, under Roles."
)
_OF_ROLES = "Name a role that the server knows (postgresql://ROLE@host/database), and put its password into ~/.pgpass."
_OF_TLS = (
    "See what ?sslmode= of the URL asks for. Where it names none, a server on another machine must prove who it is"
    " (verify-full): give its root certificate with ?sslrootcert=FILE."
)
_ADVICE = (
    (
        re.compile(r'role ".*" (does not exist|is not permitted)|authentication failed|pg_hba|no password'),
        _OF_ROLES,
    ),
    (
        re.compile(r'database ".*" does not exist'),
        "Make the database with createdb, or name another in the URL.",
    ),
    (
        re.compile(r"could not translate host name|failed to resolve|Name or service"),
        "See that the host is spelled right in the URL, and that this machine can look it up.",
    ),
    (
        re.compile(r"service"),
        "Name a service that ~/.pg_service.conf, or the file of PGSERVICEFILE, defines.",
    ),
    (re.compile(r"ssl|certificate", re.IGNORECASE), _OF_TLS),
)
"""By what libpq says: it gives no SQLSTATE for a connection that was refused. What it says in another language gets
the advice for a server that is away.
"""
_LATER = "See that the server runs and can be reached from here, then try again."
_UNKNOWN = "Look at the request's status before you try again: the change may have been recorded."


def _encoded(text: str) -> bytes:
    if "\0" in text or "\1" in text:
        text = text.replace("\1", "\1\2").replace("\0", "\1\1")
    return text.encode()


class _TextDumper(Dumper):
    oid = 25

    def dump(self, obj: str) -> bytes:
        return _encoded(obj)


class _TextLoader(Loader):
    def load(self, data: Buffer) -> str:
        text = str(data, "utf-8")
        return text.replace("\1\1", "\0").replace("\1\2", "\1") if "\1" in text else text


class Link:
    """A connection in autocommit mode: transactions are begun and ended by statements. `schema` is where the store is,
    and what names without a schema mean.
    """

    __slots__ = ("__weakref__", "_connection", "_cursor", "_pid", "_prepared", "_unasked", "_where", "schema")

    def __init__(self, where: str) -> None:
        self._connection: psycopg.Connection[Row] | None = None
        self._pid = os.getpid()
        self._where = where
        self.schema = ""

    def attach(self, connection: psycopg.Connection[Row]) -> None:
        adapters = connection.adapters
        adapters.register_dumper(str, _TextDumper)
        adapters.register_dumper(int, Int8Dumper)
        adapters.register_loader("text", _TextLoader)
        self._connection = connection
        self._cursor = connection.cursor()  # which keeps the adapters of this moment
        self._prepared = dict[bytes, bytes]()
        self._unasked = select.poll()
        self._unasked.register(connection.fileno(), select.POLLIN)

    @property
    def connection(self) -> psycopg.Connection[Row]:
        """Raises STORE_FORKED in a child of a fork."""
        if self._connection is None:
            raise forked(self._where)
        return self._connection

    def execute(self, sql: str, parameters: Sequence[Any] = (), *, prepare: bool = True) -> list[Row]:
        if self._connection is None:
            raise forked(self._where)
        self._cursor.execute(sql.encode(), parameters or None, prepare=prepare)
        return self._cursor.fetchall() if self._cursor.description else []

    def control(self, sql: str) -> str | None:
        """Begin or end a transaction; the first value of the last statement. A cursor would drop all prepared
        statements after a ROLLBACK.
        """
        last = self._answers(self.connection.pgconn.send_query, sql.encode())[-1]
        value = last.get_value(0, 0) if last.ntuples else None
        return None if value is None else value.decode()

    def commit(self, before: Sequence[Statement] = ()) -> None:
        """COMMIT, after these statements. The server answers the COMMIT of a transaction in which a statement failed
        with ROLLBACK, and calls that no error. Raises STORE_UNAVAILABLE for it.
        """
        if before:
            tag = self._run_all([*before, (_COMMIT, ())]).statusmessage
        else:
            status = self._answers(self.connection.pgconn.send_query, _COMMIT.encode())[-1].command_status
            tag = status and status.decode()
        if tag != _COMMIT:
            raise unavailable(
                f"the store {self._where} failed: a statement of the transaction had failed before its end, and the"
                " server rolled it back",
                path=self._where,
            )

    def call(self, sql: bytes, parameters: Iterable[str | int | None]) -> str | None:
        """What a statement answers that gives one text, with its parameters as $1, $2, ... A cursor would take three
        times as long, and an append does nothing else.
        """
        pgconn = self.connection.pgconn
        given = [
            each if each is None else _encoded(each) if isinstance(each, str) else b"%d" % each
            for each in parameters
        ]
        if sql not in self._prepared:
            self._prepare(pgconn, sql)
        try:
            results = self._answers(pgconn.send_query_prepared, self._prepared[sql], given)
        except psycopg.errors.InvalidSqlStatementName:  # psycopg dropped them all, and nothing was done
            self._prepare(pgconn, sql)
            results = self._answers(pgconn.send_query_prepared, self._prepared[sql], given)
        value = results[0].get_value(0, 0)
        return None if value is None else value.decode()

    def _prepare(self, pgconn: psycopg.pq.abc.PGconn, sql: bytes) -> None:
        name = f"call_{len(self._prepared)}".encode()
        self._answers(pgconn.send_prepare, name, sql)
        self._prepared[sql] = name

    def _answers(self, send: Callable[..., None], *content: object) -> list[psycopg.pq.abc.PGresult]:
        connection = self.connection
        send(*content)
        results = connection.wait(generators.execute(connection.pgconn))
        for result in results:
            if result.status not in _DONE:
                raise psycopg.errors.error_from_result(result)
        return results

    def execute_all(self, statements: Sequence[Statement]) -> list[Row]:
        """The rows of the last statement; all of them are sent at once."""
        if len(statements) == 1:
            return self.execute(*statements[0])
        last = self._run_all(statements)
        return last.fetchall() if last.description else []

    def _run_all(self, statements: Sequence[Statement]) -> psycopg.Cursor[Row]:
        """The cursor of the last one."""
        connection, cursors, failed = self.connection, list[psycopg.Cursor[Row]](), None
        try:
            with connection.pipeline():
                try:
                    for sql, parameters in statements:
                        cursors.append(connection.execute(sql.encode(), parameters or None, prepare=True))
                except psycopg.Error as error:  # past the pipeline's exit, psycopg would log it
                    failed = error
        except psycopg.Error as error:
            failed = failed or error
        if failed is not None:
            raise failed
        return cursors[-1]

    def is_alive(self) -> bool:
        """Whether a connection that nobody used for a while can be used. A server that ended it has sent that, and
        hardly anything else comes unasked. Nothing is sent unless something came.
        """
        if not self.is_idle():
            return False
        if self._unasked.poll(0):
            try:
                self.execute("SELECT 1")
            except psycopg.Error:
                return False
        return True

    def is_lost(self) -> bool:
        """Whether the server can say nothing more on it."""
        return self._connection is None or self._connection.closed

    def is_idle(self) -> bool:
        connection = self._connection
        return (
            connection is not None and not connection.closed and connection.pgconn.transaction_status == _IDLE
        )

    def roll_back(self) -> None:
        """End the transaction, if there is one. A connection that cannot do that is closed: the server ends it."""
        if self._connection is None or self.is_idle():
            return
        try:
            if self._connection.pgconn.transaction_status != _ACTIVE:
                self.control("ROLLBACK")
            else:  # an interruption left a statement under way
                self.close()
        except psycopg.Error:
            self.close()

    def close(self) -> None:
        if self._connection is not None and self._pid == os.getpid():
            with contextlib.suppress(psycopg.Error):
                self._connection.close()

    def __del__(self) -> None:
        self.close()

    def disown(self) -> None:
        """In a child of a fork: leave the parent's connection alone. To close it in order would end it for the parent,
        so only this process's descriptor of its socket is closed.
        """
        if self._connection is not None:
            _of_parents.append(self._connection)
            if not self._connection.closed:
                os.close(self._connection.fileno())
            self._connection = None


_of_parents: list[object] = []
"""Never collected: a connection that is collected is closed."""


def connect(link: Link, address: Address, busy_seconds: float) -> None:
    """Give the link a new connection. Raises `psycopg.Error`, STORE_UNAVAILABLE."""
    connection = psycopg.connect(
        conninfo.make_conninfo(**address.parameters), autocommit=True, prepare_threshold=0
    )
    link.attach(connection)
    try:
        _require_usable(connection, address)
        spans = (max(busy_seconds, _SHORTEST_SECONDS), busy_seconds + _STATEMENT_SECONDS, _SILENT_SECONDS)
        link.execute(_SETTINGS, [f"{span * 1000:.0f}" for span in spans], prepare=False)
        link.schema = _schema(link)
        name = link.schema.replace('"', '""')
        link.execute(f'SET search_path = "{name}", pg_temp', prepare=False)
    except BaseException:
        link.close()
        raise


def _require_usable(connection: psycopg.Connection[Row], address: Address) -> None:
    info = connection.info
    if info.server_version < OLDEST_SERVER:
        raise unavailable(
            f"{address.where} is PostgreSQL {info.server_version // 10_000}: a store needs"
            f" {OLDEST_SERVER // 10_000} or newer",
            path=address.where,
        )
    if (encoding := info.parameter_status("server_encoding")) != "UTF8":
        raise unavailable(
            f"{address.where} has the encoding {encoding}: a store needs a database with the encoding UTF8",
            path=address.where,
        )


def _schema(link: Link) -> str:
    ((setting, source),) = link.execute(_SEARCH_PATH, prepare=False)
    first = setting.split(",")[0].strip().strip('"')
    return first if source == "client" and first else _SCHEMA


def fault(error: psycopg.Error, address: Address) -> NexusControlError:
    """The fault of the driver or the server, as every storage raises it."""
    said = error.diag.message_primary or str(error).strip().partition("\n")[0] or type(error).__name__
    said, where, state = address.without_secrets(said), address.where, error.sqlstate
    details = {"path": where} | ({"sqlstate": state} if state else {})
    if state == BUSY:
        return unavailable(f"{where} is busy: another process is writing all the time", **details)
    if state in _OF_CONTENT:
        return damaged(f"the store {where} failed: {said}", **details)
    if state in (_NO_PRIVILEGE, _READ_ONLY):
        role = address.parameters.get("user") or "of this connection"
        message = f"{where} may not be written or read here as far as this needs: {said}"
        return NexusControlError(ErrorCode.STORE_UNAVAILABLE, message, details, _RIGHTS.format(role=role))
    if is_of_connection(error):
        message = f"the server of {where} cannot be reached, or ended the connection: {said}"
        advice = next((advice for what, advice in _ADVICE if what.search(str(error))), _LATER)
        return NexusControlError(ErrorCode.STORE_UNAVAILABLE, message, details, advice)
    return unavailable(f"the store {where} failed: {said}", **details)


def unknown_outcome(address: Address) -> NexusControlError:
    """The connection was lost between a change that was sent, and its acknowledgement."""
    return NexusControlError(
        ErrorCode.STORE_UNAVAILABLE,
        f"the connection to {address.where} was lost before the server answered: whether the change was recorded is"
        " not known",
        {"path": address.where, "outcome": "unknown"},
        _UNKNOWN,
    )


def is_of_connection(error: psycopg.Error) -> bool:
    """Whether the server could not be reached, or ended the connection."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state.startswith(("08", "57P", "28", "3D"))
