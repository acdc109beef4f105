"""The steps of a run on the page: from the run's own record in a document, or from the store's answers."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from nexus_control.evidence.run_steps import steps_of_events
from nexus_control.render.html import Html, joined, tag
from nexus_control.render.results import StepText, step_texts
from nexus_control.render.text import View

_KINDS: Final = {"✓": "pass", "✗": "fail", "?": "info"}


@dataclass(frozen=True, slots=True)
class RunStep:
    """One step: what it gave back, with the keys of a `StepLine`, and when it began and ended."""

    line: View
    started_at: str | None = None
    ended_at: str | None = None


def steps_of(record: Mapping[str, object] | None) -> tuple[RunStep, ...]:
    """The steps that a run's bundle of nexus-router's shape tells of, in order."""
    steps = steps_of_events(record.get("events") if record is not None else None)
    return tuple(RunStep(step.to_dict(), step.started_at, step.ended_at) for step in steps)


def step_list(lines: Iterable[View], *, whole: bool = False) -> Html:
    """Each step with how it went, then what it gave back. With `whole` no output is cut."""
    return tag("ol", joined(tag("li", *_shown(step)) for step in step_texts(lines, whole=whole)), kind="plan")


def _shown(step: StepText) -> Iterator[Html]:
    yield tag("span", step.step_id, kind="name")
    yield Html(" ")
    yield tag("span", f"{step.sign} {step.said}", kind=_KINDS[step.sign])
    for name, text in step.blocks:
        yield tag("pre", f"{name}:\n{text}" if name else text)
