"""The values of the secrets of a run, while it is under way, in the context of what executes it.

    with revealing({"BILLING": source}):      # reads each value, once
        value_of("BILLING")                   # for the adapter that passes it on
        masked_result(result)                 # what may be recorded, shown and hashed

A run within the block that needs the same secrets gets the same values. Nothing is kept after the block.
"""

import asyncio
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import StepResult
from nexus_control.execution.masking import Mask, mask_problem
from nexus_control.execution.plan import Step
from nexus_control.execution.router import RouterOutcomeUnknown, RunStopped, leaves_outcome_unknown
from nexus_control.execution.secrets import SecretSource, SecretTaker, UnreadableSecretError
from nexus_control.execution.spelling import bounded, described, portable


@dataclass(frozen=True, slots=True, repr=False)
class _Revealed:
    """It holds values: it is never shown."""

    sources: Mapping[str, SecretSource]
    values: Mapping[str, str]
    known: tuple[tuple[str, str], ...]
    """The values, and those of the runs around this one."""
    mask: Mask


_NONE = _Revealed({}, {}, (), Mask(()))
_REVEALED: ContextVar[_Revealed] = ContextVar("secrets", default=_NONE)


def sources_of(adapter: object, steps: Iterable[Step], *, dry_run: bool) -> dict[str, SecretSource]:
    """The secrets that these steps need, with their sources."""
    if not isinstance(adapter, SecretTaker):
        return {}
    names = {name for step in steps for name in adapter.secrets_of(step.call, dry_run=dry_run)}
    return {name: adapter.secrets[name] for name in sorted(names)}


@contextmanager
def revealing(sources: Mapping[str, SecretSource]) -> Generator[None]:
    """Read these secrets for the block. Raises ROUTER_NOT_READY for one that cannot be read."""
    outer = _REVEALED.get()
    if all(outer.sources.get(name) == source for name, source in sources.items()):
        yield
        return
    values = {name: _read(name, source, sources) for name, source in sources.items()}
    known = (*outer.known, *values.items())
    token = _REVEALED.set(_Revealed(sources, values, known, Mask(known)))
    try:
        yield
    finally:
        _REVEALED.reset(token)


def value_of(name: str) -> str:
    """The value of a secret of the run under way."""
    return _REVEALED.get().values[name]


def masked(text: str, *, cut_begin: bool = False, cut_end: bool = False) -> str:
    """A text without the values of the run under way."""
    return _REVEALED.get().mask.text(text, cut_begin=cut_begin, cut_end=cut_end)


def masked_json(value: object) -> object:
    """JSON without the values of the run under way."""
    return _REVEALED.get().mask.value(value)


def masked_result(result: StepResult) -> StepResult:
    """A result without the values of the run under way. One that is masked already stays as it is."""
    revealed = _REVEALED.get()
    if not revealed.known or result.is_masked:
        return result
    mask = revealed.mask
    message = result.error_message
    return replace(
        result,
        output={mask.text(key): mask.value(value) for key, value in result.output.items()},
        error_message=None if message is None else mask.text(message),
        is_masked=True,
    )


def masked_error(error: BaseException, limit: int) -> str:
    """An exception, without these values, in at most `limit` characters: masked before it is cut."""
    return bounded(masked(described(error, sys.maxsize)), limit)


def without_values(error: BaseException) -> BaseException:
    """The exception itself; or one that means the same, if a value stands in what it holds."""
    if isinstance(error, RouterOutcomeUnknown | NexusControlError):
        return _of_ours(error)
    text = described(error, sys.maxsize)
    shown = masked(text)
    if shown == text:
        return error
    for kind in (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError):
        if isinstance(error, kind):
            return kind(shown)
    if not isinstance(error, Exception):
        return BaseException(shown)
    return RouterOutcomeUnknown(shown) if leaves_outcome_unknown(error) else RuntimeError(shown)


def _of_ours(error: RouterOutcomeUnknown | NexusControlError) -> RouterOutcomeUnknown | NexusControlError:
    if not _REVEALED.get().known:
        return error
    if isinstance(error, RouterOutcomeUnknown):
        kind = RunStopped if isinstance(error, RunStopped) else RouterOutcomeUnknown
        return kind(masked(str(error.detail)), error.run_id and masked(error.run_id))
    details = {masked(key): masked_json(portable(value)) for key, value in error.details.items()}
    return NexusControlError(error.code, masked(error.message), details, masked(error.next))


def _read(name: str, source: SecretSource, names: Iterable[str]) -> str:
    try:
        value = source.read()
    except UnreadableSecretError as error:
        raise _unreadable(name, str(error)) from None
    if problem := mask_problem(value, names):
        raise _unreadable(name, problem)
    return value


def _unreadable(name: str, why: str) -> NexusControlError:
    return NexusControlError(
        ErrorCode.ROUTER_NOT_READY,
        f"the secret {name} cannot be read: {why}",
        {"secret": name},
        "Make the secret readable for the user who executes, then execute again.",
    )
