"""An adapter carries out the calls of a plan. Its id is `<kind>:<name>`; a call's `tool` is its name."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.run_steps import StepStatus
from nexus_control.execution.description import CallDescription
from nexus_control.execution.plan import Call
from nexus_control.execution.stopping import Order
from nexus_control.integrity import json_digest, prefixed, sha256_hex
from nexus_control.values.likely_names import bounded_list, meant, meant_adapter

RecordOutput: TypeAlias = Literal["whole", "digest"]
"""Whether the run's answer and log hold what a step gave back, or only its digest and size."""

MAX_MESSAGE_LENGTH = 2048


class StepError(StrEnum):
    """The reasons for which a step is not ok."""

    STEP_FAILED = "STEP_FAILED"
    EFFECT_UNKNOWN = "EFFECT_UNKNOWN"
    NONZERO_EXIT = "NONZERO_EXIT"
    NOT_STARTED = "NOT_STARTED"
    TIMED_OUT = "TIMED_OUT"
    OUTPUT_INVALID = "OUTPUT_INVALID"
    KILLED = "KILLED"
    SUPERVISOR_LOST = "SUPERVISOR_LOST"
    STOPPED = "STOPPED"
    CANCELLED = "CANCELLED"
    TOOL_ERROR = "TOOL_ERROR"
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    TRANSPORT_ERROR = "TRANSPORT_ERROR"
    TOOL_DEFINITION_CHANGED = "TOOL_DEFINITION_CHANGED"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """How a call ended. The status `unknown` says that the call was cut off, so it may have had its effect or not.

    `output` is inside the canonical domain. An error code and message are there exactly when the status is not ok.
    `untouched` is true when a failed call has certainly done nothing. `is_masked` is true when the adapter itself has
    masked the secrets of the run, as it must before it cuts or hashes an output.
    """

    status: StepStatus
    output: Mapping[str, object]
    error_code: StepError | None = None
    error_message: str | None = None
    untouched: bool = False
    is_masked: bool = field(default=False, compare=False)

    def kept_as(self, record_output: RecordOutput) -> "StepResult":
        """The result as it is recorded. With "digest" neither output nor message holds what the step gave back."""
        if record_output == "whole":
            return self
        text = canonical_json(dict(self.output))
        digest = {"sha256": sha256_hex(text), "bytes": len(text.encode())}
        exit_code = {name: self.output[name] for name in ("exit_code",) if name in self.output}
        message = None if self.error_code is None else f"{self.error_code}; its output is not recorded"
        return replace(self, output={**digest, **exit_code}, error_message=message)


def code_of(order: Order) -> StepError:
    """Why a step is not ok that was not begun, or was cut off, by this order."""
    return StepError.CANCELLED if order.kind == "cancel" else StepError.STOPPED


class Adapter(Protocol):
    """What the embedded router needs of an adapter.

    `declaration` holds everything that decides what a call does, inside the canonical domain. `problem_with` is pure.
    It says why a call cannot be made, beginning with the field ("method ...", "args.service ..."), or answers None.
    `describe` says what `execute` runs; both get only calls without a problem. A dry run has no effect.
    """

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> frozenset[str]: ...

    def declaration(self) -> dict[str, object]: ...

    def problem_with(self, call: Call) -> str | None: ...

    def describe(self, call: Call, *, dry_run: bool) -> CallDescription: ...

    def execute(self, call: Call, *, dry_run: bool) -> StepResult: ...


@runtime_checkable
class StartChecker(Protocol):
    """An adapter that can also tell why a call could not be started on this machine, such as a missing program."""

    def obstacle_to(self, call: Call, *, dry_run: bool) -> str | None: ...


@runtime_checkable
class SessionOpener(Protocol):
    """An adapter whose steps run in a session that is opened before the first of them, such as with a server."""

    def opened(self, calls: Sequence[Call]) -> AbstractContextManager[None]:
        """In the block, `execute` uses one session, which is ready for these calls. Where one is open in this context,
        it is used, and stays open. Raises ROUTER_NOT_READY or TOOL_DEFINITION_CHANGED.
        """
        ...


@runtime_checkable
class MethodLister(Protocol):
    """An adapter that names its methods and the arguments of each, where its declaration does not hold them."""

    def methods(self) -> dict[str, list[str]]: ...


@runtime_checkable
class OwnerHelper(Protocol):
    """An adapter that refuses some calls until the owner of the configuration has done something."""

    def command_for_owner(self, call: Call) -> str | None:
        """The command that a person runs so that this call is taken; None where no command helps."""
        ...


def adapter_id(adapter: Adapter) -> str:
    """`<kind>:<name>`."""
    return f"{adapter.kind}:{adapter.name}"


class Adapters:
    """Adapters by id, `<kind>:<name>`.

        >>> Adapters([adapter]).ids()
        ('python:keys',)

    Raises CONFIG_INVALID for two adapters with the same id.
    """

    def __init__(self, adapters: Iterable[Adapter] = ()) -> None:
        self._adapters: dict[str, Adapter] = {}
        for adapter in adapters:
            key = adapter_id(adapter)
            if key in self._adapters:
                raise NexusControlError(ErrorCode.CONFIG_INVALID, f"adapter {key} is declared twice")
            self._adapters[key] = adapter

    def __iter__(self) -> Iterator[Adapter]:
        return iter(self._adapters.values())

    def ids(self) -> tuple[str, ...]:
        """All ids, sorted.

        >>> Adapters([adapter]).ids()
        ('python:keys',)
        """
        return tuple(sorted(self._adapters))

    def get(self, adapter_id: str) -> Adapter | None:
        """The adapter of this id, or None.

        >>> Adapters([adapter]).get("python:keys").name
        'keys'
        """
        return self._adapters.get(adapter_id)

    def digest(self, adapter_id: str) -> str | None:
        """The prefixed digest of the adapter's canonical declaration; None when there is no such adapter.

            >>> Adapters([adapter]).digest("python:keys")
            'sha256:...'

        The digest changes with everything that decides what a call does, so a request can be bound to it.
        """
        adapter = self.get(adapter_id)
        return None if adapter is None else prefixed(json_digest(adapter.declaration()))


def undeclared_adapter(given: str, declared: Collection[str]) -> str:
    """The problem with an adapter id that is not declared, with those that are."""
    return f"there is no adapter {given!r:.80}{meant_adapter(given, declared)}; declared are: {bounded_list(declared)}"


def undeclared_method(call: Call, declared: Collection[str], adapter_id: str) -> str:
    """The problem with a method that the adapter does not declare, with those that it does."""
    return (
        f"method {call.method!r:.80} is not declared by {adapter_id}{meant(call.method, declared)};"
        f" declared are: {bounded_list(declared)}"
    )


def undeclared_argument(args: Mapping[str, object], declared: Set[str]) -> str | None:
    """The problem with an argument of another name, with the declared name that looks most like it; None without one.
    It is told before an argument that is missing, because a mistyped name is both.
    """
    undeclared = min(args.keys() - declared, default=None)
    if undeclared is None:
        return None
    return f"args has {undeclared!r:.80}, which is not declared{meant(undeclared, declared)}"
