"""`init` for a store on a PostgreSQL server: its tables, and the key of its log in the log folder.

Who may do what in the tables is a matter of the server's roles; the folder has one owner.
"""

from pathlib import Path

from nexus_control.cli.frame import Answer, Frame
from nexus_control.cli.screen import DONE, Mark, Screen, columns
from nexus_control.cli.settings import BACK_UP_ON_SERVER
from nexus_control.errors import invalid_argument
from nexus_control.log import checkpoints, head, log_keys
from nexus_control.storage import is_made
from nexus_control.storage.log_folder import NAME_ONE, WITHOUT, sidecar_in
from nexus_control.store import DecisionStore
from nexus_control.system.whole_files import is_folder, is_there

_KINDS = {
    "log.store": ("which store the folder belongs to", "yes"),
    "log.key": ("the log's private key", "yes, in a safe place"),
    "log.key.next": ("the log's next private key", "yes, in a safe place"),
    "log.checkpoint": ("the last signed checkpoint", "yes"),
    "log.head": ("by which an older copy is noticed", "no, never"),
    "log.runs": ("the router's record of its runs", "yes"),
}
"""The files of a log folder: what each is, and whether a backup takes it."""


def found_on_server(frame: Frame, group: str | None) -> Answer:
    """Make the tables and the folder, as far as they are not there, and say what a backup takes."""
    if group is not None:
        raise invalid_argument(
            "--group", "is for a file: on PostgreSQL a role is granted what it needs, in the database"
        )
    folder, is_new = frame.log_folder, not is_made(frame.path)
    has_new_folder = folder is not None and not is_folder(folder)
    if folder is not None:
        sidecar_in(folder)  # makes it
    with frame.store(makes=True) as store:
        differs = _give_key(store)
    files = [
        {"path": str(folder / name), "what": what, "backup": taken}
        for name, (what, taken) in _KINDS.items()
        if folder is not None and is_there(folder / name)
    ]
    done = f"{frame.shown} is made" if is_new else f"{folder} is made" if has_new_folder else None

    def show(screen: Screen) -> None:
        if done is None:
            screen.prose(f"{frame.shown} is a store already; nothing was changed.")
        else:
            screen.prose(f"{done}.", DONE)
        if files:
            rows = [(Path(each["path"]).name, each["backup"], each["what"]) for each in files]
            screen.grid(columns("file|backup|what it is", [(f"{folder}/", "", "the log folder"), *rows]))
        for each in differs:
            screen.prose(each, Mark("Differs:", "stopped"))
        screen.prose(BACK_UP_ON_SERVER)

    data = {
        "database": frame.shown,
        "made": is_new,
        "changed": False,
        "folder": None if folder is None else {"path": str(folder)},
        "files": files,
        "differs": differs,
    }
    return Answer(data, show, done)


def _give_key(store: DecisionStore) -> list[str]:
    """Give the log its first key. Returns what keeps the store from being whole."""
    if store.sidecar.absent is not None:
        return [f"{WITHOUT}: nothing is signed, and an older copy is not noticed. {NAME_ONE}"]
    if not log_keys.keys_of(store):
        log_keys.give_key(store)
        checkpoints.publish(store)
        head.remember(store)
    if log_keys.key_in(store.sidecar, log_keys.KEY) is None:
        return [f"{store.sidecar.place(log_keys.KEY)} is not there: nothing is signed here"]
    return []
