"""`python:<name>`: callables that were registered in code, one per method.

    PythonAdapter("billing", {"refund": refund}, harmless=[InsufficientFunds], timeout_seconds=30)

A step's arguments become the callable's keyword arguments. The returned value becomes the output's `result`: unchanged
inside the canonical domain, otherwise as text (see `spelling`). An `async def` function runs to its end in an event
loop of its own, and in a thread of its own if the caller's thread already runs a loop. A step fails if it returns work
that somebody else would have to run, such as a generator, an awaitable or a function.

An exception makes the step fail, with an unknown effect. An exception of a `harmless` type says that nothing was done.
A timeout or a lost connection (`router.leaves_outcome_unknown`) makes the outcome of the whole run unknown. A dry run
calls the method's dry-run callable; without such a callable it only describes the step.

A time limit cuts a call off, and its effect is unknown (TIMED_OUT): an `async def` function is cancelled; another one
is told to stop (`current().stop_ordered()`) and left, and goes on until it returns or the process ends.
Without a limit a call takes as long as it takes.

An argument in `secret_args` takes the name of a secret, `{secret:NAME}`, and the callable gets its value:

    PythonAdapter("billing", {"refund": refund}, secret_args=["token"], secrets={"BILLING": SecretSource(file="token")})
"""

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Final, cast

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import (
    MAX_MESSAGE_LENGTH,
    StepError,
    StepResult,
    StepStatus,
    adapter_id,
    undeclared_argument,
    undeclared_method,
)
from nexus_control.execution.description import CallDescription
from nexus_control.execution.plan import Call, recorded
from nexus_control.execution.python_calls import CutOffError, run_coroutine, run_function
from nexus_control.execution.revealing import masked_error, value_of
from nexus_control.execution.router import leaves_outcome_unknown
from nexus_control.execution.secrets import SecretSource, declared_secrets, is_secret_name, secret_named
from nexus_control.execution.spelling import portable

_SHORTEST: Final = 0.001
_LONGEST: Final = 86_400
_PLAIN: Final = frozenset((str, int, float, bool, type(None), bytes, dict, list, tuple))
_LEFT_TO_OTHERS: Final = (
    Generator,
    AsyncGenerator,
    map,
    filter,
    FunctionType,
    MethodType,
    functools.partial,
    threading.Thread,
    Future,
)


@dataclass(frozen=True, slots=True)
class _Method:
    call: Callable[..., object]
    signature: inspect.Signature
    is_coroutine: bool

    @property
    def name(self) -> str:
        return f"{self.call.__module__}.{getattr(self.call, '__qualname__', type(self.call).__qualname__)}"

    def declaration(self) -> dict[str, object]:
        return {"callable": self.name, "parameters": list(self.signature.parameters)}


class PythonAdapter:
    """Python functions as an adapter: methods by name.

        >>> adapter = PythonAdapter("keys", {"rotate": rotate}, harmless=[LookupError])
        >>> LocalRouter([adapter]).get_adapter_capabilities("python:keys") == {"apply", "dry_run"}
        True

    A dry run calls the function in `dry_run_methods`; if a method has none there, the dry run only describes it. An
    exception of a `harmless` type says that nothing was done. `timeout_seconds` is the time limit of every method, or
    one for each method that is named. In every method the parameters in `secret_args` take nothing but a secret of
    `secrets`. Raises CONFIG_INVALID for a method without a signature, for a limit that is not 0.001 to 86400 seconds or
    is of no method, and for a name in `secret_args` that no method has.
    """

    kind = "python"

    def __init__(
        self,
        name: str,
        methods: Mapping[str, Callable[..., object]],
        *,
        capabilities: Iterable[str] = ("apply", "dry_run"),
        dry_run_methods: Mapping[str, Callable[..., object]] | None = None,
        harmless: Iterable[type[Exception]] = (),
        timeout_seconds: float | Mapping[str, float] | None = None,
        secret_args: Iterable[str] = (),
        secrets: Mapping[str, SecretSource] | None = None,
    ) -> None:
        self.name = name
        self.capabilities = frozenset(capabilities)
        self._methods = {key: _registered(key, call) for key, call in methods.items()}
        self._dry_run_methods = {key: _registered(key, call) for key, call in (dry_run_methods or {}).items()}
        self._harmless = tuple(map(_exception_type, harmless))
        self._limits = dict(_limits(timeout_seconds, self._methods))
        self._secret_args = frozenset(secret_args)
        self.secrets = _named(secrets or {})
        self._require_parameters(self._secret_args)

    def declaration(self) -> dict[str, object]:
        """Everything that decides what a call does, as JSON; `adapter_digest` is computed over it.

        >>> adapter.declaration()["methods"]["rotate"]["parameters"]
        ['service']
        """
        harmless = sorted(f"{each.__module__}.{each.__qualname__}" for each in self._harmless)
        milliseconds = {name: round(limit * 1000) for name, limit in sorted(self._limits.items())}
        return {
            **({"harmless": harmless} if harmless else {}),
            **({"secret_args": sorted(self._secret_args)} if self._secret_args else {}),
            **declared_secrets(self.secrets),
            "kind": self.kind,
            "name": self.name,
            "capabilities": sorted(self.capabilities),
            "methods": {name: method.declaration() for name, method in self._methods.items()},
            "dry_run_methods": {name: method.declaration() for name, method in self._dry_run_methods.items()},
            **({"timeout_milliseconds": milliseconds} if milliseconds else {}),
        }

    def problem_with(self, call: Call) -> str | None:
        """Why a call cannot be made, or None.

            >>> adapter.problem_with(call) is None
            True

        It compares the method's name and the arguments' names with the declaration, and calls no function.
        """
        if call.method not in self._methods:
            return undeclared_method(call, self._methods, adapter_id(self))
        for method in (self._methods[call.method], self._dry_run_methods.get(call.method)):
            if method is not None and (problem := _arguments_problem(method, call)):
                return problem
        return None

    def describe(self, call: Call, *, dry_run: bool) -> CallDescription:
        """What a call would run, for a reviewer.

            >>> adapter.describe(call, dry_run=False).args
            {'service': 'billing'}

        The description is empty for a dry run of a method that has no dry-run function.
        """
        method = self._method(call, dry_run)
        return CallDescription() if method is None else CallDescription(function=method.name, args=call.args)

    def secret_arguments(self, call: Call) -> Collection[str]:
        """The arguments that take nothing but a secret.

        >>> adapter.secret_arguments(call)
        frozenset()
        """
        return self._secret_args

    def secrets_of(self, call: Call, *, dry_run: bool) -> frozenset[str]:
        """The names of the secrets that the call needs.

        >>> adapter.secrets_of(call, dry_run=False)
        frozenset()
        """
        return (
            frozenset() if self._method(call, dry_run) is None else frozenset(self._named_by(call).values())
        )

    def _named_by(self, call: Call) -> dict[str, str]:
        named = {argument: secret_named(call.args.get(argument)) for argument in self._secret_args}
        return {argument: name for argument, name in named.items() if name is not None}

    def _require_parameters(self, names: Iterable[str]) -> None:
        signatures = [each.signature for each in self._methods.values()]
        known = {name for each in signatures for name in each.parameters}
        takes_any = any(p.kind is p.VAR_KEYWORD for each in signatures for p in each.parameters.values())
        if not takes_any and (lost := sorted(set(names) - known)):
            raise NexusControlError(
                ErrorCode.CONFIG_INVALID, f"secret_args has {lost[0]!r:.80}, which no method has"
            )

    def _method(self, call: Call, dry_run: bool) -> _Method | None:
        """The method that a call runs; None where a dry run only describes it."""
        return (self._dry_run_methods if dry_run else self._methods).get(call.method)

    def execute(self, call: Call, *, dry_run: bool) -> StepResult:
        """Make one call, for which `problem_with` answered None.

            >>> dict(adapter.execute(call, dry_run=False).output)
            {'result': 'rotated billing'}

        `status` is "ok", "error" or "unknown". An exception of the function becomes such a result and is not raised.
        """
        method = self._method(call, dry_run)
        if method is None:
            described = {"method": call.method, "args": recorded(call.args)}
            return StepResult(status="ok", output={"would_call": described})
        pid, limit = os.getpid(), self._limits.get(call.method)
        args = {**call.args, **{argument: value_of(name) for argument, name in self._named_by(call).items()}}
        try:
            if method.is_coroutine:
                result = run_coroutine(method.call(**args), limit)
            else:
                result = run_function(functools.partial(method.call, **args), limit)
        except CutOffError as cut:
            return StepResult(status="unknown", output={}, error_code=cut.code, error_message=str(cut))
        except self._harmless as error:
            return _not_ok("error", StepError.STEP_FAILED, error, untouched=True)
        except SystemExit as error:
            if os.getpid() != pid:
                raise  # a child process that the function forked ends; its exception is not a result of the run
            return _ended_by(error)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it becomes the step's failure
            return _ended_by(error)
        if is_left_to_others(result):
            return _never_run(method, result)
        return StepResult(status="ok", output={"result": portable(result)})


def _ended_by(error: BaseException) -> StepResult:
    kinds = type(error).__mro__  # `isinstance` would run a foreign exception's `__class__`
    if TimeoutError in kinds:
        return _not_ok("unknown", StepError.TIMED_OUT, error)
    if asyncio.CancelledError in kinds or leaves_outcome_unknown(error):
        return _not_ok("unknown", StepError.EFFECT_UNKNOWN, error)
    return _not_ok("error", StepError.STEP_FAILED, error)


def _never_run(method: _Method, result: object) -> StepResult:
    """The failure of a step that returned unfinished work. A generator function has then run none of its code."""
    kind = type(result).__name__
    if inspect.iscoroutine(result):
        result.close()  # otherwise Python warns that it was never awaited
    return StepResult(
        status="error",
        output={},
        error_code=StepError.STEP_FAILED,
        error_message=f"it returned a {kind}, which was not run: register a function that does the"
        " work itself, or an async def",
        # Certain only for the registered function itself: a wrapper around it may have done something.
        untouched=inspect.isgeneratorfunction(method.call) or inspect.isasyncgenfunction(method.call),
    )


def is_left_to_others(result: object) -> bool:
    """Whether a result is unfinished work that somebody else would have to run: an awaitable, a generator or an object
    made from one (`@contextmanager`), a function, a thread or a future.
    """
    if type(result) in _PLAIN:
        return False
    if inspect.isawaitable(result) or isinstance(result, _LEFT_TO_OTHERS):
        return True
    is_managed = isinstance(result, AbstractContextManager | AbstractAsyncContextManager)
    return is_managed and isinstance(getattr(cast("object", result), "gen", None), Generator | AsyncGenerator)


def _registered(name: str, call: Callable[..., object]) -> _Method:
    try:
        return _Method(call, inspect.signature(call), _is_coroutine(call))
    except (TypeError, ValueError):
        raise NexusControlError(
            ErrorCode.CONFIG_INVALID, f"python method {name!r} is not a callable with a signature"
        ) from None


def _is_coroutine(call: Callable[..., object]) -> bool:
    while isinstance(call, functools.partial):
        call = call.func
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)


def _exception_type(given: object) -> type[Exception]:
    if not (isinstance(given, type) and issubclass(given, Exception)):
        raise NexusControlError(
            ErrorCode.CONFIG_INVALID, f"harmless has {given!r:.80}, which is not an exception type"
        )
    return given


def _limits(given: float | Mapping[str, float] | None, methods: Iterable[str]) -> Iterator[tuple[str, float]]:
    """The limit of each method that has one."""
    if given is None:
        return
    each = given if isinstance(given, Mapping) else dict.fromkeys(methods, given)
    for name, limit in each.items():
        if name not in methods:
            problem = f"names {name!r:.80}, and no method has that name"
        elif type(limit) not in (int, float) or not _SHORTEST <= limit <= _LONGEST:
            problem = f"of {name!r:.80} must be a number of seconds from {_SHORTEST} to {_LONGEST}"
        else:
            yield name, limit
            continue
        raise NexusControlError(ErrorCode.CONFIG_INVALID, f"timeout_seconds {problem}")


def _named(secrets: Mapping[str, SecretSource]) -> dict[str, SecretSource]:
    for name in secrets:
        if not is_secret_name(name):
            raise NexusControlError(
                ErrorCode.CONFIG_INVALID,
                f"secrets has {name!r:.80}; a name has letters, digits, '_', '-' and '.'",
            )
    return dict(secrets)


def _arguments_problem(method: _Method, call: Call) -> str | None:
    parameters = method.signature.parameters.values()
    if all(each.kind is not each.VAR_KEYWORD for each in parameters):
        named = {
            each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        }
        if problem := undeclared_argument(call.args, named):
            return problem
    try:
        method.signature.bind(**call.args)
    except TypeError as error:
        return f"args do not fit {call.method!r}: {error}"
    return None


def _not_ok(
    status: StepStatus, code: StepError, error: BaseException, *, untouched: bool = False
) -> StepResult:
    message = masked_error(error, MAX_MESSAGE_LENGTH)
    return StepResult(status=status, output={}, error_code=code, error_message=message, untouched=untouched)
