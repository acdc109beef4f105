"""The programs that the steps of an open decision would run: each on one line, with the quotes that a shell needs."""

import shlex
from collections.abc import Iterator
from typing import Final

from nexus_control.canonical_json import canonical_json
from nexus_control.lifecycle import counted
from nexus_control.render.guarded import is_guarded_call, who_runs
from nexus_control.render.text import View, bullet, code_line, escape, listed

NOT_AT_HAND: Final = "No configuration was found here: what the steps run is not known."
MODES: Final = {"apply": "applied", "dry_run": "rehearsed"}
"""What a step is in each mode."""


def will_run_lines(decision: View, will_run: View | None) -> Iterator[str]:
    """Lines for a section. Programs in a row with the same folder, environment and limits get one line for those."""
    if is_guarded_call(decision, will_run):
        yield f"- {escape(who_runs(decision['adapter_id']))} What runs is exactly the plan."
        return
    if will_run is None:
        yield f"- {NOT_AT_HAND}"
        return
    yield bullet("Adapter", will_run["adapter_id"])
    if will_run["note"]:
        yield f"- {escape(will_run['note'])}."
    steps, said = will_run["steps"], ""
    for number, step in enumerate(steps, start=1):
        for mode, word in MODES.items():
            if mode not in step:
                continue
            call = step[mode]
            where = escape(place_words(call)) if call.get("argv") else said
            if where != said:
                yield f"- In {where}"
                said = where
            title = f"Step {number} of {len(steps)}, {escape(step['step_id'])}, when it is {word}"
            yield (
                f"- {title}: nothing is run" if not call else f"- {title}:\n\n{code_line(call_words(call))}\n"
            )
            if call.get("file"):
                yield f"  where FILE holds:\n\n{code_line(call['file'])}\n"


def place_words(call: View) -> str:
    """Where a program runs, with what environment and limits; not yet escaped."""
    return (
        f"{call['directory']}; environment: {listed(call['environment'])}; limits: "
        f"{counted(call['timeout_seconds'], 'second')}, {counted(call['max_output_bytes'], 'byte')} of output kept"
    )


def call_words(call: View) -> str:
    """What a call runs, on one line; not yet escaped."""
    if call.get("tool"):
        return f"{call['tool']} {canonical_json(call.get('args', {}))} of the MCP server {shlex.join(call['argv'])}"
    if call.get("argv"):
        return shlex.join(call["argv"])
    return f"{call['function']} {canonical_json(call.get('args', {}))}"
