"""The faults that every storage raises alike."""

import grp
import os
import pwd
import stat
from pathlib import Path

from nexus_control.errors import ErrorCode, NexusControlError


def unavailable(message: str, **details: object) -> NexusControlError:
    """The medium or its driver failed, or the file is not a store."""
    return NexusControlError(ErrorCode.STORE_UNAVAILABLE, message, details)


def busy(message: str, **details: object) -> NexusControlError:
    """Somebody else writes for longer than this call waits."""
    return NexusControlError(
        ErrorCode.STORE_UNAVAILABLE,
        message,
        details,
        "Nothing was done. Try again when the other one has ended; busy_timeout says how long a call waits.",
    )


def interrupted(where: str) -> NexusControlError:
    """The thread that committed for this one was interrupted before it could say what came of it."""
    return NexusControlError(
        ErrorCode.STORE_UNAVAILABLE,
        f"a commit to {where} was interrupted: whether the change was recorded is not known",
        {"path": where, "outcome": "unknown"},
        "Look at the request's status before you try again: the change may have been recorded.",
    )


def damaged(message: str, **details: object) -> NexusControlError:
    """The file in the store's place can be read, but it is not a store, or a damaged one."""
    return unavailable(message, damaged=True, **details)


def is_damage(fault: NexusControlError) -> bool:
    """Whether the fault says that the content is wrong, and not only that it could not be read."""
    return fault.details.get("damaged") is True


def is_read_only(fault: NexusControlError) -> bool:
    """Whether SQLite says that the store can be read, but not written."""
    return str(fault.details.get("sqlite_errorname")).startswith("SQLITE_READONLY")


def unwritable(database: Path, file: Path) -> NexusControlError:
    """This process may read the database, but not write to it, because of the permissions of `file`."""
    return NexusControlError(
        ErrorCode.STORE_UNAVAILABLE,
        f"{database} may be read here, and not written: {described(file)}",
        {"path": str(database), "unwritable": str(file)},
        "Run the command as a user who may write to that file, or let its owner give you the permission.",
    )


def old_for_a_reader(database: Path) -> NexusControlError:
    """The database is of an earlier version, and this process may not lead it to this one."""
    return NexusControlError(
        ErrorCode.STORE_UNAVAILABLE,
        f"{database} was written by an earlier nexus-control, and may only be read here: {described(database)}",
        {"path": str(database)},
        "Let a user who may write to it open it once with this version: `nexus-control doctor`.",
    )


def is_without_permission(fault: NexusControlError) -> bool:
    """Whether the fault says that this user may only read the store."""
    return "unwritable" in fault.details or fault.details.get("sqlstate") == "42501"  # insufficient_privilege


def described(file: Path) -> str:
    """A file with its permissions and owner: `/srv/team/decisions.db is -rw-r--r-- of alice:team`."""
    try:
        found = file.stat()
    except OSError as error:
        return f"{file} cannot be looked at: {error.strerror}"
    if os.statvfs(file).f_flag & os.ST_RDONLY:
        return f"{file} is on a file system that is mounted read-only"
    return f"{file} is {stat.filemode(found.st_mode)} of {user_name(found.st_uid)}:{group_name(found.st_gid)}"


def user_name(number: int) -> str:
    """The user's name, or the number where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    """The group's name, or the number where it has none."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def no_subtree(level: int, index: int) -> NexusControlError:
    """The tree over the log is not whole; it can be rebuilt from the entries."""
    return damaged(
        "the Merkle tree of the log is not whole: doctor --rebuild makes it from the entries",
        level=level,
        index=index,
    )


def closed() -> NexusControlError:
    return unavailable("the store is closed: open it again")


def forked(what: str) -> NexusControlError:
    """This process was forked while its parent used the thing: what it remembers of locks, or of a run, is the
    parent's.
    """
    return NexusControlError(
        ErrorCode.STORE_FORKED,
        f"{what} belongs to the process from which this one was forked, and cannot be used here",
        {"what": what},
    )


def replaced(where: str, what: str) -> NexusControlError:
    """The file at the path is not the one that was opened."""
    return NexusControlError(
        ErrorCode.STORE_REPLACED,
        f"{what} was replaced or deleted while the store was open: nothing is acknowledged any more",
        {"path": where},
    )


def nested() -> NexusControlError:
    """A transaction was begun inside another of the same thread: a defect of the caller."""
    return NexusControlError(ErrorCode.INTERNAL, "a transaction was begun inside another of its thread")


def ended() -> NexusControlError:
    """A reader or writer was used after its transaction: a defect of the caller."""
    return NexusControlError(
        ErrorCode.INTERNAL, "a reader or writer was used after its transaction had ended"
    )
