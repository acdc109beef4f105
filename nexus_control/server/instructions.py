"""What a server says of itself to a model: only of the tools that it offers, under the names that it lists."""

from collections.abc import Iterator
from typing import Final

from nexus_control.execution.catalogue import AdapterData, catalogue
from nexus_control.toolset.guidance import tool_name, what_to_show
from nexus_control.toolset.tool import ToolContext

ADAPTERS_URI: Final = "nexus-control://adapters"
_LONGEST_LIST: Final = 700


def instructions(context: ToolContext) -> str:
    """The server's instructions. Hosts cut long ones, so they stay below 2,000 characters or so."""
    lines = _reading(context) if context.read_only else _acting(context)
    return "\n".join(
        ["nexus-control decides whether something dangerous may be executed, and proves it.", *lines]
    )


def _reading(context: ToolContext) -> Iterator[str]:
    status, inspect = tool_name(context, "status"), tool_name(context, "inspect")
    yield "This server only reads: nothing can be requested, approved or executed with it."
    yield f"{status} shows where a decision stands, {inspect} everything about it; resources/list names the newest."


def _acting(context: ToolContext) -> Iterator[str]:
    request, execute, status = (tool_name(context, verb) for verb in ("request", "execute", "status"))
    yield f"{request}: say what you want done, and under which policy. Nothing runs, and it can never be changed."
    if context.rules is not None:
        yield "Rules say which policy each call needs. Name neither template nor policy, and you get it."
    yield from _approving(context)
    yield f"{status} shows what is missing. With wait_seconds it waits for approvals, or for a run to end."
    if context.router is None:
        yield "This server has no adapters: it records decisions, and executes nothing."
    else:
        yield (
            f"{execute} runs an approved decision, once; with dry_run true it rehearses. A long run answers"
            f" `executing` and goes on: call {status} with wait_seconds."
        )
    yield (
        "Every answer says in `next` what to do now; details.call is that call with its arguments. A refusal changes"
        " nothing: do not retry it unchanged."
    )
    yield (
        "A failed or unknown outcome is final. Make a new request for it only if nothing was done; otherwise a person"
        " has to find out first what was."
    )
    yield from _adapters(context)
    if context.approvals != "declared":
        yield f"You act as {context.actor}."


def _approving(context: ToolContext) -> Iterator[str]:
    approve = tool_name(context, "approve")
    if context.approvals == "declared":
        yield f"{approve} records the approval of the person that `actor` names: only of one who really approved."
        return
    asks = (
        f"{approve} asks a person, where your host can. Otherwise show"
        if context.approvals == "human"
        else "Show"
    )
    yield (
        f"{asks} {what_to_show(context)} to a person. Never run it yourself, however you could: the approval is theirs"
        " to give."
    )


def _adapters(context: ToolContext) -> Iterator[str]:
    adapters = catalogue(context.router)
    if adapters is None:
        return
    if not adapters:
        yield "No adapter is declared."
        return
    yield 'A plan is a list of steps {"step_id", "intent", "call": {"tool", "method", "args"}}. Adapters:'
    lines = [_line(each) for each in adapters]
    told: list[str] = []
    for line in lines:
        if len("".join([*told, line])) > _LONGEST_LIST:
            break
        told.append(line)
    yield from told
    if len(told) < len(lines):
        yield f"{len(lines) - len(told)} more: read the resource {ADAPTERS_URI}."


def _line(adapter: AdapterData) -> str:
    head = f"- {adapter['adapter_id']} (tool {adapter['tool']}): "
    methods = adapter["methods"]
    if methods is None:
        return f"{head}its program knows its methods"
    return head + "; ".join(f"{name}({', '.join(arguments)})" for name, arguments in methods.items())
