"""The server's resources: the adapters, decisions and templates, each as JSON.

    nexus-control://adapters
    nexus-control://decisions/{id}
    nexus-control://templates/{name}

An id in a URI is percent-encoded. The list names the newest decisions; every other one can be read by its URI.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, unquote

import mcp_types as types
from mcp.shared.exceptions import MCPError

from nexus_control.execution.catalogue import catalogue
from nexus_control.server.instructions import ADAPTERS_URI
from nexus_control.server.running import Request, in_thread
from nexus_control.toolset.calling import CallResult, call_now
from nexus_control.toolset.table import tool_named
from nexus_control.toolset.tool import PREFIX, ToolContext
from nexus_control.usecases.arguments import TemplateListArguments
from nexus_control.usecases.list_arguments import ListArguments
from nexus_control.usecases.listing import list_requests
from nexus_control.usecases.templating import template_list

_MIME: Final = "application/json"
_DECISION_URI: Final = "nexus-control://decisions/"
_TEMPLATE_URI: Final = "nexus-control://templates/"
_NEWEST: Final = 30
_LONGEST_GOAL: Final = 120


class Resources:
    """The resources of one server."""

    def __init__(self, context: ToolContext) -> None:
        self._context = context

    async def list(self, _request: Request, _params: object) -> types.ListResourcesResult:
        found = await in_thread(lambda: [*_listed(self._context)])
        if isinstance(found, CallResult):
            raise MCPError(types.INTERNAL_ERROR, str(found.content["message"]))
        return types.ListResourcesResult(resources=found)

    async def list_templates(self, _request: Request, _params: object) -> types.ListResourceTemplatesResult:
        templates = [
            types.ResourceTemplate(name=name, uri_template=uri, description=description, mime_type=_MIME)
            for name, uri, description in (
                ("decision", _DECISION_URI + "{id}", "Everything about a decision."),
                ("template", _TEMPLATE_URI + "{name}", "A policy template."),
            )
        ]
        return types.ListResourceTemplatesResult(resource_templates=templates)

    async def read(
        self, _request: Request, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        outcome = await in_thread(lambda: _read(self._context, params.uri))
        if outcome is None or outcome.is_error:
            message = "There is no such resource" if outcome is None else str(outcome.content["message"])
            raise MCPError(types.INVALID_PARAMS, message)
        text = json.dumps(outcome.content, ensure_ascii=False, indent=2)
        content = types.TextResourceContents(uri=params.uri, mime_type=_MIME, text=text)
        return types.ReadResourceResult(contents=[content])


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


def _read(context: ToolContext, uri: str) -> CallResult | None:
    """The content of the resource of this URI; None if there is no such resource."""
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
