"""What the shell completes beside commands and options: ids of requests, names of templates, and adapters.

Only names of plain characters are offered. Shells evaluate what they are offered, and a name may come from anywhere.
Where there is no store, nothing is offered and nothing is made. Modules are loaded when they are needed, because the
options that name these functions are loaded for `--help` too.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import typer

from nexus_control.cli.loading import load
from nexus_control.errors import NexusControlError

_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*")
_MOST: Final = 200


def request_ids(context: typer.Context, incomplete: str) -> list[str]:
    """The ids of the newest requests."""
    return _offered(_request_ids(context), incomplete)


def template_names(context: typer.Context, incomplete: str) -> list[str]:
    return _offered(_template_names(context), incomplete)


def adapter_ids(context: typer.Context, incomplete: str) -> list[str]:
    """The adapters that are declared in the file of `--config`, or in the one that a command would find."""
    return _offered(_adapter_ids(context), incomplete)


def _offered(names: Iterable[str], incomplete: str) -> list[str]:
    try:
        return [each for each in names if each.startswith(incomplete) and _PLAIN.fullmatch(each)]
    except NexusControlError:  # a command says what is wrong; here a person is still typing
        return []


def _request_ids(context: typer.Context) -> Iterator[str]:
    arguments, listing = load("nexus_control.usecases.list_arguments"), load("nexus_control.usecases.listing")
    with _store(context) as store:
        page = listing.list_requests(store, arguments.ListArguments(limit=_MOST))
    yield from (line["request_id"] for line in page["requests"])


def _template_names(context: typer.Context) -> Iterator[str]:
    arguments, templating = (
        load("nexus_control.usecases.arguments"),
        load("nexus_control.usecases.templating"),
    )
    with _store(context) as store:
        page = templating.template_list(store, arguments.TemplateListArguments(limit=_MOST))
    yield from (line["template_name"] for line in page["templates"])


def _adapter_ids(context: typer.Context) -> Iterator[str]:
    source = load("nexus_control.cli.adapters").config_or_default(context.params.get("config"))
    if source is not None:
        adapters = load("nexus_control.execution.config").adapters_of(source)
        yield from load("nexus_control.execution.adapter").Adapters(adapters).ids()


def _store(context: typer.Context) -> Any:
    """The store of the command that is being typed. Raises NexusControlError if there is no store."""
    frame = load("nexus_control.cli.frame")
    named = frame.frame_of(context, db=context.params.get("db"))
    return frame.Frame(database=named.database).store()
