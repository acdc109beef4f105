"""Guarded calls in words: who runs them, and what exactly.

    Tool: Bash
    Folder: /srv
    Arguments:
      command: "rm -rf build"

A guard runs only the call whose tool, arguments and folder are the plan, so these lines are all of what runs. A plan of
another shape is shown as the text that it is.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, cast

from nexus_control.canonical_json import parse_json
from nexus_control.errors import NexusControlError
from nexus_control.lifecycle import counted
from nexus_control.render.results import pretty
from nexus_control.render.text import View
from nexus_control.values.guarded import FUNCTION, TOOL, is_function, is_guarded

_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][\w.-]{0,79}", re.ASCII)


def is_guarded_call(decision: View, will_run: View | None) -> bool:
    """Whether the caller of this decision runs it. What is bound to an adapter's digest, or has steps that a router
    described, is a router's.
    """
    is_a_routers = decision.get("adapter_digest") or (will_run and will_run["steps"])
    return is_guarded(decision.get("adapter_id")) and not is_a_routers


def who_runs(adapter_id: str) -> str:
    """Who runs what was approved, as a sentence."""
    if is_function(adapter_id):
        return f"The program that has the function {adapter_id.removeprefix(FUNCTION)} runs it, once."
    return (
        f"The agent or program that asked runs {adapter_id.removeprefix(TOOL)} itself, once, when it goes on."
    )


def how_to_go_on(adapter_id: str) -> str:
    """What makes an approved call run, as a sentence."""
    if is_function(adapter_id):
        return "Let that program call execute() of its proposal."
    return "If it has stopped, resume it."


def output_of(result: View) -> str | None:
    """What the caller recorded as the output of the call, as text; None where nothing was, or it is not known here.
    `result` is the answer of `result`.
    """
    answer = result.get("answer")
    output = cast("dict[str, object]", answer).get("output") if isinstance(answer, dict) else None
    return None if output is None else pretty(output)


def call_lines(decision: View) -> list[tuple[int, str]]:
    """What runs: lines with their indents, not yet spelled out."""
    content = _content(decision)
    if content is None:
        plan: str = decision["plan"] or "(none)"
        return [(0, f"Adapter: {decision['adapter_id']}"), *((0, line) for line in plan.split("\n"))]
    kind = "Function" if is_function(decision["adapter_id"]) else "Tool"
    folder = [(0, f"Folder: {content['folder']}")] if "folder" in content else []
    return [(0, f"{kind}: {content['tool']}"), *folder, *_arguments(content["arguments"])]


def _content(decision: View) -> Mapping[str, object] | None:
    """The plan of a guarded call that has exactly what a guard writes into it."""
    try:
        parsed = parse_json(decision["plan"] or "")
    except NexusControlError:
        return None
    content = cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}
    if content.keys() - {"folder"} != {"tool", "arguments"} or not isinstance(
        content["arguments"], dict | str
    ):
        return None
    if not isinstance(content.get("folder", ""), str):
        return None
    kind = FUNCTION if is_function(decision["adapter_id"]) else TOOL
    return content if decision["adapter_id"] == f"{kind}{content['tool']}" else None


def _arguments(arguments: object) -> Iterator[tuple[int, str]]:
    if isinstance(arguments, str):
        yield from _argument("Arguments", arguments, 0)
        return
    given = cast("dict[str, object]", arguments)
    yield 0, "Arguments:" if given else "Arguments: (none)"
    for name, value in given.items():
        shown = name if _PLAIN_NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)
        yield from _argument(shown, value, 2)


def _argument(name: str, value: object, indent: int) -> Iterator[tuple[int, str]]:
    """A text of more lines as these lines, any other value as JSON."""
    is_text = isinstance(value, str)
    if is_text and "\n" not in value:
        yield indent, f"{name}: {json.dumps(value, ensure_ascii=False)}"
        return
    lines = pretty(value).split("\n")
    if len(lines) == 1:
        yield indent, f"{name}: {lines[0]}"
        return
    yield indent, f"{name}, a text of {counted(len(lines), 'line')}:" if is_text else f"{name}:"
    for line in lines:
        inner = line.lstrip(" ")
        yield indent + 4 + (0 if is_text else len(line) - len(inner)), line if is_text else inner
