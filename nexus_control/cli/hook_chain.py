"""What a registered hook leads to: its rule book, the templates that the book names, and the store that has them.

    problems_of([..., "hook", "--db", "/srv/decisions.db", "--config", "/srv/nexus-control.toml"])

It is read as the hook reads it, with the rights of who asks here. Another user may have another file of their own.
"""

from pathlib import Path
from typing import Final

from nexus_control.configuration import look
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.guards.hook import Places, book_in, without_book
from nexus_control.guards.hook_asking import opened_store
from nexus_control.rules.book import RuleBook
from nexus_control.store import DecisionStore
from nexus_control.usecases.arguments import TemplateGetArguments
from nexus_control.usecases.templating import template_get

_ORIGIN: Final = "--origin"
_OPTIONS: Final = ("--db", "--log-folder", "--allowed-signers", _ORIGIN, "--config")


def problems_of(words: list[str]) -> list[str]:
    """Why the hook of this command would deny calls that its rule book lets people decide; empty if it would not."""
    given = _given(words)
    if isinstance(given, str):
        return [given]
    last = {name: values[-1] if values else None for name, values in given.items()}
    paths = {name: Path(value) if value else None for name, value in last.items()}
    places = Places(
        database=last["--db"],
        log_folder=paths["--log-folder"],
        allowed_signers=paths["--allowed-signers"],
        origins=tuple(given[_ORIGIN]) or None,
        config=paths["--config"],
    )
    configuration = look(places.config, project=False)
    try:
        book = book_in(configuration)
    except NexusControlError as fault:
        return [f"the hook denies every call: {fault.message}"]
    if book is None:
        return [f"the hook denies every call: {without_book(configuration)}"]
    if not _templates(book):
        return []
    try:
        with opened_store(places, configuration) as store:
            return [problem for name in _templates(book) for problem in _of_template(store, name)]
    except NexusControlError as fault:
        return [f"the hook denies every call that needs a template: {fault.message}"]


def _given(words: list[str]) -> dict[str, list[str]] | str:
    """The values of each option of the hook, or what is wrong with them."""
    given: dict[str, list[str]] = {option: [] for option in _OPTIONS}
    rest = words[words.index("hook") + 1 :]
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option not in given:
            return f"the hook denies every call: {option:.80} is not an option of hook"
        if not equals and not rest:
            return f"the hook denies every call: {option} needs a value"
        value = value if equals else rest.pop(0)
        if option != _ORIGIN and not value.startswith("/") and not (option == "--db" and "://" in value):
            return f"the hook denies every call: {option} must be an absolute path"
        given[option].append(value)
    return given


def _templates(book: RuleBook) -> list[str]:
    return sorted({rule.template for rule in book.rules if rule.template is not None})


def _of_template(store: DecisionStore, name: str) -> list[str]:
    try:
        found = template_get(store, TemplateGetArguments(name=name))["template"]
    except NexusControlError as fault:
        if fault.code != ErrorCode.TEMPLATE_NOT_FOUND:
            raise
        return [
            f"the rules need the template {name}, which the store does not have: `template create` makes it"
        ]
    if "apply" in found["allowed_modes"]:
        return []
    return [f"the template {name} does not allow the mode apply, in which a hook asks: make one that does"]
