"""The server's resources: the adapters, decisions and templates, each as JSON.

    nexus-control://adapters
    nexus-control://decisions/{id}
    nexus-control://templates/{name}

An id in a URI is percent-encoded. The list names the newest decisions; every other one can be read by its URI.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, unquote

import mcp_types as types

from nexus_control.execution.catalogue import catalogue
from nexus_control.server.instructions import ADAPTERS_URI
from nexus_control.toolset.calling import CallResult, call_now
from nexus_control.toolset.table import tool_named
from nexus_control.toolset.tool import PREFIX, ToolContext
from nexus_control.usecases.arguments import ListArguments, TemplateListArguments
from nexus_control.usecases.listing import list_requests
from nexus_control.usecases.templating import template_list

_MIME: Final = "application/json"
_DECISION_URI: Final = "nexus-control://decisions/"
_TEMPLATE_URI: Final = "nexus-control://templates/"
_NEWEST: Final = 30
_LONGEST_GOAL: Final = 120

TEMPLATES: Final = [
    types.ResourceTemplate(name=name, uri_template=uri, description=description, mime_type=_MIME)
    for name, uri, description in (
        ("decision", _DECISION_URI + "{id}", "Everything about a decision."),
        ("template", _TEMPLATE_URI + "{name}", "A policy template."),
    )
]


def listed(context: ToolContext) -> list[types.Resource]:
    """The adapters, the newest decisions and the templates."""
    return list(_listed(context))


def _listed(context: ToolContext) -> Iterator[types.Resource]:
    yield _resource(ADAPTERS_URI, "adapters", "What may be executed here: adapters, methods, arguments.")
    for line in list_requests(context.store, ListArguments(limit=_NEWEST))["requests"]:
        about = f"{line['state']}: {' '.join(line['goal'].split())}"
        uri = _DECISION_URI + quote(line["request_id"], safe="")
        yield _resource(uri, line["request_id"], about[:_LONGEST_GOAL])
    for template in template_list(context.store, TemplateListArguments(limit=_NEWEST))["templates"]:
        name = template["template_name"]
        yield _resource(_TEMPLATE_URI + quote(name, safe=""), name, "A policy template.")


def _resource(uri: str, name: str, description: str) -> types.Resource:
    return types.Resource(uri=uri, name=name, description=description, mime_type=_MIME)


def read(context: ToolContext, uri: str) -> CallResult | None:
    """The content of a resource; None where there is none of this URI."""
    whole = replace(context, whole_answers=True)
    if uri == ADAPTERS_URI:
        return CallResult({"adapters": catalogue(context.router) or []})
    if uri.startswith(_DECISION_URI):
        return _called(whole, "inspect", decision_id=unquote(uri.removeprefix(_DECISION_URI)))
    if uri.startswith(_TEMPLATE_URI):
        return _called(whole, "template.get", name=unquote(uri.removeprefix(_TEMPLATE_URI)))
    return None


def _called(context: ToolContext, verb: str, **arguments: Any) -> CallResult | None:
    tool = tool_named(PREFIX + verb)
    return tool and call_now(tool, context, arguments)
