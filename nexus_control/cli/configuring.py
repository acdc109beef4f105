"""The command `config show`: each setting, where it comes from and why, and what is used of each file."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypedDict

from nexus_control.cli.commands import group
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.options import DEFAULT_DATABASE, UsualConfig
from nexus_control.cli.screen import Mark, Screen, columns
from nexus_control.cli.settings import ORIGINS_VARIABLE
from nexus_control.configuration import (
    ADAPTERS,
    DEFAULT,
    FILE_NAME,
    GROUPS,
    INBOX,
    NOTIFY,
    RULES,
    SECRETS,
    SECTIONS,
    SETTINGS,
    Configuration,
    Setting,
    Source,
)
from nexus_control.errors import NexusControlError
from nexus_control.notify.reading import sinks_in
from nexus_control.rules.reading import book_of, rule_book
from nexus_control.storage import is_postgres
from nexus_control.system.commands import absolute
from nexus_control.system.whole_files import is_regular
from nexus_control.usecases.grouping import groups_from, groups_in
from nexus_control.usecases.inbox_settings import configured_inbox
from nexus_control.values.results import fault_of

config = group(help="The settings, and the files that they come from.\n\nExample: nexus-control config show")


@config.callback()
def settings() -> None:
    """The settings, and the files that they come from."""  # a group of one command needs a callback


_NOT_FROM_A_PROJECT: Final = (
    "named in a project's file, ignored because a cloned repository must not choose whom we trust"
)
_WHOSE: Final = {
    "option": "The file of --config",
    "project": "A project's file, in this folder or above",
    "user": "Your file",
    "system": "The system's file",
}
_READERS: Final[dict[str, Callable[[Configuration], object]]] = {
    RULES: rule_book,
    DEFAULT: rule_book,
    GROUPS: groups_in,
    INBOX: configured_inbox,
    NOTIFY: sinks_in,
}
"""What decodes each section, for the commands that use it."""
_COLOUR: Final[dict[str, Literal["good", "stopped", "bad"]]] = {
    "used": "good",
    "not used": "stopped",
    "absent": "stopped",
    "ignored": "stopped",
    "refused": "bad",
    "broken": "bad",
}


class SettingLine(TypedDict):
    name: str
    value: str | None
    source: str
    why: str


class KeyLine(TypedDict):
    key: str
    status: str
    why: str


class FileLine(TypedDict):
    path: str
    kind: str
    status: str
    why: str
    keys: list[KeyLine]


@config.command()
@shared_options("acting_as", "allowed_signers", "db")
def show(frame: Frame, config: UsualConfig = None) -> Answer:
    """Each setting, where it comes from and why; and what is used of each file that was looked at.

    Example: nexus-control config show
    """
    named = None if config is None else absolute(config)
    settings = [
        _database(frame),
        *_log_folder(frame),
        _signers(frame),
        _origins(frame),
        _actor(frame),
        _adapters(frame, named),
        _rules(frame),
        _groups(frame),
    ]
    files = [_file(frame, source, named) for source in frame.configuration.sources]
    files.extend(_by_variable(frame.configuration))

    def shown(screen: Screen) -> None:
        for each in settings:
            screen.prose(f"{each['name']}, from {each['source']}. {each['why']}.")
            if each["value"] is not None:
                screen.verbatim(each["value"])
        screen.heading("Files")
        for file in files:
            kind = file["kind"]
            screen.prose(
                f"{file['why']}.",
                Mark(f"{_WHOSE.get(kind, kind)}: {file['status']}.", _COLOUR[file["status"]]),
            )
            screen.verbatim(file["path"])
            if file["keys"]:
                rows = [(each["key"], each["status"], each["why"]) for each in file["keys"]]
                screen.grid(columns("entry|use|why", rows))
                screen.blank()

    return Answer({"settings": settings, "files": files}, shown)


@dataclass(frozen=True, slots=True)
class _Named:
    """How a setting can be named, in the order that wins."""

    option: str
    variable: str

    def line(
        self,
        name: str,
        value: str | None,
        *,
        option: bool,
        named: bool,
        configured: Path | None,
        otherwise: str,
    ) -> SettingLine:
        if option:
            return _setting(name, value, self.option, "An option wins over everything else")
        if named:
            return _setting(name, value, self.variable, f"There is no {self.option}")
        neither = f"Neither {self.option} nor {self.variable} names one"
        if configured is not None:
            return _setting(name, value, str(configured), neither)
        return _setting(name, value, otherwise, f"{neither}, and no file that may")


_DATABASE: Final = _Named("--db", "NEXUS_CONTROL_DB")
_LOG_FOLDER: Final = _Named("--log-folder", "NEXUS_CONTROL_LOG_FOLDER")
_SIGNERS: Final = _Named("--allowed-signers", "NEXUS_CONTROL_ALLOWED_SIGNERS")
_ORIGINS: Final = _Named("--origin", ORIGINS_VARIABLE)


def _path(configured: Setting | None) -> Path | None:
    return configured and configured.source.path


def _setting(name: str, value: str | None, source: str, why: str) -> SettingLine:
    return {"name": name, "value": value, "source": source, "why": why}


def _or_fault(name: str, action: Callable[[], SettingLine]) -> SettingLine:
    """The line of a setting; a fault of the file that it might come from is its explanation."""
    line = fault_of(action)
    if isinstance(line, NexusControlError):
        return _setting(name, None, "a file that cannot be used", line.message.rstrip("."))
    return line


def _database(frame: Frame) -> SettingLine:
    def line() -> SettingLine:
        return _DATABASE.line(
            "database",
            frame.shown,
            option="--db" in frame.given,
            named=frame.database is not None,
            configured=_path(frame.configured("database")),
            otherwise=f"the default, {DEFAULT_DATABASE} in this folder",
        )

    return _or_fault("database", line)


def _log_folder(frame: Frame) -> Iterator[SettingLine]:
    """The line of the log folder, for a database on PostgreSQL."""

    def line() -> SettingLine:
        folder = frame.log_folder
        return _LOG_FOLDER.line(
            "log_folder",
            None if folder is None else str(folder),
            option="--log-folder" in frame.given,
            named=frame.named_log_folder is not None,
            configured=_path(frame.configured("log_folder")),
            otherwise="nowhere: nothing is signed",
        )

    path = fault_of(lambda: frame.path)
    if isinstance(path, str) and is_postgres(path):
        yield _or_fault("log_folder", line)


def _signers(frame: Frame) -> SettingLine:
    def line() -> SettingLine:
        file = frame.allowed_signers
        return _SIGNERS.line(
            "allowed_signers",
            None if file is None else str(absolute(file)),
            option="--allowed-signers" in frame.given,
            named=frame.named_signers is not None,
            configured=_path(frame.configured("allowed_signers")),
            otherwise="nowhere: no signature counts",
        )

    return _or_fault("allowed_signers", line)


def _origins(frame: Frame) -> SettingLine:
    def line() -> SettingLine:
        found = frame.configuration.section(INBOX) if frame.named_origins is None else None
        return _ORIGINS.line(
            "origins",
            " ".join(frame.origins) or None,
            option="--origin" in frame.given,
            named=frame.named_origins is not None,
            configured=found and found.path,
            otherwise="nowhere: no passkey's signature counts",
        )

    return _or_fault("origins", line)


def _actor(frame: Frame) -> SettingLine:
    def line() -> SettingLine:
        value = str(frame.actor)
        if frame.acting_as is None:
            why = "Neither --as nor NEXUS_CONTROL_ACTOR names one"
            return _setting("actor", value, "your login here", why)
        if frame.acting_as == os.environ.get("NEXUS_CONTROL_ACTOR"):
            return _setting("actor", value, "NEXUS_CONTROL_ACTOR", "The variable or --as says so")
        return _setting("actor", value, "--as", "An option wins over everything else")

    return _or_fault("actor", line)


def _adapters(frame: Frame, named: Path | None) -> SettingLine:
    if named is not None:
        option = "--config" if frame.config else "--adapters-from"
        return _setting("adapters", str(named), option, "An option wins over everything else")
    found = frame.configuration.adapters()
    if found is None:
        why = "No file that may be used declares any, and no --config names one"
        return _setting("adapters", None, "nowhere", why)
    why = "It is the first file that declares adapters" if found.fault is None else "It cannot be read"
    whose = _WHOSE[found.kind]
    return _setting("adapters", str(found.path), f"{whose[:1].lower()}{whose[1:]}", why)


def _section(frame: Frame, name: str, what: str, value: Callable[[Source], str]) -> SettingLine:
    """The line of a section that no option gives: which file it is of, or why it cannot be used."""

    def line() -> SettingLine:
        found = _used(frame.configuration, name)
        if found is None:
            return _setting(name, None, "nowhere", f"No file that may have {what} does")
        whose = _WHOSE[found.kind]
        why = f"It is the first file that may have {what} and does: {found.path}"
        return _setting(name, value(found), f"{whose[:1].lower()}{whose[1:]}", why)

    return _or_fault(name, line)


def _rules(frame: Frame) -> SettingLine:
    return _section(frame, RULES, "a rule book", lambda found: book_of(found).digest)


def _groups(frame: Frame) -> SettingLine:
    def members(found: Source) -> str:
        return "; ".join(f"{name}: {', '.join(ids)}" for name, ids in groups_from(found).items())

    return _section(frame, GROUPS, "groups of approvers", members)


def _file(frame: Frame, source: Source, named: Path | None) -> FileLine:
    keys = [_key(frame, source, name, named) for name in source.table]
    if not source.is_there:
        status, why = "absent", "There is no such file"
    elif source.unsafe is not None:
        status, why = "refused", f"{source.unsafe[:1].upper()}{source.unsafe[1:]}"
    elif source.fault is not None:
        status, why = "broken", source.fault.message.rstrip(".")
    elif any(key["status"] == "used" for key in keys):
        status, why = "used", "See each entry"
    else:
        status, why = "not used", "See each entry" if keys else "It is empty"
    return {"path": str(source.path), "kind": source.kind, "status": status, "why": why, "keys": keys}


def _key(frame: Frame, source: Source, key: str, named: Path | None) -> KeyLine:
    if key == ADAPTERS:
        return _adapters_key(frame.configuration, source, named)
    if source.kind == "project":
        return {"key": key, "status": "ignored", "why": _NOT_FROM_A_PROJECT}
    if key == SECRETS:
        return {**_adapters_key(frame.configuration, source, named), "key": key}
    assert key in SETTINGS
    if key in SECTIONS:
        return _setting_key(fault_of(partial(_used, frame.configuration, key)), source, key)
    by_option: dict[str, tuple[_Named, str | Path | None]] = {
        "database": (_DATABASE, frame.database),
        "log_folder": (_LOG_FOLDER, frame.named_log_folder),
        "allowed_signers": (_SIGNERS, frame.named_signers),
    }
    names, by_other = by_option[key]
    if by_other is not None:
        return {"key": key, "status": "not used", "why": f"{names.option} or {names.variable} names one"}
    if key == "log_folder" and frame.database is not None:
        why = f"{_DATABASE.option} or {_DATABASE.variable} names another database than this file"
        return {"key": key, "status": "not used", "why": why}
    configured = fault_of(lambda: frame.configuration.setting(key))
    found = configured.source if isinstance(configured, Setting) else configured
    return _setting_key(found, source, key)


def _used(configuration: Configuration, key: str) -> Source | None:
    """The file whose section is used. Raises CONFIG_INVALID where none is, because of a fault in one."""
    _READERS[key](configuration)
    return configuration.section(key)


def _setting_key(found: Source | NexusControlError | None, source: Source, key: str) -> KeyLine:
    """The line of a key of this file, where `found` is the file whose key is used."""
    if isinstance(found, NexusControlError):
        return {"key": key, "status": "refused", "why": found.message.rstrip(".")}
    if found is source:
        return {"key": key, "status": "used", "why": "the first file that has it"}
    wins = found or source
    return {"key": key, "status": "not used", "why": f"{wins.path} wins"}


def _adapters_key(configuration: Configuration, source: Source, named: Path | None) -> KeyLine:
    found = configuration.adapters()
    if found is source:
        return {"key": ADAPTERS, "status": "used", "why": "the first file that declares adapters"}
    winner = named if found is None else found.path
    return {"key": ADAPTERS, "status": "not used", "why": f"{winner} comes first"}


def _by_variable(configuration: Configuration) -> Iterator[FileLine]:
    """The file in XDG_CONFIG_HOME, if there is one and it is not looked at."""
    folder = os.environ.get("XDG_CONFIG_HOME")
    file = Path(folder or "") / "nexus-control" / FILE_NAME
    if folder and is_regular(file) and file not in {source.path for source in configuration.sources}:
        why = "A project can set XDG_CONFIG_HOME, so it is not asked: name the file with --config"
        yield {
            "path": str(file),
            "kind": "A file in XDG_CONFIG_HOME",
            "status": "ignored",
            "why": why,
            "keys": [],
        }
