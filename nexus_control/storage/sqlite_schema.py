"""The SQLite schema: ordered migrations, and what a file's first bytes say about it.

`PRAGMA user_version` counts the migrations that were applied; each is applied in one transaction, and none is ever
changed after a release. `PRAGMA application_id` says that the file is ours.

The database itself keeps the log append-only, whoever writes: triggers refuse UPDATE and DELETE, and an INSERT that
is not at the next position or whose key exists. (The last also stops INSERT OR REPLACE, which deletes without firing
a DELETE trigger unless `recursive_triggers` is on.) This guards against mistakes; a forger who drops the triggers is
found by the chain.

Nothing here needs more than SQLite 3.15; Python 3.11 itself promises only 3.7.15. STRICT tables would need 3.37,
hence the CHECKs of types. Kinds are compared with OR, because for a list of three or more in a CHECK SQLite builds a
table at every insertion.

A subtree is named by its last leaf, which completes it: then what an append writes is together, at the table's end.

`listing` repeats what decisions are searched by, for those that have events: projections are wide, and paging through
them by offset would read them all. `labels` belongs to `listing`.
"""

import os
from pathlib import Path

from nexus_control.errors import NexusControlError
from nexus_control.storage.faults import damaged, unavailable

APPLICATION_ID = int.from_bytes(b"NxCt", "big")

_ENTRIES = """
CREATE TABLE entries(
    position   INTEGER PRIMARY KEY,
    kind       TEXT NOT NULL CHECK ({kinds}),
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
_PROJECTIONS = """
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
)
"""
_LISTING = """
CREATE TABLE listing(
    ordinal        INTEGER PRIMARY KEY,
    phase          TEXT NOT NULL,
    approved_until TEXT NOT NULL,
    requester      TEXT NOT NULL
)
"""
_LISTING_WITH_ENDS = """
CREATE TABLE listing(
    ordinal        INTEGER PRIMARY KEY,
    phase          TEXT NOT NULL,
    approved_until TEXT NOT NULL,
    expires_at     TEXT NOT NULL,
    requester      TEXT NOT NULL
)
"""
_LISTING_BY_PHASE = "CREATE INDEX listing_by_phase ON listing(phase, ordinal, approved_until)"
_LISTING_BY_STATE = "CREATE INDEX listing_by_state ON listing(phase, ordinal, approved_until, expires_at)"
_LISTING_BY_REQUESTER = "CREATE INDEX listing_by_requester ON listing(requester, ordinal)"
_LABELS = """
CREATE TABLE labels(
    label   TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    PRIMARY KEY (label, ordinal)
) WITHOUT ROWID
"""
_CLAIMS = """
CREATE TABLE claims(
    decision_id  TEXT NOT NULL PRIMARY KEY,
    generation   INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    owner        TEXT NOT NULL,
    claimed_at   TEXT NOT NULL,
    recovered    INTEGER NOT NULL CHECK (recovered IN (0, 1)),
    late_outcome TEXT NOT NULL
) WITHOUT ROWID
"""

_MOST_LEVELS = 40
# Functions in it are those that `migrate` gives to the connection.
_SUBTREES_OF_LEAVES = (
    "INSERT INTO subtrees SELECT position, 0, octets(leaf) FROM entries",
    *(
        f"""INSERT INTO subtrees SELECT later.last_leaf, {level}, node_hash(earlier.hash, later.hash)
            FROM subtrees AS later JOIN subtrees AS earlier
              ON earlier.last_leaf = later.last_leaf - {1 << level - 1} AND earlier.level = later.level
            WHERE later.level = {level - 1} AND (later.last_leaf + 1) % {1 << level} = 0"""
        for level in range(1, _MOST_LEVELS)
    ),
)

_FIRST_KINDS = "kind = 'decision' OR kind = 'template' OR kind = 'import'"

_ATTACHED = """(SELECT payload FROM entries WHERE kind = 'decision' AND stream = decision_id
    AND entries.generation = projections.generation AND seq = policy_seq)"""
_REQUESTER = """(SELECT actor_id FROM entries WHERE kind = 'decision' AND stream = decision_id
    AND entries.generation = projections.generation AND seq = 0)"""
_IMPORTED = f"progress, imported_count, {_REQUESTER}, {_ATTACHED}"


def _entries_with(kinds: str) -> tuple[str, ...]:
    """The statements that make the table of entries anew, with all that is in it, to take entries of these kinds."""
    return (
        "DROP TRIGGER entries_grow_at_the_end",
        "DROP TRIGGER entries_are_not_updated",
        "DROP TRIGGER entries_are_not_deleted",
        "DROP INDEX first_entries",
        "ALTER TABLE entries RENAME TO earlier_entries",
        _ENTRIES.format(kinds=kinds),
        "INSERT INTO entries SELECT * FROM earlier_entries ORDER BY position",
        "DROP TABLE earlier_entries",
        _FIRST_ENTRIES,
        _ENTRIES_GROW_AT_THE_END,
        _ENTRIES_ARE_NOT_UPDATED,
        _ENTRIES_ARE_NOT_DELETED,
    )


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        _ENTRIES.format(kinds=_FIRST_KINDS),
        _FIRST_ENTRIES,
        _ENTRIES_GROW_AT_THE_END,
        _ENTRIES_ARE_NOT_UPDATED,
        _ENTRIES_ARE_NOT_DELETED,
        _PROJECTIONS,
        _LISTING,
        _LISTING_BY_PHASE,
        _LISTING_BY_REQUESTER,
        _LABELS,
        _CLAIMS,
    ),
    (  # keys are entries, and there is a tree over all
        *_entries_with(f"{_FIRST_KINDS} OR kind = 'key'"),
        _SUBTREES,
        *_SUBTREES_OF_LEAVES,
    ),
    _entries_with(f"{_FIRST_KINDS} OR kind = 'key' OR kind = 'rollback'"),
    (  # lists find the requests that expired, and count the approvals that were given here
        "ALTER TABLE projections ADD COLUMN expires_at TEXT NOT NULL DEFAULT '~'",
        f"UPDATE projections SET expires_at = request_ends({_ATTACHED}) WHERE policy_seq >= 0",
        "UPDATE projections SET approved_until = min(approved_until, expires_at)",
        f"""UPDATE projections SET approved_until = approved_here({_IMPORTED}),
            progress = progress_here({_IMPORTED}) WHERE imported_count > 0 AND policy_seq >= 0""",
        "DROP TABLE listing",
        _LISTING_WITH_ENDS,
        """INSERT INTO listing SELECT ordinal, phase, approved_until, expires_at, requester FROM projections
            WHERE event_count > 0""",
        _LISTING_BY_STATE,
        _LISTING_BY_REQUESTER,
    ),
)


def require_ours(
    where: object, application_id: int, version: int, *, empty: bool, newest: int = len(MIGRATIONS)
) -> int:
    """`version`, if the database is ours or empty, and not newer than we are. Raises STORE_UNAVAILABLE."""
    if application_id != APPLICATION_ID and not (empty and application_id == 0 and version == 0):
        raise damaged(
            f"{where} is a database of another program (or of nexus-control before 2.0): choose another path",
            path=str(where),
            application_id=application_id,
        )
    if version > newest:
        raise unavailable(
            f"{where} was written by a newer nexus-control (its schema is {version}, this one knows {newest}):"
            " upgrade nexus-control",
            path=str(where),
            schema=version,
        )
    return version


def require_usable_path(path: Path) -> None:
    """Refuse a path that cannot be our database. Raises STORE_UNAVAILABLE. The file itself is not opened here."""
    try:
        _require_writable(path)
    except NexusControlError:  # a ValueError too
        raise
    except (OSError, ValueError) as error:
        raise unavailable(f"{path} cannot be opened: {error}", path=str(path)) from error


def _require_writable(path: Path) -> None:
    if path.is_dir():
        raise unavailable(f"{path} is a folder: name a file in it", path=str(path))
    if not path.parent.is_dir():
        raise unavailable(f"{path.parent} is not a folder: create it first", path=str(path))
    if path.exists() and not path.is_file():
        raise unavailable(f"{path} is not a regular file: choose another path", path=str(path))
    if path.exists() and path.stat().st_nlink > 1:
        raise unavailable(
            f"{path} has a second name (a hard link), under which SQLite would keep another WAL: remove that name",
            path=str(path),
        )
    if is_mount_point(path):
        raise unavailable(
            f"{path} is mounted as a single file, and SQLite would keep another WAL beside its other name: mount its"
            " folder instead",
            path=str(path),
        )
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise unavailable(f"{path} may not be written: check its permissions", path=str(path))


def is_mount_point(path: Path) -> bool:
    """Whether something is mounted at this very path (Linux, proc(5): /proc/self/mountinfo)."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    spelled = "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in str(path))
    return any(line.split(" ", 5)[4] == spelled for line in mounts.splitlines())
