"""Finds and reads `nexus-control.toml`, and says what may come from where.

    database = "decisions.db"             # relative to this file, or a URL
    log_folder = "log"                    # of a database on PostgreSQL; relative to this file
    allowed_signers = "allowed_signers"   # relative to this file
    default = "deny"                      # the rule book, with the next line; read by `rules.reading`
    [[rules]]
    [groups]                              # who belongs to which group of approvers
    [inbox]                               # where approvers sign with passkeys
    [[notify]]                            # who is told what; read by `notify`
    [secrets.BILLING]                     # for the adapters of this file; read by `execution.config`
    [adapters.keys]                       # read by `execution.config`

An option wins over its variable, and a variable over every file. The files, in the order in which they are asked:

| file | adapters | database with log_folder, allowed_signers, rules with default, groups, inbox, notify |
|---|---|---|
| of `--config FILE` | only this file | first |
| nexus-control.toml in the working folder, else in the nearest folder above | first | never |
| ~/.config/nexus-control/nexus-control.toml, the user's | second | third |
| /etc/nexus-control/nexus-control.toml, the system's | third | second |

A file that `--config` names for its adapters may be a cloned repository's, too. So it does not change who counts, or
what is demanded, where the system or the user has said so:

| in the file of `--config` | where the system's or the user's has it too |
|---|---|
| rules with default | must be the same: they say what is demanded |
| groups | must be the same: they say who fills the slots that a template of the rules demands |
| allowed_signers, inbox | must be the same: they say whose signatures count where a template demands them |
| database with log_folder | is used: another store has its own templates, and approves nothing of this one |
| notify | is used: no approval depends on who is told |
| adapters with secrets | are used: a request that names its adapter is bound to the adapter's digest |

"Must be the same" means that anything else is CONFIG_INVALID. An option or a variable still names another one.

- A *project's* file gives adapters only. It may have come with a cloned repository, which must not choose the database,
  whom we trust, or which calls are denied. In these the system's file wins over the user's.
- `secrets` are for the adapters of the same file. Those of a project's file are not used.
- A file that was found is used only if root or this user owns it and every folder and link on the way to it, and
  nobody else may write them: `system.own_files`. A file named by `--config` is trusted as it is.
- `log_folder` belongs to the `database` of the same file: where another database is named, it is not used. `rules` and
  `default` are one rule book, of the first file that has one of them.
- Each file is read once. Its adapters and its other settings are decoded from what was read.
- The user's file is found by the home folder that the system's user table names. HOME and XDG_CONFIG_HOME are not
  read, because a project can set variables (direnv, an agent host's configuration) and would then choose whom we trust.
- The system's file has a folder of its own, so that the files it names can lie beside it.

Each section's owner decodes its part. An unknown name at the top is CONFIG_INVALID.
"""

import os
import pwd
import stat
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

from nexus_control.canonical_json import MAX_TEXT_BYTES
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.system.commands import absolute
from nexus_control.system.own_files import OthersMayWriteError, read_own
from nexus_control.system.whole_files import is_regular, read_regular
from nexus_control.values.likely_names import unknown_fields

FILE_NAME: Final = "nexus-control.toml"
SYSTEM_FILE: Final = Path("/etc/nexus-control") / FILE_NAME
SIGNERS: Final = "allowed_signers"
ADAPTERS: Final = "adapters"
SECRETS: Final = "secrets"
RULES: Final = "rules"
DEFAULT: Final = "default"
GROUPS: Final = "groups"
INBOX: Final = "inbox"
NOTIFY: Final = "notify"
SECTIONS: Final = {
    RULES: (RULES, DEFAULT),
    DEFAULT: (RULES, DEFAULT),
    GROUPS: (GROUPS,),
    INBOX: (INBOX,),
    NOTIFY: (NOTIFY,),
}
"""The parts of one section: the first file that has one of them has the section."""
SETTINGS: Final = ("database", "log_folder", SIGNERS, *SECTIONS)
"""The names that a project's file must not set."""

ReadT = TypeVar("ReadT")
Kind: TypeAlias = Literal["option", "project", "user", "system"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A place where a file may be. `table` is empty where the file is absent or not used; `unsafe` or `fault` says why
    it is not used.
    """

    path: Path
    kind: Kind
    is_there: bool = True
    unsafe: str | None = None
    fault: NexusControlError | None = None
    table: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting that a file has."""

    value: str
    """A path is absolute."""
    source: Source


@dataclass(frozen=True, slots=True)
class Configuration:
    """The places that were looked at, in the order in which they are asked for adapters.

    >>> look().setting("database").value
    '/srv/decisions.db'
    """

    sources: tuple[Source, ...]

    def setting(self, name: str) -> Setting | None:
        """The setting of this name, a place, in the first file that has it; the log folder, in the first that has a
        database. Raises CONFIG_INVALID for a file that cannot be read, because it may have it; and for allowed signers
        of `--config` that are not those of the system or the user.
        """
        found = self._first(name)
        if found is not None and name == SIGNERS:
            own = self._own._first(name) if found.source.kind == "option" else None
            if own is not None and own.value != found.value:
                raise _otherwise(name, found.source, own.source)
        return found

    def _first(self, name: str) -> Setting | None:
        owner = "database" if name == "log_folder" else name
        for source in self._trusted():
            if source.fault is not None:
                raise source.fault
            if owner in source.table:
                return Setting(value=_place(source, name), source=source) if name in source.table else None
        return None

    def adapters(self) -> Source | None:
        """The first file that declares adapters, or that cannot be read."""
        for source in self.sources:
            if source.fault is not None or ADAPTERS in source.table or source.kind == "option":
                return source
        return None

    def section(self, name: str) -> Source | None:
        """The first file that has this section, or a part of it: "rules", "groups", "inbox" or "notify". Its owner
        decodes it. Raises CONFIG_INVALID for a file that cannot be read, because it may have it.
        """
        for source in self._trusted():
            if source.fault is not None:
                raise source.fault
            if any(part in source.table for part in SECTIONS[name]):
                return source
        return None

    def agreed(
        self,
        name: str,
        read: Callable[[Source], ReadT],
        meaning: Callable[[ReadT], object] = lambda read: read,
    ) -> ReadT | None:
        """What `read` decodes of the first file that has this section; None where none has it. `meaning` is what must
        be the same in another file that has it.

            >>> look(Path("nexus-control.toml")).agreed("groups", groups_from)
            {'security': ('alice', 'bob')}

        Raises CONFIG_INVALID as `section`, and where that of `--config` is another one than the system's or the user's.
        """
        source = self.section(name)
        if source is None:
            return None
        found = read(source)
        own = self._own.section(name) if source.kind == "option" else None
        if own is not None and meaning(read(own)) != meaning(found):
            raise _otherwise(name, source, own)
        return found

    @property
    def _own(self) -> "Configuration":
        """The same without the file of `--config`."""
        return Configuration(tuple(source for source in self.sources if source.kind != "option"))

    def _trusted(self) -> Iterator[Source]:
        for kind in ("option", "system", "user"):
            yield from (source for source in self.sources if source.kind == kind)


def look(
    given: Path | None = None, *, project: bool = True, user: Path | None = None, system: Path = SYSTEM_FILE
) -> Configuration:
    """What there is to read: the file `given` by `--config`, otherwise a project's; then the user's and the system's.

    Without `project` no project's file is looked for. `user` is by default in the home folder of this process's user.
    Raises nothing: a `Source` says what is wrong.
    """
    user = user or _user_file()
    first = [] if given is None else [named_source(absolute(given))]
    if given is None and project:
        first = _project({user, system})
    return Configuration((*first, _found(user, "user"), _found(system, "system")))


def named_source(path: Path) -> Source:
    """The file that an option names, read. It is trusted as it is; `fault` says what is wrong with it."""
    try:
        return _decoded(path, "option", read_regular(path, MAX_TEXT_BYTES))
    except OSError as error:
        return Source(path=path, kind="option", fault=_unreadable(path, error))


def refused(path: Path, problems: Sequence[str], advice: str | None = None) -> NexusControlError:
    """CONFIG_INVALID for the file at `path`. The message has the first problem, the details have all."""
    details = {"file": str(path), "problems": list(problems)}
    return NexusControlError(ErrorCode.CONFIG_INVALID, f"{path}: {problems[0]}", details, advice)


def _otherwise(name: str, source: Source, own: Source) -> NexusControlError:
    problem = (
        f"sets {name} otherwise than {own.path}: leave {name} out, or name the file with --adapters-from"
    )
    return refused(source.path, [problem])


def _user_file() -> Path:
    user = os.getuid()
    try:
        home = pwd.getpwuid(user).pw_dir
    except KeyError:  # a user without an entry has no home, and no file of their own
        home = ""
    return Path(home or "/nonexistent") / ".config" / "nexus-control" / FILE_NAME


def _project(others: Collection[Path]) -> list[Source]:
    """The file in the working folder, else in the nearest folder above it; not one of the `others`."""
    try:
        here = Path.cwd()
    except OSError:  # the working folder is gone
        return []
    for folder in (here, *here.parents):
        path = folder / FILE_NAME
        if path not in others and is_regular(path):
            return [_found(path, "project")]
    return []


def _found(path: Path, kind: Kind) -> Source:
    """The file, read. It is absent only where that is certain: behind a folder that this user may not enter, or where
    something else has its name, there may be one with the settings.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Source(path=path, kind=kind, fault=refused(path, ["is not a regular file"]))
    except FileNotFoundError:
        if not path.is_symlink():
            return Source(path=path, kind=kind, is_there=False)
        return Source(path=path, kind=kind, fault=refused(path, ["is a link that leads to nothing"]))
    except NotADirectoryError:
        return Source(path=path, kind=kind, is_there=False)
    except OSError as error:
        return Source(path=path, kind=kind, fault=_unreadable(path, error))
    try:
        return _decoded(path, kind, read_own(absolute(path), MAX_TEXT_BYTES))
    except OthersMayWriteError as unsafe:
        return Source(path=path, kind=kind, unsafe=str(unsafe))
    except OSError as error:
        return Source(path=path, kind=kind, fault=_unreadable(path, error))


def _decoded(path: Path, kind: Kind, content: bytes) -> Source:
    try:
        return Source(path=path, kind=kind, table=_table(path, content))
    except NexusControlError as fault:
        return Source(path=path, kind=kind, fault=fault)


def _table(path: Path, content: bytes) -> dict[str, object]:
    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise refused(path, [f"is not TOML: {error}"]) from None
    if problems := list(unknown_fields("", table, (ADAPTERS, SECRETS, *SETTINGS))):
        raise refused(path, problems)
    return table


def _unreadable(path: Path, error: OSError) -> NexusControlError:
    return refused(path, [f"cannot be read ({error.strerror})"], "Name a file that is there and may be read.")


def _place(source: Source, name: str) -> str:
    value = source.table[name]
    if not isinstance(value, str) or not value or "\0" in value:
        raise refused(source.path, [f"{name} must be text that names a file"])
    if "://" in value:
        return value
    return str(absolute(source.path).parent / value)
