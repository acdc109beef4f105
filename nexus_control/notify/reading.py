"""Decodes the sinks of a `nexus-control.toml`. It is strict: an unknown key is an error.

    [[notify]]
    name = "chat"                         # unique; the store keeps under it how far the sink was told
    kind = "webhook"
    url = "https://hooks.example.org/nexus"
    secret = { file = "hook.secret" }     # whsec_ and base64; or { variable = "HOOK_SECRET" }
    events = ["pending", "unknown"]       # by default all: pending, approved, denied, executed, failed, unknown
    labels = ["prod"]                     # only requests that have all of these
    goal = true                           # the request's goal goes out too; by default it does not
    [[notify]]
    name = "pager"
    kind = "command"
    command = ["/usr/local/bin/page", "--team", "ops"]   # without a shell, in this file's folder
    [[notify]]
    name = "slack"
    kind = "apprise"                      # the extra [apprise]
    secret = { file = "slack.url" }       # the URL of Apprise, which holds a token

A URL is https, or http to this machine only (localhost, 127.0.0.0/8, ::1). It holds neither a user nor a password.
Each problem is CONFIG_INVALID, and names the file and the key, such as `notify[1].url`. No problem repeats a value.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast
from urllib.parse import SplitResult, urlsplit

from nexus_control.configuration import NOTIFY, Configuration, Source, refused
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.secrets import SecretSource
from nexus_control.notify.programs import Apprise, Command
from nexus_control.notify.sinks import EVERYTHING, Sink, Target, What
from nexus_control.notify.webhooks import Webhook
from nexus_control.system.commands import absolute
from nexus_control.values.records import check, decode, problems_of

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_OWN: Final = {"webhook": ("url", "secret"), "command": ("command",), "apprise": ("secret",)}
"""The keys that a kind has beside the common ones. All of them are required."""

_FORM: Final = (
    'Write each sink as [[notify]], then name = "chat" and kind. A webhook has url = "https://…" and'
    ' secret = { file = "hook.secret" } (or variable), a command has command = ["page", "ops"], apprise has a secret.'
    ' Each may have events = ["pending"], labels = ["prod"] and goal = true.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretTable:
    file: str | None = check(lambda text: bool(text) and "\0" not in text, "the name of a file", default=None)
    variable: str | None = check(
        lambda text: bool(text) and "\0" not in text, "the name of a variable", default=None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyTable:
    name: str = check(
        lambda text: _NAME.fullmatch(text) is not None,
        "1 to 64 of A-Z, a-z, 0-9, _, . and -, beginning with a letter or digit",
    )
    kind: Literal["webhook", "command", "apprise"]
    url: str | None = check(
        lambda text: _url_problem(text) is None,
        "an https:// address without user, password, # or blanks; http:// only for this machine (localhost)",
        default=None,
    )
    secret: SecretTable | None = None
    command: tuple[str, ...] | None = check(
        lambda words: bool(words) and bool(words[0]) and all("\0" not in word for word in words),
        "a list of words that begins with a program",
        default=None,
    )
    events: tuple[What, ...] | None = check(bool, "a list of at least one event", default=None)
    labels: tuple[str, ...] | None = check(
        lambda labels: bool(labels) and all(labels), "a list of at least one label", default=None
    )
    goal: bool = False


def sinks_in(configuration: Configuration) -> tuple[Sink, ...]:
    """The sinks of the first file that may have some and does. Raises CONFIG_INVALID, naming the file and the key;
    `details.problems` has every problem.

    >>> [sink.name for sink in sinks_in(look(Path("nexus-control.toml")))]
    ['chat', 'pager']
    """
    source = configuration.section(NOTIFY)
    return () if source is None else sinks_of(source)


def unused_sinks(configuration: Configuration) -> list[Path]:
    """The files that have sinks, and may not have any."""
    return [each.path for each in configuration.sources if each.kind == "project" and NOTIFY in each.table]


def no_sinks(configuration: Configuration) -> NexusControlError:
    """CONFIG_INVALID: no file that may have sinks has one."""
    looked = ", ".join(str(each.path) for each in configuration.sources if each.kind != "project")
    unused = "".join(f"; the sinks of {path} are not used" for path in unused_sinks(configuration))
    return NexusControlError(
        ErrorCode.CONFIG_INVALID,
        f"No file has a sink; looked at {looked}{unused}",
        advice=f"Write a [[{NOTIFY}]] into one of these files, or name a file with --config: a project's own file is"
        " not used without that.",
    )


def sinks_of(source: Source) -> tuple[Sink, ...]:
    """The sinks of a file that was read already. Raises CONFIG_INVALID, as `sinks_in`."""
    if source.fault is not None:
        raise source.fault
    tables = source.table.get(NOTIFY, [])
    if not isinstance(tables, list):
        raise _refused(source.path, [f"{NOTIFY} must be a list of tables: begin each sink with [[{NOTIFY}]]"])
    items = cast("list[object]", tables)
    problems = [each for n, item in enumerate(items) for each in _problems(item, f"{NOTIFY}[{n}]")]
    if problems:
        raise _refused(source.path, problems)
    found = [decode(NotifyTable, item, where="", code=ErrorCode.CONFIG_INVALID) for item in items]
    names = [table.name for table in found]
    if doubled := [n for n, name in enumerate(names) if name in names[:n]]:
        raise _refused(
            source.path, [f"{NOTIFY}[{n}].name is the name of another sink: {names[n]}" for n in doubled]
        )
    folder = absolute(source.path).parent
    return tuple(_sink(table, folder) for table in found)


def _refused(path: Path, problems: Sequence[str]) -> NexusControlError:
    fault = refused(path, problems)
    return NexusControlError(fault.code, fault.message, fault.details, _FORM)


def _problems(item: object, key: str) -> Iterator[str]:
    found = problems_of(NotifyTable, item, where=key)
    yield from found
    if found or not isinstance(item, dict):
        return
    given = cast("dict[str, object]", item)
    own = _OWN[cast("str", given["kind"])]
    for name in dict.fromkeys(each for keys in _OWN.values() for each in keys):
        if (name in given) is not (name in own):
            yield f"{key}.{name} {'is required' if name in own else 'must not be given'} for kind = {given['kind']}"
    secret = given.get("secret")
    if isinstance(secret, dict) and len(cast("dict[str, object]", secret)) != 1:
        yield f"{key}.secret must have exactly one of file and variable"


def _sink(table: NotifyTable, folder: Path) -> Sink:
    return Sink(
        name=table.name,
        events=frozenset(table.events or EVERYTHING),
        labels=frozenset(table.labels or ()),
        goal=table.goal,
        target=_target(table, folder),
    )


def _target(table: NotifyTable, folder: Path) -> Target:
    if table.secret is None:
        return Command(tuple(table.command or ()), folder)
    secret = SecretSource(file=table.secret.file, variable=table.secret.variable, base=folder)
    return Apprise(secret) if table.url is None else Webhook(table.url, secret)


def _url_problem(text: str) -> str | None:
    if not text.isascii() or not text.isprintable() or any(each in text for each in ' "<>\\^`{|}'):
        return "characters"
    try:
        parts = urlsplit(text)
        is_odd = parts.port == 0
    except ValueError:
        return "form"
    if is_odd or not parts.hostname or "@" in parts.netloc or "#" in text:
        return "parts"
    if parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(parts)):
        return None
    return "scheme"


def _is_this_machine(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
