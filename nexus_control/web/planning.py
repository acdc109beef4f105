"""What a request runs: each step with its call, and the programs that it starts, with their arguments in full."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final

from nexus_control.canonical_json import canonical_json
from nexus_control.lifecycle import counted
from nexus_control.render.guarded import call_lines, who_runs
from nexus_control.render.html import Html
from nexus_control.render.planned import planned_steps
from nexus_control.render.text import View
from nexus_control.render.will_run import BY_WORKER, MODES, NOT_AT_HAND, call_words, place_words
from nexus_control.web.pages import el

_LINE_END: Final = "\n"
_OPEN: Final = ("PENDING_APPROVAL", "APPROVED")


def what_runs(decision: View, will_run: View | None, *, is_guarded: bool) -> Iterator[Html]:
    """The plan, and what its steps would run where that is known."""
    if is_guarded:
        yield el("p", who_runs(decision["adapter_id"]))
        lines = (f"{' ' * indent}{line}" for indent, line in call_lines(decision))
        yield el("pre", "\n".join(lines), tabindex="0", aria_label="The call")
        return
    yield from _plan(decision["plan"], will_run)
    if will_run is None and decision["status"] in _OPEN:
        yield el("p", NOT_AT_HAND, class_="note")
    if adapter := (will_run or decision)["adapter_id"]:
        yield el("p", f"Adapter: {adapter}")
    if will_run and will_run["note"]:
        yield el("p", f"{will_run['note']}.", class_="odd")
    if decision.get("dispatch") == "worker":
        yield el("p", BY_WORKER)


def _plan(plan: str | None, will_run: View | None) -> Iterator[Html]:
    steps = None if plan is None else planned_steps(plan)
    if plan is None:
        yield el("p", "The request has no plan.")
    elif steps is None:
        yield el("p", f"Plan, a text of {counted(len(plan.split(_LINE_END)), 'line')}:")
        yield el("pre", plan, tabindex="0", aria_label="The plan")
    else:
        described: Sequence[View] = will_run["steps"] if will_run else ()
        yield el("p", f"Plan of {counted(len(steps), 'step')}:")
        items = (el("li", *_step(*pair)) for pair in zip_longest(steps, described[: len(steps)]))
        yield el("ol", *items, class_="plan")


def _step(step: View, runs: View | None) -> Iterator[Html]:
    call = step["call"]
    args = "".join(f"\n  {name} = {canonical_json(value)}" for name, value in call["args"].items())
    yield el("p", el("span", step["step_id"], class_="name"), f" {step['intent']}")
    yield el("pre", f"{call['tool']}.{call['method']}{args}")
    for mode, word in MODES.items():
        if runs and mode in runs:
            yield from _call(word, runs[mode])


def _call(word: str, call: View) -> Iterator[Html]:
    if not call:
        yield el("p", f"When it is {word}, nothing is run.", class_="note")
        return
    yield el("p", f"When it is {word}:", class_="note")
    yield el("pre", call_words(call), class_="runs")
    if call.get("file"):
        yield el("p", "where FILE holds:", class_="note")
        yield el("pre", call["file"])
    if call.get("argv"):
        yield el("p", f"in {place_words(call)}", class_="note")
