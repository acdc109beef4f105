"""Contents beside a store and not in it: the key of its log, and the last checkpoint that was signed with that key.

Beside a SQLite file `decisions.db` these are the files `decisions.db.key` and `decisions.db.checkpoint`: they stay as
they are when an older copy takes the database's place. A store on a PostgreSQL server has them in its log folder
(`storage.log_folder`), or has none. Beside a store in memory they are in memory. The checkpoint may be read by all who
may read the database, or the folder.

A secret is created whole, with mode 0600, and never over another file. A secret that other users may read is refused.
A content that must be written quickly and often has a slot (`storage.slot`).

A content that is replaced by one of the same length is overwritten in place, and not flushed to the disk. After a loss
of power the old one may be there, and never a part of either. A new file would not be safer: its folder is not flushed
either, only its content, so that its name does not lead to an empty file. A checkpoint covers events that are on the
disk already, so it is never newer than the log.
"""

import os
import stat
from pathlib import Path
from typing import Protocol

from nexus_control.storage.faults import unavailable
from nexus_control.storage.slot import FileSlot, MemorySlot, Slot
from nexus_control.system.whole_files import (
    OWNER_ONLY,
    create_file,
    is_there,
    overwrite_file,
    read_regular,
    replace_file,
)

_OTHERS = 0o077
_OWNER_WRITES = 0o644
MOST_BYTES = 64 * 1024
"""The largest content that is read: keys and signed checkpoints are far smaller."""


class Sidecar(Protocol):
    """Small named contents beside one store. Faults are STORE_UNAVAILABLE."""

    @property
    def absent(self) -> str | None:
        """Why there is no place for any content beside this store; None where there is one."""
        ...

    def file(self, name: str) -> Path | None:
        """The file of this name beside the store, whether or not it is there; None beside a store in memory."""
        ...

    def place(self, name: str) -> str:
        """The place of this content, as people read it."""
        ...

    def read(self, name: str) -> bytes | None:
        """The content; None where nothing is there."""
        ...

    def read_secret(self, name: str) -> bytes | None:
        """Like `read`. Raises STORE_UNAVAILABLE where other users may read it, too."""
        ...

    def create_secret(self, name: str, content: bytes) -> None:
        """Create a content that must not be there yet."""
        ...

    def replace(self, name: str, content: bytes, *, secret: bool = False) -> None:
        """Put the whole content there; a failure leaves the old content, and a loss of power may leave it, too. With
        `secret` only its owner may read it.
        """
        ...

    def rename(self, name: str, new_name: str) -> None:
        """Move a content to another name, over any content there."""
        ...

    def slot(self, name: str) -> Slot:
        """The slot of this name; there may be nothing in it yet."""
        ...

    def has_lost(self, name: str) -> bool:
        """Whether this slot was there from the beginning, and is gone."""
        ...


class MemorySidecar:
    """Beside a store in memory."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._slots: dict[str, Slot] = {}

    @property
    def absent(self) -> str | None:
        return None

    def file(self, name: str) -> Path | None:
        return None

    def place(self, name: str) -> str:
        return f"the {name} in memory"

    def read(self, name: str) -> bytes | None:
        return self._contents.get(name)

    def read_secret(self, name: str) -> bytes | None:
        return self.read(name)

    def create_secret(self, name: str, content: bytes) -> None:
        if name in self._contents:
            raise unavailable(f"there is {self.place(name)} already")
        self._contents[name] = content

    def replace(self, name: str, content: bytes, *, secret: bool = False) -> None:
        self._contents[name] = content

    def rename(self, name: str, new_name: str) -> None:
        self._contents[new_name] = self._contents.pop(name)

    def slot(self, name: str) -> Slot:
        return self._slots.setdefault(name, MemorySlot())

    def has_lost(self, name: str) -> bool:
        return False


class NoSidecar(MemorySidecar):
    """Beside a store that has no place for such contents; `absent` says why. Nothing is there, nothing can be put
    there, and what is written to a slot is forgotten.
    """

    def __init__(self, absent: str) -> None:
        super().__init__()
        self._absent = absent

    @property
    def absent(self) -> str | None:
        return self._absent

    def place(self, name: str) -> str:
        return f"the {name}"

    def create_secret(self, name: str, content: bytes) -> None:
        raise self._refused(name)

    def replace(self, name: str, content: bytes, *, secret: bool = False) -> None:
        raise self._refused(name)

    def slot(self, name: str) -> Slot:
        return MemorySlot()

    def _refused(self, name: str) -> Exception:
        return unavailable(f"{self.place(name)} has no place: {self._absent}")


class FileSidecar:
    """Files whose names begin with that of `base`, and that take their permissions after `like`: both are the database,
    or a name in a log folder and the folder. The slots in `made_with` are made together with the folder.
    """

    def __init__(self, base: Path, like: Path | None = None, made_with: tuple[str, ...] = ()) -> None:
        self._base = base
        self._made_with = made_with
        self._like = like or base
        self._paths = dict[str, Path]()

    @property
    def absent(self) -> str | None:
        return None

    def file(self, name: str) -> Path | None:
        return self._path(name)

    def place(self, name: str) -> str:
        return str(self._path(name))

    def read(self, name: str) -> bytes | None:
        try:
            return read_regular(self._path(name), MOST_BYTES, overwritten=True)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._fault(name, "read", error) from error

    def read_secret(self, name: str) -> bytes | None:
        try:
            mode = self._path(name).stat().st_mode
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._fault(name, "read", error) from error
        if os.name == "posix" and mode & _OTHERS:
            raise unavailable(
                f"{self.place(name)} may be read by others: run chmod 600 on it, and rotate the key if it was",
                path=self.place(name),
                read_by_others=stat.S_ISREG(mode),
            )
        return self.read(name)

    def create_secret(self, name: str, content: bytes) -> None:
        try:
            create_file(self._path(name), content, OWNER_ONLY, self._like_the_store()[1])
            self._flush_folder()
        except OSError as error:
            raise self._fault(name, "created", error) from error

    def replace(self, name: str, content: bytes, *, secret: bool = False) -> None:
        try:
            mode, owner = self._like_the_store()
            mode = OWNER_ONLY if secret else mode
            if secret or not overwrite_file(self._path(name), content, mode, owner):
                replace_file(self._path(name), content, mode, owner)
        except OSError as error:
            raise self._fault(name, "written", error) from error

    def rename(self, name: str, new_name: str) -> None:
        try:
            self._path(name).replace(self._path(new_name))
            self._flush_folder()
        except OSError as error:
            raise self._fault(name, "moved", error) from error

    def slot(self, name: str) -> Slot:
        return FileSlot(self._path(name), self._like)

    def has_lost(self, name: str) -> bool:
        return name in self._made_with and not is_there(self._path(name))

    def _path(self, name: str) -> Path:
        path = self._paths.get(name)
        if path is None:
            path = self._paths[name] = self._base.with_name(f"{self._base.name}.{name}")
        return path

    def _like_the_store(self) -> tuple[int, tuple[int, int]]:
        """The permissions, and user and group as far as this process may give them: those who may read the store
        may read its checkpoint, which only the key's owner writes, and what root writes stays the owner's.
        """
        like = self._like.stat()
        is_root = os.geteuid() == 0
        may_give = is_root or like.st_gid in (os.getegid(), *os.getgroups())
        owner = (like.st_uid if is_root else -1, like.st_gid if may_give else -1)
        return stat.S_IMODE(like.st_mode) & _OWNER_WRITES, owner

    def _flush_folder(self) -> None:
        if os.name == "posix":
            folder = os.open(self._base.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _fault(self, name: str, verb: str, error: OSError) -> Exception:
        return unavailable(f"{self.place(name)} cannot be {verb}: {error.strerror}", path=self.place(name))
