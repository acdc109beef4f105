"""The SQLite schema, and what a file's first bytes say about it.

`PRAGMA application_id` says that the file is a nexus-control store, `PRAGMA user_version` which schema it has. This
version makes and reads schema 8. A file of schema 4 to 7 is led to it when it is opened, in one transaction with the
new number. For schema 4 and 5 it also makes the derived rows again from the log. A file of an earlier schema is
refused.

The database itself keeps the log append-only, whatever program writes: triggers refuse UPDATE, DELETE, and any INSERT
that is not at the next position or whose key exists. (The last also stops INSERT OR REPLACE, which deletes without
firing a DELETE trigger unless `recursive_triggers` is on.) This guards against mistakes; a forger who drops the
triggers is found by the chain.

The statements need SQLite 3.15; Python 3.11 itself promises only 3.7.15. STRICT tables would need 3.37, so CHECKs give
the types. Kinds are compared with OR, because for a list of three or more in a CHECK SQLite builds a table at every
insertion.

A subtree's key is its last leaf, which completes it: so the rows of one append stand together, at the table's end.

`listing` repeats the columns that decisions are searched by, for decisions with events: projections are wide, and
paging through them by offset would read them all. `labels` belongs to `listing`.
"""

import errno
import os
import stat
from functools import reduce
from pathlib import Path
from typing import get_args

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage.contract import EntryKind
from nexus_control.storage.faults import damaged, unavailable
from nexus_control.system.whole_files import read_head

APPLICATION_ID = int.from_bytes(b"NxCt", "big")
VERSION = 8
EARLIER = (4, 5, 6, 7)
DERIVED_SINCE = 6
"""The first schema whose derived rows are as this version makes them."""
_VERSION_AT = slice(60, 64)
"""Where a SQLite file has its `user_version` (https://www.sqlite.org/fileformat.html)."""
_UPGRADE = "Upgrade nexus-control, then try again."
_EXPORT = "Export the decisions with the version that wrote them, and import the bundles into a new store."

# `doctor` compares these texts with those in the file: one blank more, and it reports a changed table.

_KINDS = " OR ".join(f"kind = '{kind}'" for kind in get_args(EntryKind))
_ENTRIES = f"""
CREATE TABLE entries(
    position   INTEGER PRIMARY KEY,
    kind       TEXT NOT NULL CHECK ({_KINDS}),
    stream     TEXT NOT NULL CHECK (typeof(stream) = 'text'),
    generation INTEGER NOT NULL CHECK (typeof(generation) = 'integer'),
    seq        INTEGER NOT NULL CHECK (typeof(seq) = 'integer'),
    event_type TEXT NOT NULL CHECK (typeof(event_type) = 'text'),
    ts         TEXT NOT NULL CHECK (typeof(ts) = 'text'),
    actor_type TEXT NOT NULL CHECK (actor_type IN ('human', 'system')),
    actor_id   TEXT NOT NULL CHECK (typeof(actor_id) = 'text'),
    payload    TEXT NOT NULL CHECK (typeof(payload) = 'text'),
    digest     TEXT NOT NULL CHECK (typeof(digest) = 'text'),
    leaf       TEXT NOT NULL CHECK (typeof(leaf) = 'text'),
    origin     TEXT NOT NULL CHECK (origin IN ('local', 'imported')),
    UNIQUE (kind, stream, generation, seq)
)
"""
_FIRST_ENTRIES = """
CREATE INDEX first_entries ON entries(kind, position) WHERE generation = 0 AND seq = 0
"""
_ENTRIES_GROW_AT_THE_END = """
CREATE TRIGGER entries_grow_at_the_end BEFORE INSERT ON entries
WHEN NEW.position IS NOT (SELECT coalesce(max(position) + 1, 0) FROM entries)
  OR EXISTS (SELECT 1 FROM entries WHERE kind = NEW.kind AND stream = NEW.stream
             AND generation = NEW.generation AND seq = NEW.seq)
BEGIN
    SELECT RAISE(ABORT, 'entries are append-only: this position or key is not the next one');
END
"""
_ENTRIES_ARE_NOT_UPDATED = """
CREATE TRIGGER entries_are_not_updated BEFORE UPDATE ON entries
BEGIN
    SELECT RAISE(ABORT, 'entries are append-only: no UPDATE');
END
"""
_ENTRIES_ARE_NOT_DELETED = """
CREATE TRIGGER entries_are_not_deleted BEFORE DELETE ON entries
BEGIN
    SELECT RAISE(ABORT, 'entries are append-only: no DELETE');
END
"""
_SUBTREES = """
CREATE TABLE subtrees(
    last_leaf INTEGER NOT NULL,
    level     INTEGER NOT NULL,
    hash      BLOB NOT NULL CHECK (typeof(hash) = 'blob' AND length(hash) = 32),
    PRIMARY KEY (last_leaf, level)
) WITHOUT ROWID
"""
_AFTER_4 = tuple(f"{column} TEXT NOT NULL DEFAULT ''" for column in ("mode", "adapter_id", "request_key"))
_ADDED = "".join(f", {column}" for column in _AFTER_4)  # exactly as ALTER TABLE writes it
_AFTER_6 = "cancel TEXT NOT NULL DEFAULT ''"
_PROJECTIONS = f"""
CREATE TABLE projections(
    ordinal        INTEGER PRIMARY KEY,
    decision_id    TEXT NOT NULL UNIQUE,
    generation     INTEGER NOT NULL,
    event_count    INTEGER NOT NULL,
    created_at     TEXT NOT NULL,
    last_ts        TEXT NOT NULL,
    head           TEXT NOT NULL,
    phase          TEXT NOT NULL,
    approved_until TEXT NOT NULL,
    policy_seq     INTEGER NOT NULL,
    goal           TEXT NOT NULL,
    requester      TEXT NOT NULL,
    labels         TEXT NOT NULL,
    imported_count INTEGER NOT NULL,
    provenance     TEXT NOT NULL,
    progress       TEXT NOT NULL
, expires_at TEXT NOT NULL DEFAULT '~'{_ADDED})
"""
_REQUEST_KEYS = "CREATE UNIQUE INDEX request_keys ON projections(request_key) WHERE request_key <> ''"
_LISTING = """
CREATE TABLE listing(
    ordinal        INTEGER PRIMARY KEY,
    phase          TEXT NOT NULL,
    approved_until TEXT NOT NULL,
    expires_at     TEXT NOT NULL,
    requester      TEXT NOT NULL
)
"""
_LISTING_BY_STATE = "CREATE INDEX listing_by_state ON listing(phase, ordinal, approved_until, expires_at)"
_LISTING_BY_REQUESTER = "CREATE INDEX listing_by_requester ON listing(requester, ordinal)"
_LABELS = """
CREATE TABLE labels(
    label   TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    PRIMARY KEY (label, ordinal)
) WITHOUT ROWID
"""
_APPROVALS = """
CREATE TABLE approvals(
    ordinal INTEGER NOT NULL,
    person  TEXT NOT NULL CHECK (typeof(person) = 'text'),
    seq     INTEGER NOT NULL CHECK (typeof(seq) = 'integer'),
    content TEXT NOT NULL CHECK (typeof(content) = 'text'),
    PRIMARY KEY (ordinal, person)
) WITHOUT ROWID
"""
_CLAIMS = f"""
CREATE TABLE claims(
    decision_id  TEXT NOT NULL PRIMARY KEY,
    generation   INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    owner        TEXT NOT NULL,
    claimed_at   TEXT NOT NULL,
    recovered    INTEGER NOT NULL CHECK (recovered IN (0, 1)),
    late_outcome TEXT NOT NULL
, {_AFTER_6}) WITHOUT ROWID
"""
_ANSWERS = """
CREATE TABLE answers(
    digest    TEXT NOT NULL PRIMARY KEY,
    content   TEXT NOT NULL CHECK (typeof(content) = 'text'),
    truncated INTEGER NOT NULL CHECK (truncated IN (0, 1))
)
"""
_SINKS = """
CREATE TABLE sinks(
    name       TEXT NOT NULL PRIMARY KEY,
    cursor     INTEGER NOT NULL CHECK (typeof(cursor) = 'integer'),
    holder     TEXT NOT NULL CHECK (typeof(holder) = 'text'),
    held_until TEXT NOT NULL CHECK (typeof(held_until) = 'text'),
    trying     TEXT NOT NULL CHECK (typeof(trying) = 'text')
) WITHOUT ROWID
"""
_EVENTS_SET_ASIDE = """
CREATE TABLE events_set_aside(
    sink     TEXT NOT NULL,
    position INTEGER NOT NULL,
    event_id TEXT NOT NULL CHECK (typeof(event_id) = 'text'),
    at       TEXT NOT NULL CHECK (typeof(at) = 'text'),
    why      TEXT NOT NULL CHECK (typeof(why) = 'text'),
    PRIMARY KEY (sink, position)
) WITHOUT ROWID
"""

SCHEMA = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
    _ENTRIES,
    _FIRST_ENTRIES,
    _ENTRIES_GROW_AT_THE_END,
    _ENTRIES_ARE_NOT_UPDATED,
    _ENTRIES_ARE_NOT_DELETED,
    _SUBTREES,
    _PROJECTIONS,
    _REQUEST_KEYS,
    _LISTING,
    _LISTING_BY_STATE,
    _LISTING_BY_REQUESTER,
    _LABELS,
    _APPROVALS,
    _CLAIMS,
    _ANSWERS,
    _SINKS,
    _EVENTS_SET_ASIDE,
)
"""The statements that make a store in an empty database."""

LEADING: dict[int, tuple[str, ...]] = {
    4: (*(f"ALTER TABLE projections ADD COLUMN {column}" for column in _AFTER_4), _REQUEST_KEYS, _ANSWERS),
    5: (_APPROVALS,),
    6: (f"ALTER TABLE claims ADD COLUMN {_AFTER_6}",),
    7: (_SINKS, _EVENTS_SET_ASIDE, f"PRAGMA user_version = {VERSION}"),
}
"""The statements that lead from each earlier schema to the next. Schema 4 knew no idempotency keys and kept no answers;
schema 5 kept all approvals of a decision in its projection; schema 6 could not cancel an execution; schema 7 had no
sinks.
"""


def schema_of(version: int) -> tuple[str, ...]:
    """The statements that made a store of this version, as far back as there are backups."""
    later = {each for earlier in EARLIER if earlier >= version for each in LEADING[earlier]}
    added = (_ADDED if version <= 4 else "", f", {_AFTER_6}" if version <= 6 else "")
    earlier = (each for each in SCHEMA if each not in later)
    return tuple(reduce(_without, added, each) for each in earlier)


def _without(statement: str, columns: str) -> str:
    return statement.replace(columns, "") if columns else statement


def schema_in(path: Path) -> int | None:
    """The schema that the file's header names; None where it cannot be read. It sees the file without its WAL. This
    process must not have the file open through SQLite.
    """
    try:
        header = read_head(path, _VERSION_AT.stop)
    except OSError:
        return None
    return int.from_bytes(header[_VERSION_AT], "big")


def is_made(where: object, application_id: int, version: int, *, empty: bool) -> bool:
    """Whether the database has the schema; False where it is still empty. Raises STORE_UNAVAILABLE for any other
    database.
    """
    if application_id == version == 0 and empty:
        return False
    if application_id != APPLICATION_ID:
        raise damaged(
            f"{where} is a database of another program (or of nexus-control before 2.0): choose another path",
            path=str(where),
            application_id=application_id,
        )
    if version not in (*EARLIER, VERSION):
        which, advice = ("a newer", _UPGRADE) if version > VERSION else ("an earlier", _EXPORT)
        raise NexusControlError(
            ErrorCode.STORE_UNAVAILABLE,
            f"{where} was written by {which} nexus-control: its schema is {version}, this version reads {VERSION}",
            {"path": str(where), "schema": version},
            advice,
        )
    return True


def require_usable_path(path: Path) -> None:
    """Refuse a path that cannot be a store. Raises STORE_UNAVAILABLE. The file itself is not opened here."""
    try:
        problem = _path_problem(path)
    except (OSError, ValueError) as error:
        raise unavailable(f"{path} cannot be opened: {error}", path=str(path)) from error
    if problem is not None:
        raise unavailable(problem, path=str(path))


def _path_problem(path: Path) -> str | None:
    found = _found(path)
    if found is None:
        if not path.parent.is_dir():
            return f"{path.parent} is not a folder: create it first"
        return (
            None if os.access(path.parent, os.W_OK) else f"{path} may not be written: check its permissions"
        )
    if stat.S_ISDIR(found.st_mode):
        return f"{path} is a folder: name a file in it"
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is not a regular file: choose another path"
    if found.st_nlink > 1:
        return f"{path} has a second name (a hard link), under which SQLite would keep another WAL: remove that name"
    if is_mount_point(path):
        return (
            f"{path} is mounted as a single file, and SQLite would keep another WAL beside its other name: mount its"
            " folder instead"
        )
    return None if os.access(path, os.R_OK) else f"{path} may not be read: check its permissions"


def _found(path: Path) -> os.stat_result | None:
    """What is at this path; None where nothing is. Raises OSError where that cannot be said."""
    try:
        return path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


_SPELLED = {ord(each): f"\\{ord(each):03o}" for each in " \t\n\\"}


def is_mount_point(path: Path) -> bool:
    """Whether something is mounted at this very path (Linux, proc(5): /proc/self/mountinfo)."""
    try:
        with Path("/proc/self/mountinfo").open("rb", buffering=0) as file:
            mounts = file.read()
    except OSError:
        return False
    spelled = str(path).translate(_SPELLED).encode("utf-8", "surrogateescape")
    return spelled in mounts and any(
        line.split(b" ", 5)[4] == spelled for line in mounts.split(b"\n") if line
    )
