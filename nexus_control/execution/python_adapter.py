"""`python:<name>`: callables that were registered in code, one per method.

A step's arguments are the callable's keyword arguments. What it returns is the output's `result`, as it is inside the
canonical domain and spelled (see `spelling`) outside. An exception is a failed step; TimeoutError and
RouterOutcomeUnknown say that the effect is not known. A dry run calls the method's dry-run callable, or else only
describes the step. There is no time limit: Python cannot stop a call.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import MAX_MESSAGE_LENGTH, StepError, StepOutcome, StepStatus
from nexus_control.execution.description import CallDescription
from nexus_control.execution.plan import Call, recorded
from nexus_control.execution.router import RouterOutcomeUnknown
from nexus_control.execution.spelling import bounded, portable


@dataclass(frozen=True, slots=True)
class _Method:
    call: Callable[..., object]
    signature: inspect.Signature

    @property
    def name(self) -> str:
        return f"{self.call.__module__}.{getattr(self.call, '__qualname__', type(self.call).__qualname__)}"

    def declaration(self) -> dict[str, object]:
        return {"callable": self.name, "parameters": list(self.signature.parameters)}


class PythonAdapter:
    """Methods by name, and what a dry run calls in their place. Raises CONFIG_INVALID for what has no signature."""

    kind = "python"

    def __init__(
        self,
        name: str,
        methods: Mapping[str, Callable[..., object]],
        *,
        capabilities: Iterable[str] = ("apply", "dry_run"),
        dry_run_methods: Mapping[str, Callable[..., object]] | None = None,
    ) -> None:
        self.name = name
        self.capabilities = frozenset(capabilities)
        self._methods = {key: _registered(key, call) for key, call in methods.items()}
        self._dry_run_methods = {key: _registered(key, call) for key, call in (dry_run_methods or {}).items()}

    def declaration(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "name": self.name,
            "capabilities": sorted(self.capabilities),
            "methods": {name: method.declaration() for name, method in self._methods.items()},
            "dry_run_methods": {name: method.declaration() for name, method in self._dry_run_methods.items()},
        }

    def problem_with(self, call: Call) -> str | None:
        if call.method not in self._methods:
            return f"method {call.method!r} is not declared by {self.kind}:{self.name}"
        for method in (self._methods[call.method], self._dry_run_methods.get(call.method)):
            if method is not None and (problem := _arguments_problem(method, call)):
                return problem
        return None

    def describe(self, call: Call, *, dry_run: bool) -> CallDescription:
        method = self._method(call, dry_run)
        return CallDescription() if method is None else CallDescription(function=method.name, args=call.args)

    def _method(self, call: Call, dry_run: bool) -> _Method | None:
        """What a call runs; None where a dry run only describes it."""
        return (self._dry_run_methods if dry_run else self._methods).get(call.method)

    def execute(self, call: Call, *, dry_run: bool) -> StepOutcome:
        method = self._method(call, dry_run)
        if method is None:
            described = {"method": call.method, "args": recorded(call.args)}
            return StepOutcome(status="ok", output={"would_call": described})
        try:
            result = method.call(**call.args)
        except TimeoutError as error:
            return _not_ok("unknown", StepError.TIMED_OUT, error)
        except RouterOutcomeUnknown as error:
            return _not_ok("unknown", StepError.EFFECT_UNKNOWN, error)
        except Exception as error:  # noqa: BLE001 - whatever a registered callable raises is its step's failure
            return _not_ok("error", StepError.STEP_FAILED, error)
        return StepOutcome(status="ok", output={"result": portable(result)})


def _registered(name: str, call: Callable[..., object]) -> _Method:
    try:
        return _Method(call, inspect.signature(call))
    except (TypeError, ValueError):
        raise NexusControlError(
            ErrorCode.CONFIG_INVALID, f"python method {name!r} is not a callable with a signature"
        ) from None


def _arguments_problem(method: _Method, call: Call) -> str | None:
    try:
        method.signature.bind(**call.args)
    except TypeError as error:
        return f"args do not fit {call.method!r}: {error}"
    return None


def _not_ok(status: StepStatus, code: StepError, error: Exception) -> StepOutcome:
    message = bounded(f"{type(error).__name__}: {error}", MAX_MESSAGE_LENGTH)
    return StepOutcome(status=status, output={}, error_code=code, error_message=message)
