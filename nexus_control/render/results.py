"""What the steps of a run gave back, as texts for every screen and page that shows them.

    ✓ s1  ok, exit code 0
        {"rotated": 4}
    ✗ s2  failed, exit code 3, what was done is unknown
        PROGRAM_FAILED: The program ended with 3
        standard error:
        the key is locked

A long output is cut, and its size is said. The texts are untrusted: a terminal or a page of Markdown still has to spell
out their hidden characters.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from nexus_control.evidence.run_steps import NOT_ENDED
from nexus_control.lifecycle import counted, effect_words
from nexus_control.render.text import View, code_block, escape

Sign: TypeAlias = Literal["✓", "✗", "?", "…"]

MOST_LINES, MOST_CHARACTERS = 20, 2_000
_LONGEST_LINE: Final = 70
_SIGNS: Final[dict[str, Sign]] = {"ok": "✓", "error": "✗", "unknown": "?"}
_WORDS: Final = {"ok": "ok", "error": "failed", "unknown": "not known to have ended"}


@dataclass(frozen=True, slots=True)
class StepText:
    """One step. `said` tells how it went; `blocks` are what it gave back, each with a name that may be empty."""

    sign: Sign
    step_id: str
    said: str
    blocks: tuple[tuple[str, str], ...]


def step_texts(results: Iterable[View], *, whole: bool = False, goes_on: bool = False) -> list[StepText]:
    """The steps of a run, each a `StepLine` of an answer. With `whole` no output is cut. `goes_on`: the run is under
    way, and so is a step whose end is not recorded.
    """
    return [
        StepText("…", step["step_id"], "under way", ())
        if goes_on and step["error"] is not None and step["error"]["code"] == NOT_ENDED
        else StepText(
            _SIGNS[step["status"]],
            step["step_id"],
            ", ".join(_said(step)),
            tuple((name, text.strip("\n") if whole else cut(text)) for name, text in _blocks(step)),
        )
        for step in results
    ]


def step_lines(results: Iterable[View], *, whole: bool = False) -> Iterator[str]:
    """The steps as lines of Markdown, each an item of a list with its blocks below. With `whole` no output is cut."""
    for step in step_texts(results, whole=whole):
        yield f"  - {step.sign} {escape(step.step_id)}: {escape(step.said)}"
        for name, text in step.blocks:
            block = "\n".join(filter(None, [name and f"{name}:", text]))
            yield f"\n{code_block(block)}\n"


def pretty(value: object) -> str:
    """A JSON value as text: a text as it is, a short object or list on one line, a long one with an indent."""
    if isinstance(value, str):
        return value
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= _LONGEST_LINE else json.dumps(value, ensure_ascii=False, indent=2)


def cut(text: str) -> str:
    """The beginning of a long text, with its whole size said at the end."""
    text = text.strip("\n")
    lines = text.split("\n")
    shown = "\n".join(lines[:MOST_LINES])[:MOST_CHARACTERS]
    if shown == text:
        return text
    size = f"{counted(len(lines), 'line')} and {len(text)} characters"
    return f"{shown}\n… cut here: {size} in all …"


def _said(step: View) -> Iterator[str]:
    was_run = step["exit_code"] is not None
    if step.get("simulated") and step["status"] == "ok":
        yield "rehearsed" if was_run else "only described"
    else:
        yield _WORDS[step["status"]]
    if was_run:
        yield f"exit code {step['exit_code']}"
    if step["status"] != "ok":
        yield effect_words(step["effect"])
    if note := step.get("note"):
        yield note


def _blocks(step: View) -> Iterator[tuple[str, str]]:
    if error := step["error"]:
        yield "", f"{error['code']}: {error['message']}"
    if step["output"] not in (None, ""):
        yield "", pretty(step["output"])
    if (said := step.get("stderr")) and said.strip():
        yield "standard error", said
