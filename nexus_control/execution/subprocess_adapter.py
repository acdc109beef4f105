"""`subprocess:<name>`: programs, under a supervisor, with a minimal environment and without a shell.

There are two protocols. In `argv`, each method has a declared argument vector, and may have another for dry runs;
without the second a dry run only describes the step. The output is `{"exit_code": 0, "stdout": text, "stderr": text}`.
The protocol `call` is the contract of nexus-router's subprocess adapter:

    COMMAND call TOOL METHOD --json-args-file FILE        FILE holds {"tool": ..., "method": ..., "args": {...}}

The command exits with 0 and prints a JSON value on standard output. A dry run only describes the step.

A step that exits with another code failed. A step that its time limit or a signal cut off has an unknown effect.

A program gets its secrets as `declared_arguments` says. What it prints is masked before it is hashed or recorded.

The first `max_output_bytes` of a program's output are kept; the program runs on. A shortened output has
`"truncated": true`. In `call` a shortened answer is unreadable, so its step failed. If the program left processes
running, they are ended with it, and the output has their number as `left_behind`. A `note` says both in words.
"""

import codecs
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from nexus_control.canonical_json import canonical_json, parse_json
from nexus_control.errors import NexusControlError
from nexus_control.execution.adapter import (
    MAX_MESSAGE_LENGTH,
    StepError,
    StepResult,
    StepStatus,
    adapter_id,
    undeclared_argument,
    undeclared_method,
)
from nexus_control.execution.argv_template import ArgvTemplate
from nexus_control.execution.declared_arguments import (
    SECRET,
    Passed,
    Passing,
    secrets_in,
    type_problem,
)
from nexus_control.execution.description import CallDescription
from nexus_control.execution.plan import Call
from nexus_control.execution.process_settings import ProcessSettings
from nexus_control.execution.revealing import masked, masked_json, value_of
from nexus_control.execution.secrets import SecretSource
from nexus_control.execution.spelling import portable
from nexus_control.execution.supervised import sharing_a_supervisor
from nexus_control.execution.supervision import LAST_WORDS, Ended, Ending

_ProgramT = TypeVar("_ProgramT")

_CONTINUATIONS = bytes(range(0x80, 0xC0))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgvTool:
    """The programs of a method and of its dry run, and its arguments; `args` has their types. Raises ValueError for a
    placeholder that only `dry_run_argv` has.
    """

    argv: ArgvTemplate
    dry_run_argv: ArgvTemplate | None = None
    args: Mapping[str, str] | None = None
    passing: Passing = field(default_factory=Passing)
    timeout_seconds: int | None = None

    def __post_init__(self) -> None:
        if self.dry_run_argv and (extra := self.dry_run_argv.names() - self.argv.names()):
            raise ValueError(f"has a placeholder that argv does not have: {min(extra)}")

    def declaration(self) -> dict[str, object]:
        dry_run_argv = list(self.dry_run_argv.words) if self.dry_run_argv else None
        more = {"args": self.args and dict(self.args), "timeout_seconds": self.timeout_seconds}
        return {
            "argv": list(self.argv.words),
            "dry_run_argv": dry_run_argv,
            **{name: value for name, value in more.items() if value is not None},
            **self.passing.declaration(),
        }

    def names(self) -> frozenset[str]:
        """The arguments."""
        return self.argv.names() | (self.args or {}).keys()

    def problem_with(self, args: Mapping[str, object]) -> str | None:
        names = self.names()
        if problem := undeclared_argument(args, names):
            return problem
        if missing := names - args.keys():
            return f"args.{min(missing)} is missing"
        if problem := type_problem(self.args or {}, args):
            return problem
        templates = (self.argv, self.dry_run_argv)
        return next((p for t in templates if t is not None and (p := t.problem_with(args))), None)

    def filled(self, args: Mapping[str, object], *, dry_run: bool) -> list[str] | None:
        """The filled argument vector; None where a dry run only describes the step."""
        template = self.dry_run_argv if dry_run else self.argv
        return None if template is None else template.fill(args)

    def secrets_in(self, args: Mapping[str, object]) -> dict[str, str]:
        """The secrets that the arguments name, by argument."""
        return secrets_in(self.args or {}, args)

    def passed(self, args: Mapping[str, object]) -> Passed:
        """What the program gets of the secrets of the run under way."""
        return self.passing.filled({name: value_of(secret) for name, secret in self.secrets_in(args).items()})


class _SubprocessAdapter(Generic[_ProgramT]):
    """The parts that both protocols share. `program` is the declaration of what it runs."""

    kind = "subprocess"

    def __init__(
        self, name: str, program: _ProgramT, *, capabilities: Iterable[str], settings: ProcessSettings
    ) -> None:
        self.name = name
        self._program = program
        self.capabilities = frozenset(capabilities)
        self._settings = settings

    @property
    def secrets(self) -> Mapping[str, SecretSource]:
        return self._settings.secrets

    def opened(self, calls: Sequence[Call]) -> AbstractContextManager[None]:
        """The steps' supervisor."""
        return sharing_a_supervisor()

    def _declaration(self, protocol: str, **own: object) -> dict[str, object]:
        return {
            "kind": self.kind,
            "name": self.name,
            "protocol": protocol,
            "capabilities": sorted(self.capabilities),
            **own,
            **self._settings.declaration(),
        }


class ArgvAdapter(_SubprocessAdapter[Mapping[str, ArgvTool]]):
    """The `argv` protocol: methods by name."""

    def declaration(self) -> dict[str, object]:
        tools = {method: tool.declaration() for method, tool in self._program.items()}
        return self._declaration("argv", tools=tools)

    def problem_with(self, call: Call) -> str | None:
        tool = self._program.get(call.method)
        if tool is None:
            return undeclared_method(call, self._program, adapter_id(self))
        return tool.problem_with(call.args)

    def describe(self, call: Call, *, dry_run: bool) -> CallDescription:
        tool = self._program[call.method]
        argv = tool.filled(call.args, dry_run=dry_run)
        if argv is None:
            return CallDescription()
        return self._settings.describe(
            argv, passing=tool.passing, args=call.args, seconds=tool.timeout_seconds
        )

    def secret_arguments(self, call: Call) -> Collection[str]:
        tool = self._program.get(call.method)
        return [] if tool is None else [name for name, kind in (tool.args or {}).items() if kind == SECRET]

    def secrets_of(self, call: Call, *, dry_run: bool) -> frozenset[str]:
        tool = self._program[call.method]
        if dry_run and tool.dry_run_argv is None:
            return frozenset()
        return self._settings.secrets_in_env() | frozenset(tool.secrets_in(call.args).values())

    def obstacle_to(self, call: Call, *, dry_run: bool) -> str | None:
        argv = self._program[call.method].filled(call.args, dry_run=dry_run)
        return None if argv is None else self._settings.obstacle_to(argv[0])

    def execute(self, call: Call, *, dry_run: bool) -> StepResult:
        tool = self._program[call.method]
        argv = tool.filled(call.args, dry_run=dry_run)
        if argv is None:
            return _described(tool.argv.fill(call.args))
        try:
            ended = self._settings.run(argv, tool.passed(call.args), tool.timeout_seconds)
        except OSError as error:
            return _not_ok(
                Ended(ending="not_started", detail=f"its secrets cannot be written: {error.strerror}")
            )
        ok = _is_ok(ended)
        result = StepResult(status="ok", output=_output(ended), is_masked=True) if ok else _not_ok(ended)
        return result.kept_as(self._settings.record_output)


class CallAdapter(_SubprocessAdapter[Sequence[str]]):
    """The `call` protocol. Only the command knows its methods, so any method is accepted that does not look like an
    option.
    """

    def declaration(self) -> dict[str, object]:
        return self._declaration("call", command=list(self._program))

    def problem_with(self, call: Call) -> str | None:
        return "method must not begin with '-'" if call.method.startswith("-") else None

    def describe(self, call: Call, *, dry_run: bool) -> CallDescription:
        if dry_run:
            return CallDescription()
        return self._settings.describe(self._argv(call, "FILE"), file=_json_args(call))

    def secret_arguments(self, call: Call) -> Collection[str]:
        return ()  # only the command knows its arguments

    def secrets_of(self, call: Call, *, dry_run: bool) -> frozenset[str]:
        return frozenset() if dry_run else self._settings.secrets_in_env()

    def obstacle_to(self, call: Call, *, dry_run: bool) -> str | None:
        return None if dry_run else self._settings.obstacle_to(self._program[0])

    def execute(self, call: Call, *, dry_run: bool) -> StepResult:
        if dry_run:
            return _described(self._argv(call, "FILE"))
        with ExitStack() as opened:
            try:
                folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="nexus-control-"))
                path = Path(folder, "args.json")
                path.write_text(_json_args(call), encoding="utf-8")
            except OSError as error:
                problem = f"its arguments cannot be written: {error}"
                return _not_ok(Ended(ending="not_started", detail=problem))
            result = _call_result(self._settings.run(self._argv(call, str(path))))
            return result.kept_as(self._settings.record_output)

    def _argv(self, call: Call, file: str) -> list[str]:
        return [*self._program, "call", call.tool, call.method, "--json-args-file", file]


def _json_args(call: Call) -> str:
    return canonical_json({"tool": call.tool, "method": call.method, "args": dict(call.args)})


def _described(argv: list[str]) -> StepResult:
    return StepResult(status="ok", output={"would_run": argv})


def _is_ok(ended: Ended) -> bool:
    return ended.ending == "exited" and ended.exit_code == 0


def _call_result(ended: Ended) -> StepResult:
    if not _is_ok(ended):
        return _not_ok(ended)
    if "stdout" in ended.cut:  # the kept part may be other valid JSON: 1234 may become 12
        return _unreadable(ended, "was cut at max_output_bytes, so it cannot be read")
    try:
        answer = parse_json(ended.stdout)
    except NexusControlError as error:
        return _unreadable(ended, f"is not JSON: {error.message}")
    output = {"result": masked_json(portable(answer)), **_marks(ended, cut=False)}
    return StepResult(status="ok", output=output, is_masked=True)


def _unreadable(ended: Ended, problem: str) -> StepResult:
    return StepResult(
        status="error",
        output=_output(ended),
        error_code=StepError.OUTPUT_INVALID,
        error_message=masked(f"It exited 0, but its standard output {problem}"),
        is_masked=True,
    )


_ENDINGS: dict[Ending, tuple[StepStatus, StepError, str]] = {
    "not_started": ("error", StepError.NOT_STARTED, "It could not be started: {detail}"),
    "timed_out": ("unknown", StepError.TIMED_OUT, "It was killed at its time limit"),
    "stopped": ("unknown", StepError.STOPPED, "It was killed because {detail}"),
    "cancelled": ("unknown", StepError.CANCELLED, "It was killed because {detail}"),
    "lost": (
        "unknown",
        StepError.SUPERVISOR_LOST,
        "Its supervisor was killed or stopped, so that nobody saw its end",
    ),
}


def _not_ok(ended: Ended) -> StepResult:
    exit_code = ended.exit_code or 0
    if ended.ending != "exited":
        status, code, message = _ENDINGS[ended.ending]
        message = message.format(detail=ended.detail)
    elif exit_code > 0:
        status, code, message = "error", StepError.NONZERO_EXIT, f"It exited with code {exit_code}"
    else:
        status, code, message = "unknown", StepError.KILLED, f"It was ended by signal {-exit_code}"
    begun = len(ended.last_words) >= LAST_WORDS
    said = _masked(ended.last_words, cut_begin=begun, cut_end=ended.ended_early("stderr")).strip()
    return StepResult(
        status=status,
        output=_output(ended),
        error_code=code,
        error_message=masked(f"{message}: {said[-MAX_MESSAGE_LENGTH:]}" if said else message),
        is_masked=True,
    )


def _output(ended: Ended) -> dict[str, object]:
    return {
        "exit_code": ended.exit_code,
        "stdout": _masked(ended.stdout, cut_end=_is_cut(ended, "stdout")),
        "stderr": _masked(ended.stderr, cut_end=_is_cut(ended, "stderr")),
        **_marks(ended, cut=bool(ended.cut)),
    }


def _is_cut(ended: Ended, stream: str) -> bool:
    return stream in ended.cut or ended.ended_early(stream)


def _marks(ended: Ended, *, cut: bool) -> dict[str, object]:
    """The fields of the record that tell of a shortened output and of processes that were left behind."""
    marks: dict[str, object] = {}
    notes: list[str] = []
    if cut:
        marks["truncated"] = True
        notes.append("the output was longer than max_output_bytes and was cut")
    if count := ended.left_behind:
        marks["left_behind"] = count
        notes.append(f"{count} process{'es' if count > 1 else ''} that it left running ended with it")
    return {**marks, "note": "; ".join(notes)} if notes else {}


def _masked(output: bytes, *, cut_begin: bool = False, cut_end: bool = False) -> str:
    """The text without secrets. A character that was cut is not a part of it."""
    if cut_begin:
        output = output.lstrip(_CONTINUATIONS)
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(output, final=not cut_end)
    return masked(text, cut_begin=cut_begin, cut_end=cut_end)
