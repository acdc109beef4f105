"""The settings of a command: from its options, else from variables, else from the configuration."""

import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from nexus_control.cli.files import blaming
from nexus_control.cli.options import DEFAULT_DATABASE
from nexus_control.cli.screen import Mark, Screen
from nexus_control.configuration import SETTINGS, Configuration, Setting, Source, look
from nexus_control.errors import invalid_argument
from nexus_control.evidence.formats.origins import parse_origins
from nexus_control.rules.book import RuleBook
from nexus_control.rules.reading import rule_book
from nexus_control.storage import base_of, is_file, is_postgres, place_of, shown_url
from nexus_control.system.commands import Options, absolute
from nexus_control.system.whole_files import is_folder
from nexus_control.usecases.inbox_settings import configured_inbox

ORIGINS_VARIABLE = "NEXUS_CONTROL_ORIGINS"
BACK_UP_ON_SERVER = (
    "Back up a store on PostgreSQL by copying its log folder, but not log.head, and then with pg_dump; pg_restore lays"
    " it out."
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the options and variables say. The configuration is read once, where they leave something open."""

    database: str | None = None
    named_log_folder: Path | None = None
    named_signers: Path | None = None
    named_origins: tuple[str, ...] | None = None
    given: frozenset[str] = frozenset()
    """Which of these an option named, and not the environment: --db, --log-folder, --allowed-signers, --origin."""
    config: Path | None = None
    """The file that `--config` names, whose settings are used too."""
    option: str = "--db"
    """The option that names the database."""

    @cached_property
    def configuration(self) -> Configuration:
        """What there is to read. A user's or system's file that others may write is noted on standard error."""
        found = look(self.config)
        for source in found.sources:
            if source.kind != "project":  # that gives adapters only
                note_unsafe(source)
        return found

    def configured(self, name: str) -> Setting | None:
        """The setting "database", "log_folder" or "allowed_signers" of the configuration; None where an option or a
        variable names it, or nothing does. A log folder belongs to the database of its file. Raises CONFIG_INVALID.
        """
        return self.configuration.setting(name) if self._is_open(name) else None

    @property
    def rules(self) -> RuleBook | None:
        """The rule book, if a file has one that is not a project's: what that sets is noted on standard error. Raises
        CONFIG_INVALID.
        """
        for source in self.configuration.sources:
            note_ignored(source)
        return rule_book(self.configuration)

    def _is_open(self, name: str) -> bool:
        match name:
            case "database":
                return self.database is None
            case "log_folder":
                return self.database is None and self.named_log_folder is None
            case _:
                return self.named_signers is None

    @property
    def allowed_signers(self) -> Path | None:
        """The file that says whose signed approvals count, if there is one. Raises CONFIG_INVALID."""
        configured = self.configured("allowed_signers")
        return self.named_signers if configured is None else Path(configured.value)

    @property
    def origins(self) -> tuple[str, ...]:
        """The pages on which passkeys may sign. Raises INVALID_ARGUMENT, CONFIG_INVALID."""
        if self.named_origins is not None:
            named_by = "--origin" if "--origin" in self.given else ORIGINS_VARIABLE
            return parse_origins(self.named_origins, named_by).origins
        inbox = configured_inbox(self.configuration)
        return () if inbox is None else inbox.origins.origins

    @property
    def inbox(self) -> str | None:
        """The address that links to the inbox begin with; None where none is configured. Raises as `origins`."""
        return next(iter(self.origins), None)

    @property
    def passkey_origins(self) -> tuple[str, ...]:
        """`origins`, for a store. Where nobody may sign, the configuration is not asked for them. Raises as `origins`,
        and as `allowed_signers`.
        """
        return () if self.named_origins is None and self.allowed_signers is None else self.origins

    @property
    def who_signs(self) -> Options:
        """The options that say whose signed approvals count, for a command that is printed. Raises as both of them."""
        return {"--allowed-signers": self.allowed_signers, "--origin": self.passkey_origins}

    @property
    def path(self) -> str:
        """The absolute path of the store, with links resolved. Raises INVALID_ARGUMENT, CONFIG_INVALID."""
        configured = self.configured("database")
        if configured is not None:
            with blaming(self.database_named_by, shown_url(configured.value)):
                return place_of(configured.value)
        if self.database == "":
            raise invalid_argument(self.option, "is empty: name the database")
        named = DEFAULT_DATABASE if self.database is None else self.database
        if named.endswith("/") and is_file(named) and not is_folder(named):
            raise invalid_argument(self.option, f"names {named}, which is not a folder; a database is a file")
        with blaming(self.option, shown_url(named)):
            return place_of(named)

    @property
    def shown(self) -> str:
        """The store's name as people are shown it: `path`, without the password of a URL."""
        return shown_url(self.path)

    @property
    def log_folder(self) -> Path | None:
        """The absolute path of the folder for the log of a store on PostgreSQL, if one is named. Raises as `path`."""
        if not is_postgres(self.path):
            if "--log-folder" in self.given:
                raise invalid_argument(
                    "--log-folder",
                    f"is for a store on a PostgreSQL server: the log of {self.shown} lies beside it",
                )
            return None
        configured = self.configured("log_folder")
        folder = self.named_log_folder if configured is None else Path(configured.value)
        return folder and absolute(folder)

    @property
    def base(self) -> Path | None:
        """What the names of the files beside the store begin with; None where it has none. Raises as `path`."""
        return base_of(self.path, self.log_folder)

    @property
    def file(self) -> Path:
        """The database's file. Raises as `path`, and INVALID_ARGUMENT for a store that is not a file."""
        if is_file(self.path):
            return Path(self.path)
        fault = invalid_argument("--db", f"names {self.shown}, which does not lie in a file")
        if is_postgres(self.path):
            fault.next = BACK_UP_ON_SERVER
        raise fault

    def tell_of_password(self) -> None:
        """Note on standard error, beside a printed command, that it lacks the password of the URL."""
        if self.shown != self.path:
            note(
                "The password of the URL is left out of printed commands: put it into ~/.pgpass, or into a connection"
                " service file, and leave it out of the URL."
            )

    @property
    def database_named_by(self) -> str:
        """What a person changes to name another database. Raises CONFIG_INVALID."""
        configured = self.configured("database")
        return self.option if configured is None else f"database in {configured.source.path}"


def adapters_file(config: Path | None, adapters_from: Path | None) -> Path | None:
    """The file that was named for its adapters, with its other settings or without. Raises INVALID_ARGUMENT."""
    if config is not None and adapters_from is not None:
        raise invalid_argument("--adapters-from", "and --config exclude each other")
    return config or adapters_from


def note_unsafe(source: Source) -> None:
    """Note on standard error that a file was found which somebody else may have written."""
    if source.unsafe:
        note(f"{source.path} is not used, because {source.unsafe}.")


def note_ignored(source: Source) -> None:
    """Note on standard error that a project's file was found which sets more than adapters."""
    if said := ignored_words(source):
        note(
            f"{said}. Name the file with --config to use it; `nexus-control config show` shows what is used."
        )


def ignored_words(source: Source) -> str | None:
    """Which settings of a project's file are not used, as a clause; None where it gives adapters only."""
    names = [name for name in SETTINGS if name in source.table] if source.kind == "project" else []
    return f"{source.path} is a project's file, whose {', '.join(names)} are not used" if names else None


@cache
def note(text: str) -> None:
    """Say it on standard error, once in a process."""
    Screen(sys.stderr).prose(text, Mark("Note:", "stopped"))
