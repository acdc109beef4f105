"""The settings of a command: from its options, else from variables, else from the configuration."""

import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from nexus_control.cli.files import blaming
from nexus_control.cli.options import DEFAULT_DATABASE
from nexus_control.cli.screen import Mark, Screen
from nexus_control.configuration import Configuration, Setting, Source, look
from nexus_control.errors import invalid_argument
from nexus_control.storage import is_file, place_of
from nexus_control.system.commands import without_password
from nexus_control.system.whole_files import is_folder


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the options and variables say. The configuration is read once, where they leave something open."""

    database: str | None = None
    named_signers: Path | None = None
    given: frozenset[str] = frozenset()
    """Which of the two an option named, and not the environment: --db, --allowed-signers."""
    config: Path | None = None
    """The file that `--config` names, whose settings are used too."""

    @cached_property
    def configuration(self) -> Configuration:
        """What there is to read. A user's or system's file that others may write is noted on standard error."""
        found = look(self.config)
        for source in found.sources:
            if source.kind != "project":  # that gives adapters only
                note_unsafe(source)
        return found

    def configured(self, name: str) -> Setting | None:
        """The setting "database" or "allowed_signers" of the configuration; None where an option or a variable names
        it, or nothing does. Raises CONFIG_INVALID.
        """
        named = self.database if name == "database" else self.named_signers
        return self.configuration.setting(name) if named is None else None

    @property
    def allowed_signers(self) -> Path | None:
        """The file that says whose signed approvals count, if there is one. Raises CONFIG_INVALID."""
        configured = self.configured("allowed_signers")
        return self.named_signers if configured is None else Path(configured.value)

    @property
    def path(self) -> str:
        """The absolute path of the store, with links resolved. Raises INVALID_ARGUMENT, CONFIG_INVALID."""
        configured = self.configured("database")
        if configured is not None:
            with blaming(self.database_named_by, without_password(configured.value)):
                return place_of(configured.value)
        if self.database == "":
            raise invalid_argument("--db", "is empty: name the database")
        named = DEFAULT_DATABASE if self.database is None else self.database
        if named.endswith("/") and not is_folder(named):
            raise invalid_argument("--db", f"names {named}, which is not a folder; a database is a file")
        with blaming("--db", named):
            return place_of(named)

    @property
    def file(self) -> Path:
        """The database's file. Raises as `path`, and INVALID_ARGUMENT for a store that is not a file."""
        if not is_file(self.path):
            raise invalid_argument("--db", f"names {self.path}, which does not lie in a file")
        return Path(self.path)

    @property
    def database_named_by(self) -> str:
        """What a person changes to name another database. Raises CONFIG_INVALID."""
        configured = self.configured("database")
        return "--db" if configured is None else f"database in {configured.source.path}"


def adapters_file(config: Path | None, adapters_from: Path | None) -> Path | None:
    """The file that was named for its adapters, with its other settings or without. Raises INVALID_ARGUMENT."""
    if config is not None and adapters_from is not None:
        raise invalid_argument("--adapters-from", "and --config exclude each other")
    return config or adapters_from


def note_unsafe(source: Source) -> None:
    """Note on standard error that a file was found which somebody else may have written."""
    if source.unsafe:
        note(f"{source.path} is not used, because {source.unsafe}.")


@cache
def note(text: str) -> None:
    """Say it on standard error, once in a process."""
    Screen(sys.stderr).prose(text, Mark("Note:", "stopped"))
