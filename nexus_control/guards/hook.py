"""The hook of an agent host: what it answers before and after each call of a tool.

    reply(b'{"hook_event_name": "PreToolUse", "tool_name": "Bash", ...}', Places(database="/srv/decisions.db"))

1. The input is read (`guards.hook_input`). One that cannot be read is denied.
2. The rule book of the configuration judges the call, always as one that is applied. A call that it allows is left to
   the host's own permissions; one that it denies, or cannot judge, is denied. Without a rule book everything is denied.
   The files are those of `--config`, the system and the user; one of a project is never read.
3. Only for a call that needs a template is the store opened (`guards.hook_asking`): the call is asked for, deferred or
   denied while it waits, claimed and let through when it is approved, and recorded after it has run.

Everything here is quick to load, because it runs at each call of a tool.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from nexus_control.configuration import SYSTEM_FILE, Configuration, look
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.guards import texts
from nexus_control.guards.calls import default_actor
from nexus_control.guards.hook_input import HookInput, read_input, told
from nexus_control.guards.hook_replies import NO_OPINION, Reply, denial, not_recorded
from nexus_control.rules.book import Call, RuleBook
from nexus_control.rules.reading import book_of

_NO_BOOK: Final = (
    'there is no rule book. A person writes one into {file}, with: default = "deny", and [[rules]] for the tools that'
    " may run"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What the options name; each place is absolute, or a URL. What is None comes from the configuration."""

    database: str | None = None
    log_folder: Path | None = None
    allowed_signers: Path | None = None
    origins: tuple[str, ...] | None = None
    config: Path | None = None


def reply(raw: bytes, places: Places) -> Reply:
    """The reply to what the host gave. Raises NexusControlError where something is away, and what a defect raises: the
    caller denies then.
    """
    try:
        given = read_input(raw)
    except NexusControlError as fault:
        return denial(told(fault))
    try:
        return _judged(given, places)
    except NexusControlError as fault:
        if given.event != "PreToolUse":
            return not_recorded(str(fault))
        if fault.code == ErrorCode.RULE_UNDECIDED:
            return denial(texts.denied_by_rule(fault.message))
        return denial(texts.unavailable(str(fault)))
    except BaseException as error:
        if given.event == "PreToolUse":
            raise
        return not_recorded(f"{type(error).__name__}: {error}")


def _judged(given: HookInput, places: Places) -> Reply:
    configuration = look(places.config, project=False)
    book = book_in(configuration)
    is_before, actor = given.event == "PreToolUse", default_actor()
    if book is None:
        return denial(texts.unavailable(without_book(configuration))) if is_before else NO_OPINION
    called = Call(tool=given.tool, arguments=given.arguments, mode="apply", requester=str(actor))
    try:
        judgement = book.judge(called)
    except NexusControlError:
        if is_before:
            raise
        return NO_OPINION  # it was denied then
    if judgement.template is not None:
        asking = import_module("nexus_control.guards.hook_asking")
        desk = asking.Desk(given, judgement.template, actor, places, configuration)
        return desk.before() if is_before else desk.after()
    if judgement.verdict == "deny" and is_before:
        return denial(texts.denied_by_rule(f"the rules deny {given.tool} ({judgement.decided_by})"))
    return NO_OPINION


def book_in(configuration: Configuration) -> RuleBook | None:
    """The rule book; None without one. A user's own does not take the place of a system's file that others may write.
    Raises CONFIG_INVALID.
    """
    found = configuration.section("rules")
    if found is None or (found.kind == "user" and any(each.unsafe for each in configuration.sources)):
        return None
    return book_of(found)


def without_book(configuration: Configuration) -> str:
    """Why there is no rule book, where `book_in` finds none."""
    unsafe = [
        f"{each.path} is not used, because {each.unsafe}" for each in configuration.sources if each.unsafe
    ]
    return "; ".join(unsafe) or _NO_BOOK.format(file=SYSTEM_FILE)
