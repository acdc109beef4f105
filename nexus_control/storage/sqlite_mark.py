"""The mark of a store in SQLite that goes on at another place (`storage.moved`): triggers that refuse what would change
it here, and hold the mark as their message. They cost nothing where a store was not moved.
"""

import re

from nexus_control.storage.moved import Moved, parse_moved

_CHANGING = ("claims", "sinks", "events_set_aside")
GUARDED = {f"moved_{table}": f"INSERT ON {table}" for table in ("entries", "projections", *_CHANGING)} | {
    f"kept_{table}": f"DELETE ON {table}" for table in _CHANGING
}
"""What a store that was moved refuses, by the name of the trigger that does."""
_GUARD = re.compile(
    r"CREATE TRIGGER \w+ BEFORE \w+ ON \w+ BEGIN SELECT RAISE\(ABORT, '(.*)'\); END", re.DOTALL
)
MARKED = "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'moved_entries'"


def mark_in(sql: str) -> Moved | None:
    """The mark that a trigger holds; None for any other trigger."""
    found = _GUARD.fullmatch(sql)
    moved = None if found is None else parse_moved(found[1].replace("''", "'"))
    is_ours = moved is not None and any(sql == guard(name, moved) for name in GUARDED)
    return moved if is_ours else None


def guard(name: str, moved: Moved) -> str:
    """The statement that makes the trigger of this name."""
    text = str(moved).replace("'", "''")
    return f"CREATE TRIGGER {name} BEFORE {GUARDED[name]} BEGIN SELECT RAISE(ABORT, '{text}'); END"
