"""The review: what somebody is shown at the terminal before they decide.

An ordinary request takes at most 40 lines of 80 columns. Its goal and the verdict come last, because the question comes
after them. What is too long for that is cut, and the review says beside the question how much was left out; the answer
`?` shows all of it, as `--full` does. Every text is spelled out as in `render.text`, and a text that goes over a line's
end goes on further to the right, so that no text of a request can look like a line of the review.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from nexus_control.canonical_json import canonical_json
from nexus_control.cli.screen import Screen
from nexus_control.cli.times import Times
from nexus_control.lifecycle import counted, effect_words
from nexus_control.render.agreed import group_lines, standing_lines, waits_for
from nexus_control.render.decision import approval_words, imported_text
from nexus_control.render.guarded import call_lines, is_guarded_call, who_runs
from nexus_control.render.planned import planned_steps
from nexus_control.render.policy import changes, policy_words, template_name, who_can_still
from nexus_control.render.rehearsed import covered_words
from nexus_control.render.results import step_texts
from nexus_control.render.text import View, listed, spelled
from nexus_control.render.will_run import BY_WORKER, MODES, NOT_AT_HAND, call_words, place_words

_LONGEST: Final = 320
"""The most characters that are shown of one text."""
_MOST_PLAN, _MOST_OUTPUT, _MOST_APPROVALS = 18, 4, 4
"""The most lines of a plan, of one step's output, and of approvals."""
_MOST_STEPS, _SHORT = 5, 40
"""The most steps that are shown of a rehearsal, and characters of a name beside the question."""


@dataclass(slots=True)
class Review:
    """Lines, each with its indent; what was left out of them; and the last lines, which stand before the question."""

    times: Times
    lines: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    left_out: list[str] = field(default_factory=list[str])
    last: list[str] = field(default_factory=list[str])

    def show(self, screen: Screen) -> None:
        for indent, line in self.lines:
            screen.hanging(line, indent)
        screen.blank()
        for line in self.last:
            screen.hanging(line)
        if self.left_out:
            screen.hanging(
                f"NOT ALL IS SHOWN: {', '.join(self.left_out)} left out. Answer ? to see everything."
            )

    def add(self, text: str, indent: int = 0, *, of: str = "text") -> None:
        self.lines.append((indent, self.cut(text, of)))

    def cut(self, text: str, of: str) -> str:
        """The text as it is shown, at most so long; how much of it is not is counted."""
        shown = spelled(text)
        more = len(shown) - _LONGEST
        if more <= 0:
            return shown
        self.left_out.append(f"{counted(more, 'character')} of the {of}")
        return f"{shown[:_LONGEST]} … {counted(more, 'more character')}"

    def add_most(self, texts: Sequence[str], most: int, indent: int, *, of: str) -> None:
        """The first texts, each on a line; a line says how many more there are."""
        for text in texts[:most]:
            self.add(text, indent, of=of)
        if (more := len(texts) - most) > 0:
            self.left_out.append(f"{counted(more, 'line')} of the {of}")
            self.add(f"… {counted(more, 'more line')}", indent)


def review_of(data: View, times: Times, *, is_approving: bool) -> Review:
    """The review of what `inspect` answers, for somebody who approves or who decides otherwise."""
    review = Review(times)
    is_guarded = is_guarded_call(data["decision"], data["will_run"])
    _add_request(review, data["decision"])
    if is_guarded:
        _add_call(review, data["decision"])
    else:
        _add_plan(review, data["decision"]["plan"], data["will_run"])
        if data["decision"].get("dispatch") == "worker":
            review.add(BY_WORKER, 2)
    _add_rehearsal(review, data, may_be_rehearsed=not is_guarded)
    _add_policy(review, data, for_a_router=not is_guarded)
    _add_approvals(review, data)
    review.add(f"Basis: {data['basis']}")
    reasons = data["lifecycle"]["blocking_reasons"]
    first, *others = standing_lines(reasons)
    if is_approving and waits_for(reasons):
        first = _with_yours(reasons, "the call may run" if is_guarded else "it can be executed")
    review.last += [spelled(first), *(spelled(f"  {each}") for each in others)]
    review.last.append(review.cut(f"Goal: {data['decision']['goal']}", "goal"))
    return review


def _with_yours(reasons: Sequence[View], follows: str) -> str:
    """For how many approvals the request waits, and what that of who is asked would do."""
    waits, details = waits_for(reasons), reasons[0]["details"]
    if details.get("groups"):
        return f"{waits}."
    if details["missing"] > 1:
        return f"{waits}; yours would be one of them."
    return f"{waits}; yours would be the last{'.' if reasons[1:] else f': then {follows}.'}"


def _add_request(review: Review, decision: View) -> None:
    asked = f"asked for by {_who(decision['requester'])}, {review.times.moment(decision['created_at'])}"
    review.add(f"Request {decision['decision_id']}")
    ends = (
        f"ends {review.times.moment(decision['expires_at'])}" if decision["expires_at"] else "does not expire"
    )
    review.add(f"Mode {decision['requested_mode']}, {asked}; {ends}", 2)
    if decision["labels"]:
        review.add(f"Labels: {listed(decision['labels'])}", 2, of="labels")
    if metadata := decision.get("metadata"):
        review.add(
            f"Metadata: {listed(f'{name}={value}' for name, value in metadata.items())}", 2, of="metadata"
        )
    if superseded := decision.get("supersedes"):
        review.add(f"Takes the place of {superseded}", 2)
    if imported := decision.get("imported"):
        review.add(f"IMPORTED, not asked for here: {imported_text(imported)}", 2, of="import")


def _add_call(review: Review, decision: View) -> None:
    """A guarded call, which its caller runs exactly as it is shown."""
    review.add(f"What runs. {who_runs(decision['adapter_id'])}")
    lines = call_lines(decision)
    for indent, line in lines[:_MOST_PLAN]:
        review.add(line, 2 + indent, of="call")
    if (more := len(lines) - _MOST_PLAN) > 0:
        review.left_out.append(f"{counted(more, 'line')} of the call")
        review.add(f"… {counted(more, 'more line')}", 2)


def _add_plan(review: Review, plan: str | None, will_run: View | None) -> None:
    steps = None if plan is None else planned_steps(plan)
    if plan is None:
        review.add("Plan: (none)")
    elif steps is None:
        lines = spelled(plan, keep="\n").split("\n")
        review.add(f"Plan, a text of {counted(len(lines), 'line')}:")
        review.add_most(lines, _MOST_PLAN, 2, of="plan")
    else:
        review.add(f"Plan of {counted(len(steps), 'step')}:")
        _add_steps(review, steps, will_run)
    if will_run is None:
        review.add(NOT_AT_HAND, 2)
        return
    if will_run["adapter_id"]:
        review.add(f"Adapter: {will_run['adapter_id']}", 2)
    if will_run["note"]:
        review.add(f"{will_run['note']}.", 2, of="note")


def _add_steps(review: Review, steps: Sequence[View], will_run: View | None) -> None:
    """The steps, as many as have room, each with what it runs."""
    described: Sequence[View] = will_run["steps"] if will_run else ()
    first, said = len(review.lines), ""
    for number, step in enumerate(steps, start=1):
        if len(review.lines) - first >= _MOST_PLAN:
            more = len(steps) - number + 1
            review.left_out.append(f"{counted(more, 'step')} of the plan")
            review.add(f"… {counted(more, 'more step')}", 2)
            return
        call = step["call"]
        intent = f": {step['intent']}" if step["intent"] else ""
        review.add(f"{number}. {step['step_id']}{intent}", 2, of="plan")
        review.add(f"{call['tool']}.{call['method']}({_arguments(call['args'])})", 5, of="plan")
        if number <= len(described):
            said = _add_calls(review, described[number - 1], said)


def _add_calls(review: Review, step: View, said: str) -> str:
    """What a described step runs, and where, unless that was `said` before. Returns what is said now."""
    for mode, word in MODES.items():
        if mode not in step:
            continue
        call = step[mode]
        review.add(f"{word}: {call_words(call) if call else 'nothing is run'}", 5, of="command")
        if call.get("file"):
            review.add(f"where FILE holds: {call['file']}", 7, of="file")
        if call.get("argv") and (where := place_words(call)) != said:
            said = where
            review.add(f"in {where}", 5)
    return said


def _arguments(args: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={canonical_json(value)}" for name, value in args.items())


def _add_rehearsal(review: Review, data: View, *, may_be_rehearsed: bool) -> None:
    rehearsals = [each for each in data["execution"] if each["rehearsal"]]
    if not rehearsals:
        if may_be_rehearsed and data["decision"]["requested_mode"] == "apply":
            review.add("It was not rehearsed.")
        return
    last = rehearsals[-1]
    at = last["completed_at"] or last["requested_at"]
    review.add(
        f"The last rehearsal {last['outcome'].replace('_', ' ')}, {review.times.moment(at)}, by {last['adapter_id']}:"
    )
    if (required := data["decision"].get("rehearsal")) is not None:
        review.add(covered_words(required), 2)
    if last["error_code"]:
        what = f" ({effect_words(last['effect'])})" if last["effect"] else ""
        review.add(f"{last['error_code']}: {last['error_message']}{what}", 2, of="rehearsal's error")
    if last["results"] is None:
        review.add("What its steps gave back is not known here.", 2)
    for step in step_texts((last["results"] or ())[:_MOST_STEPS], whole=True):
        review.add(f"{step.sign} {step.step_id}: {step.said}", 2, of="rehearsal")
        for name, text in step.blocks:
            lines = spelled(text.strip("\n"), keep="\n").split("\n")
            of = f"{name or 'output'} of {spelled(step.step_id)[:_SHORT]}"
            review.add_most(lines, _MOST_OUTPUT, 4, of=of)
    if (more := len(last["results"] or ()) - _MOST_STEPS) > 0:
        review.left_out.append(f"{counted(more, 'step')} of the rehearsal")
        review.add(f"… {counted(more, 'more step')}", 2)


def _add_policy(review: Review, data: View, *, for_a_router: bool) -> None:
    if data["policy"] is None:
        review.add("Policy: (none)")
        return
    review.add(f"Policy: {policy_words(data['policy'], for_a_router=for_a_router)}", of="policy")
    if template := data["template"]:
        changed = "; ".join(changes(template)) or "nothing changed"
        review.add(f"Template {template_name(template)}: {changed}", 2, of="template")
    if digest := data["decision"].get("rules_digest"):
        review.add(f"Rules {digest}", 2, of="template")


def _add_approvals(review: Review, data: View) -> None:
    approval = data["approval"]
    review.add(f"Approvals: {approval['current']} of {approval['required']}")
    said = [
        f"{'✓' if each['active'] else '✗'} {_who(each['actor'])}: {approval_words(_timed(each, review.times))}"
        for each in approval["approvals"]
    ]
    review.add_most(said, _MOST_APPROVALS, 2, of="approvals")
    if data["lifecycle"]["state"] == "pending_approval":
        review.add(f"Can still approve: {who_can_still(data)}", 2, of="approvers")
    for line in group_lines(data):
        review.add(line, 2, of="groups")


def _timed(approval: View, times: Times) -> View:
    """The approval with its instants in words."""
    named = ("granted_at", "expires_at", "revoked_at")
    return {**approval, **{name: times.moment(approval[name]) for name in named if approval[name]}}


def _who(actor: View | None) -> str:
    return "nobody" if actor is None else f"{actor['type']}:{actor['id']}"
