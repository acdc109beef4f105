"""The command `init`: makes a store, for one user or for a group, and says which files it is made of.

With `--group` the store lies in a folder of its own, which belongs to the group. SQLite makes `-wal` and `-shm` there
with the permissions of the database, and each new file belongs to the group of the folder. The folder has no sticky
bit: on systems with `fs.protected_regular=2` that would keep one member from opening the `-wal` that another has made.
"""

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.founding_on_server import found_on_server
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.options import DEFAULT_DATABASE
from nexus_control.cli.screen import DONE, Mark, Screen, columns
from nexus_control.errors import invalid_argument
from nexus_control.execution.run_log import RunLog
from nexus_control.log import checkpoints, head, log_keys
from nexus_control.storage import files_of, is_postgres
from nexus_control.storage.faults import group_name, unavailable, user_name
from nexus_control.system.clock import SYSTEM_CLOCK
from nexus_control.system.sharing import Permissions, may_give_to, permissions_of, share
from nexus_control.system.whole_files import is_folder, is_regular

_KINDS = {
    "": ("the database", "yes"),
    "-wal": ("part of the database while it is open", "no"),
    "-shm": ("part of the database while it is open", "no"),
    ".key": ("the log's private key", "yes, in a safe place"),
    ".key.next": ("the log's next private key", "yes, in a safe place"),
    ".checkpoint": ("the last signed checkpoint", "yes"),
    ".head": ("by which an older copy is noticed", "no, never"),
    ".runs": ("the router's record of its runs", "yes"),
    ".runs-wal": ("part of that record while it is open", "no"),
    ".runs-shm": ("part of that record while it is open", "no"),
}
"""The files of a store: what each is, and whether `backup` takes it."""
_SECRETS = (".key", ".key.next")
_OWNERS = (*_SECRETS, ".checkpoint")
"""Written by the owner of the log's key only."""


@shared_options("db")
def init(
    frame: Frame,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Share the store with this group: its members may read and write it."
        ),
    ] = None,
) -> Answer:
    """Make a store and its log's key, and say which files it is made of. An existing store is only looked at.

    Example: nexus-control init --db /srv/team/decisions.db --group team
    """
    if is_postgres(frame.path):
        return found_on_server(frame, group)
    database = frame.file
    number = None if group is None else _group(group)
    is_new = not (is_regular(database) and database.stat().st_size)
    if number is not None:
        _require_no_link(frame)
        _require_folder_of_its_own(database)
    if is_new:
        _make(frame, database, number)
    else:
        frame.store().close()  # refuses any other file
    changed = number is not None and _share(database, number) and not is_new
    return _answer(frame, database, is_new=is_new, changed=changed)


def _group(name: str) -> int:
    try:
        number = grp.getgrnam(name).gr_gid
    except KeyError:
        raise invalid_argument(
            "--group", f"names {name}, which this machine does not know: make the group first"
        ) from None
    if not may_give_to(number):
        raise invalid_argument("--group", f"names {name}, of which you are not a member")
    return number


def _require_no_link(frame: Frame) -> None:
    """A member of the group could have made it, to a store that is the owner's alone. Raises INVALID_ARGUMENT."""
    configured = frame.configured("database")
    named = configured.value if configured else frame.database or DEFAULT_DATABASE
    if Path(named.removeprefix("sqlite://")).is_symlink():
        raise invalid_argument(
            frame.database_named_by,
            f"names {named}, which is a link: to share the store that it leads to, name {frame.path}",
        )


def _require_folder_of_its_own(database: Path) -> None:
    """Refuse to give the group a folder in which other things lie. Raises INVALID_ARGUMENT."""
    folder = database.parent
    if not is_folder(folder):
        return
    others = sorted(each.name for each in folder.iterdir() if not each.name.startswith(database.name))
    if others:
        raise invalid_argument(
            "--db",
            f"names a file in {folder}, where {others[0]} lies too. With --group the whole folder is the group's: name"
            " a file in a folder of its own",
        )


def _make(frame: Frame, database: Path, group: int | None) -> None:
    left = [each for each in files_of(frame.path) if os.path.lexists(each) and each != database]
    if left:
        raise unavailable(
            f"{left[0]} is there, and belongs to an earlier store: put its database back, or move it away",
            path=str(left[0]),
        )
    try:
        database.parent.mkdir(exist_ok=True)
        if group is not None:
            _share(database, group)  # only the folder is there yet
        frame.store(makes=True).close()
        if group is not None:
            _share(database, group)  # before the files that take after it
    except OSError as error:
        raise unavailable(f"{database} cannot be made: {error.strerror}", path=str(database)) from error
    with frame.store() as store:
        log_keys.give_key(store)
        checkpoints.publish(store)
        head.remember(store)
    if group is not None:
        RunLog(Path(f"{database}.runs"), SYSTEM_CLOCK).close()


def _share(database: Path, group: int) -> bool:
    """Give every file that members must write to the group. Returns whether anything changed."""
    beside = {suffix: suffix not in _OWNERS for suffix in _KINDS if suffix and suffix not in _SECRETS}
    try:
        return share(database, group, beside)
    except OSError as error:
        path = str(error.filename or database)
        raise unavailable(
            f"{path} cannot be given to the group: {error.strerror}. Nothing was shared: look at it, and who made it",
            path=path,
        ) from error


def _answer(frame: Frame, database: Path, *, is_new: bool, changed: bool) -> Answer:
    found = {suffix: permissions_of(Path(f"{database}{suffix}")) for suffix in _KINDS}
    files = [
        {"path": f"{database}{suffix}", "what": _KINDS[suffix][0], "backup": _KINDS[suffix][1], **_said(each)}
        for suffix, each in found.items()
        if each is not None
    ]
    folder = permissions_of(database.parent)
    assert folder is not None
    differs = list(_differences(database, folder, found))
    command = frame.command("backup", argument="FILE")

    def show(screen: Screen) -> None:
        if is_new:
            screen.prose(f"{database} is a new store.", DONE)
        elif changed:
            screen.prose(f"{database} is shared with the group.", DONE)
        else:
            screen.prose(f"{database} is a store already; nothing was changed.")
        rows = [
            (Path(str(each["path"])).name, *(str(each[name]) for name in ("mode", "owner", "group", "what")))
            for each in files
        ]
        screen.grid(
            columns("file|mode|owner|group|what it is", [(f"{database.parent}/", *_row(folder)), *rows])
        )
        for each in differs:
            screen.prose(each, Mark("Differs:", "stopped"))
        screen.prose("A backup takes the database, the key, the checkpoint and the runs, never the head:")
        screen.verbatim(command)

    data = {
        "database": str(database),
        "made": is_new,
        "changed": changed,
        "folder": {"path": str(database.parent), **_said(folder)},
        "files": files,
        "differs": differs,
    }
    done = f"{database} is made" if is_new else f"{database} is shared with the group" if changed else None
    return Answer(data, show, done)


def _said(each: Permissions) -> dict[str, str]:
    return {
        "mode": f"{each.mode:04o}",
        "owner": user_name(each.user),
        "group": group_name(each.group),
    }


def _row(folder: Permissions) -> tuple[str, str, str, str]:
    said = _said(folder)
    return said["mode"], said["owner"], said["group"], "the folder"


def _differences(database: Path, folder: Permissions, found: dict[str, Permissions | None]) -> Iterator[str]:
    """What keeps this store from being whole, or its group from working with it."""
    own = found[""]
    if own is None:
        return
    if found[".key"] is None:
        yield f"{database}.key is not there: nothing is signed here"
    for suffix in _SECRETS:
        key = found[suffix]
        if key is not None and stat.S_IMODE(key.mode) & 0o077:
            yield f"{database}{suffix} may be read by others than its owner: run chmod 600 on it"
    if not own.is_shared:
        return
    if not folder.is_folder_of_a_group or folder.group != own.group:
        yield f"{database.parent} is not the group's (mode 2770, group {group_name(own.group)}), as the database is"
    for suffix, each in found.items():
        if each is None or suffix in ("", *_OWNERS):
            continue
        if not each.is_shared or each.group != own.group:
            yield f"{database}{suffix} may not be written by the group, as the database may"
