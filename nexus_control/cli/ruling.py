"""The commands about the rule book: rules check, explain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Final, TypedDict

import typer

from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.cli.broken_files import broken
from nexus_control.cli.commands import group
from nexus_control.cli.exit_codes import REFUSED
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.options import Labels
from nexus_control.cli.plan_files import read_plan
from nexus_control.cli.screen import Kind, Mark, Screen, columns
from nexus_control.cli.settings import ignored_words, note_unsafe
from nexus_control.cli.wording import options_of
from nexus_control.configuration import RULES, Source, look
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.execution.plan import Call as PlanCall
from nexus_control.execution.plan import Step, parse_plan
from nexus_control.lifecycle import counted
from nexus_control.rules.book import Call, Judgement, Rule, RuleBook, Verdict, name_of
from nexus_control.rules.plans import PlanJudgement, joined, judge_steps
from nexus_control.rules.reading import book_of
from nexus_control.values.payloads import Mode
from nexus_control.values.results import fault_of

rules = group(
    help="The rule book: which calls need which template, which pass, which are denied."
    "\n\nExample: nexus-control rules check --config nexus-control.toml"
)

RulesFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="The file with the rules. Default: the system's file, else your own."
    ),
]


class RuleLine(TypedDict):
    rule: str
    tool: str | None
    method: str | None
    mode: Mode | None
    labels: list[str]
    requester: str | None
    arguments: dict[str, dict[str, object]]
    verdict: Verdict
    template: str | None


class LookLine(TypedDict):
    rule: str
    mismatch: str | None


class CallLine(TypedDict):
    step_id: str | None
    tool: str
    method: str | None
    verdict: Verdict | None
    template: str | None
    decided_by: str | None
    rules: list[LookLine]
    code: str | None
    message: str | None


@rules.command()
@shared_options()
def check(frame: Frame, file: RulesFile = None) -> Answer:
    """The rules of the file that has a rule book, and the book's digest; or every problem of the file.

    Example: nexus-control rules check --config nexus-control.toml
    """
    found = fault_of(partial(_book, file))
    if isinstance(found, NexusControlError):
        if "problems" not in found.details:
            raise found
        return broken(Path(str(found.details["file"])), found)
    source, book = found
    lines = [_rule_line(number, rule) for number, rule in enumerate(book.rules)]
    data = {
        "file": str(source.path),
        "ok": True,
        "default": book.default,
        "rules": lines,
        "digest": book.digest,
    }

    def show(screen: Screen) -> None:
        screen.prose(f"{counted(len(lines), 'rule')} of this file. The last one that matches holds:")
        screen.verbatim(str(source.path))
        rows = [(each["rule"], _matchers(each), _holds(each["verdict"], each["template"])) for each in lines]
        screen.grid(columns("rule|matches|what holds", [*rows, ("default", "no rule", _holds(book.default))]))
        screen.blank()
        screen.prose("The digest of these rules:")
        screen.verbatim(book.digest)
        if book.templates:
            screen.prose(
                "No store was asked whether it has these templates: `nexus-control template list` shows them."
            )

    return Answer(data, show)


@rules.command()
@shared_options("acting_as")
def explain(
    frame: Frame,
    plan_file: Annotated[
        Path | None,
        typer.Argument(
            metavar="PLAN_FILE", help="A plan, as request --plan-file takes it; - is standard input."
        ),
    ] = None,
    tool: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Not a plan, but one call of this tool: its whole name."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(metavar="NAME", help="The method of the call. Before a hook it has none.")
    ] = None,
    arguments: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="The arguments of the call, a JSON object. Default: {}."),
    ] = None,
    mode: Annotated[
        Mode | None, typer.Option(help="The request's mode. Default: dry_run for a plan, apply for a call.")
    ] = None,
    label: Labels = None,
    file: RulesFile = None,
) -> Answer:
    """What the rules say of each step of a plan, or of one call before a hook, and which rule decides. It ends with 1
    if a rule cannot be evaluated, or if steps need different templates.

    Example: nexus-control rules explain --tool Bash --arguments '{"command": "git status"}'
    """
    asked = _asked(plan_file, tool, method, arguments)
    source, book = _book(file)
    called = _Circumstances(
        mode=mode or ("apply" if isinstance(asked, _OneCall) else "dry_run"),
        requester=str(frame.actor),
        labels=label or [],
    )
    if isinstance(asked, _OneCall):
        outcome = fault_of(partial(book.judge, asked.call(called)))
        return _explained(source, book, called, [_call_line(None, asked, outcome)], outcome)
    judged = judge_steps(book, asked, **called)
    lines = [_call_line(each.step_id, each.call, judged[each.step_id]) for each in asked]
    return _explained(source, book, called, lines, fault_of(partial(joined, judged)))


class _Circumstances(TypedDict):
    """What rules read of a request, besides its calls."""

    mode: Mode
    requester: str
    labels: list[str]


@dataclass(frozen=True, slots=True)
class _OneCall:
    tool: str
    method: str | None
    arguments: Mapping[str, object]

    def call(self, called: _Circumstances) -> Call:
        return Call(
            tool=self.tool,
            method=self.method,
            arguments=self.arguments,
            mode=called["mode"],
            requester=called["requester"],
            labels=tuple(called["labels"]),
        )


def _asked(
    plan_file: Path | None, tool: str | None, method: str | None, arguments: str | None
) -> tuple[Step, ...] | _OneCall:
    if plan_file is not None and tool is not None:
        raise invalid_argument("--tool", "and PLAN_FILE exclude each other")
    if plan_file is not None:
        for option, value in (("--method", method), ("--arguments", arguments)):
            if value is not None:
                raise invalid_argument(option, "belongs to --tool, and a plan has its own")
        with options_of({"--plan-file": "PLAN_FILE"}):
            return parse_plan(read_plan(plan_file))
    if tool is None:
        raise invalid_argument("PLAN_FILE", "is missing: name a plan, or one call with --tool")
    return _OneCall(tool, method, parse_json_object(arguments or "{}"))


def _explained(
    source: Source,
    book: RuleBook,
    called: _Circumstances,
    lines: Sequence[CallLine],
    outcome: Judgement | PlanJudgement | NexusControlError,
) -> Answer:
    """The answer for these calls, and for all of them together: a fault is told as a refusal is."""
    fault = outcome if isinstance(outcome, NexusControlError) else None
    whole = None if isinstance(outcome, NexusControlError) else outcome
    data: dict[str, object] = {
        **({} if fault is None else _refusal(fault)),
        "file": str(source.path),
        "digest": book.digest,
        **called,
        "verdict": whole and whole.verdict,
        "template": whole and whole.template,
        "calls": lines,
    }

    def show(screen: Screen) -> None:
        screen.prose("The rules are those of this file:")
        screen.verbatim(str(source.path))
        labels = f", with the labels {', '.join(called['labels'])}" if called["labels"] else ""
        screen.prose(f"For {called['requester']}, in the mode {called['mode']}{labels}.")
        for each in lines:
            _show_call(screen, each)
        if fault is not None:
            screen.blank()
            if all(each["message"] != fault.message for each in lines):
                screen.prose(fault.message, Mark(f"{fault.code}:", "bad"))
            screen.prose(fault.next)
        elif isinstance(whole, PlanJudgement):
            screen.heading("The plan")
            screen.prose(_OF_PLANS[whole.verdict], _holds(whole.verdict, whole.template))

    return Answer(data, show, code=0 if fault is None else REFUSED)


def _show_call(screen: Screen, line: CallLine) -> None:
    name = " ".join(filter(None, (line["tool"], line["method"])))
    screen.heading(name if line["step_id"] is None else f"Step {line['step_id']}: {name}")
    if line["verdict"] is None:
        screen.prose(f"{line['message']}.", Mark(f"{line['code']}:", "bad"))
        return
    screen.prose(f"by {line['decided_by']}.", _holds(line["verdict"], line["template"]))
    rows = [
        (each["rule"], "yes" if each["mismatch"] is None else f"no, because of {each['mismatch']}")
        for each in line["rules"]
    ]
    if rows:
        screen.grid(columns("rule|matches", rows))


def _call_line(
    step_id: str | None, named: PlanCall | _OneCall, outcome: Judgement | NexusControlError
) -> CallLine:
    fault = outcome if isinstance(outcome, NexusControlError) else None
    judged = None if isinstance(outcome, NexusControlError) else outcome
    return {
        "step_id": step_id,
        "tool": named.tool,
        "method": named.method,
        "verdict": judged and judged.verdict,
        "template": judged and judged.template,
        "decided_by": judged and judged.decided_by,
        "rules": [
            {"rule": name_of(each.rule), "mismatch": each.mismatch}
            for each in (judged.looks if judged else ())
        ],
        "code": fault and str(fault.code),
        "message": fault and fault.message,
    }


def _refusal(fault: NexusControlError) -> dict[str, object]:
    return {"code": str(fault.code), "message": fault.message, "details": fault.details, "next": fault.next}


def _rule_line(number: int, rule: Rule) -> RuleLine:
    arguments: dict[str, dict[str, object]] = {}
    for each in rule.conditions:
        arguments.setdefault(each.pointer, {})[each.operator] = each.operand
    return {
        "rule": name_of(number),
        "tool": rule.tool,
        "method": rule.method,
        "mode": rule.mode,
        "labels": list(rule.labels),
        "requester": rule.requester,
        "arguments": arguments,
        "verdict": rule.verdict,
        "template": rule.template,
    }


def _matchers(line: RuleLine) -> str:
    """The matchers of a rule in the words of its file, in the order in which they are read."""
    named = {
        "tool": line["tool"],
        "method": line["method"],
        "mode": line["mode"],
        "labels": ", ".join(line["labels"]),
        "requester": line["requester"],
    }
    words = [f"{name} {value}" for name, value in named.items() if value]
    for pointer, operators in line["arguments"].items():
        said = (f"{name} {canonical_json(operand)}" for name, operand in operators.items())
        words.append(f"{pointer} {' and '.join(said)}")
    return "; ".join(words)


_OF_PLANS: Final[dict[Verdict, str]] = {
    "allow": "because no step needs a template.",
    "deny": "because a step is denied.",
    "template": "for the request, because of its steps.",
}


def _holds(verdict: Verdict, template: str | None = None) -> Mark:
    kind: Kind = "good" if verdict == "allow" else "bad" if verdict == "deny" else "stopped"
    return Mark(verdict if template is None else f"template {template}", kind)


def _book(file: Path | None) -> tuple[Source, RuleBook]:
    """The file that has the rule book, and the book. Raises CONFIG_INVALID."""
    configuration = look(file)
    for each in configuration.sources:
        note_unsafe(each)
    found = configuration.section(RULES)
    if found is None:
        looked = ", ".join(str(each.path) for each in configuration.sources)
        ignored = [said for each in configuration.sources if (said := ignored_words(each))]
        raise NexusControlError(
            ErrorCode.CONFIG_INVALID,
            ". ".join([f"No file that may have a rule book has one; looked at {looked}", *ignored]),
            advice="Write `default` and `[[rules]]` into one of these files, or name the file with --config.",
        )
    return found, book_of(found)
