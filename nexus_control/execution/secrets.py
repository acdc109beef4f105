"""Secrets: a plan names one, `{secret:NAME}`, and never holds its value.

    [secrets.BILLING]                     # exactly one of the three
    file = "billing.token"                # relative to the configuration; one line end at its end is left out
    variable = "BILLING_TOKEN"            # of this process
    command = ["pass", "show", "billing"] # without a shell, in the configuration's folder: its standard output

A value is read once an execution, before the claim, and is held until the outcome is recorded. It is text of 4
characters to 64 KiB: what is shorter could not be masked (`masking`). A command is killed after 30 seconds. It must
have no effect, because it has also run where the claim is then refused.

An argument that the adapter marks as a secret takes exactly `{secret:NAME}`. No other argument may hold `{secret:`.
"""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, cast, runtime_checkable

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.masking import placeholder
from nexus_control.execution.plan import Call
from nexus_control.execution.supervised import run_supervised
from nexus_control.execution.supervision import Ending
from nexus_control.system.whole_files import read_regular

MAX_BYTES: Final = 64 * 1024
COMMAND_SECONDS: Final = 30
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_NAMED = re.compile(r"\{secret:([^{}]*)\}")
_BEGINNING = "{secret:"


_ENDINGS: dict[Ending, str] = {
    "exited": "",
    "not_started": "could not be started: {detail}",
    "timed_out": f"did not end within {COMMAND_SECONDS} seconds",
    "stopped": "was killed because {detail}",
    "cancelled": "was killed because {detail}",
    "lost": "lost its supervisor, so that nobody saw its end",
}


class UnreadableSecretError(Exception):
    """Why a secret cannot be read. The text never holds a part of the value, or of what a command printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """Where a secret's value is read: a file, a variable of this process, or what a command prints.

        >>> PythonAdapter("keys", {"rotate": rotate}, secrets={"BILLING": SecretSource(variable="BILLING_TOKEN")}).kind
        'python'

    A relative `file`, and the command, are looked for in `base`, by default the working folder. Raises CONFIG_INVALID
    unless exactly one of `file`, `variable` and `command` is given, `command` is a list of words, and none is empty or
    holds NUL.
    """

    file: str | None = None
    variable: str | None = None
    command: Sequence[str] | None = None
    base: Path = field(default_factory=Path)

    def __post_init__(self) -> None:
        if problem := source_problem(self.declaration()):
            raise NexusControlError(ErrorCode.CONFIG_INVALID, f"a secret {problem}")

    def declaration(self) -> dict[str, object]:
        """The source as JSON, without `base`; a part of the adapter's digest.

        >>> SecretSource(variable="BILLING_TOKEN").declaration()
        {'variable': 'BILLING_TOKEN'}
        """
        command: object = self.command  # a text is a sequence, too
        words = list(cast("list[str]", command)) if isinstance(command, list | tuple) else command
        given = {"file": self.file, "variable": self.variable, "command": words}
        return {name: value for name, value in given.items() if value is not None}

    def read(self) -> str:
        """The value now.

            >>> SecretSource(command=["echo", "a-value"]).read()
            'a-value'

        Raises UnreadableSecretError, which says why, and nothing of the value.
        """
        if self.variable is not None:
            value = os.environ.get(self.variable)
            if value is None:
                raise UnreadableSecretError(f"the variable {self.variable} is not set")
            content = os.fsencode(value)
        elif self.file is not None:
            content = _line(self._of_file(self.file))
        else:
            content = _line(self._of_command(self.command or ()))
        if len(content) > MAX_BYTES:
            raise UnreadableSecretError(f"it is longer than {MAX_BYTES} bytes")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise UnreadableSecretError("it is not UTF-8") from None
        if "\0" in text:
            raise UnreadableSecretError("it holds NUL")
        return text

    def _of_file(self, file: str) -> bytes:
        try:
            return read_regular(self.base / file, MAX_BYTES + 2)
        except OSError as error:
            raise UnreadableSecretError(f"the file {file}: {error.strerror}") from None

    def _of_command(self, command: Sequence[str]) -> bytes:
        ended = run_supervised(
            command,
            cwd=self.base,
            environment=dict(os.environ) or {"PATH": os.defpath},
            timeout_seconds=COMMAND_SECONDS,
            max_output_bytes=2 * MAX_BYTES,
        )
        if problem := _ENDINGS[ended.ending].format(detail=ended.detail):
            raise UnreadableSecretError(f"the command {command[0]} {problem}")
        if ended.exit_code != 0:
            raise UnreadableSecretError(f"the command {command[0]} exited with code {ended.exit_code}")
        if "stdout" in ended.cut:
            raise UnreadableSecretError(f"it is longer than {MAX_BYTES} bytes")
        return ended.stdout


@runtime_checkable
class SecretTaker(Protocol):
    """An adapter that is given values of secrets.

    `secrets` are those that its plans may name. `secret_arguments` are the arguments of a call that take nothing but a
    secret. `secrets_of` names what the call needs in this mode, those of the adapter's own environment too. It reads
    the values with `revealing.value_of` when it executes.
    """

    @property
    def secrets(self) -> Mapping[str, SecretSource]: ...

    def secret_arguments(self, call: Call) -> Collection[str]: ...

    def secrets_of(self, call: Call, *, dry_run: bool) -> frozenset[str]: ...


def source_problem(given: Mapping[str, object]) -> str | None:
    """Why a secret cannot have these sources, by key; None if it can."""
    if len(given) != 1:
        return "must have exactly one of file, variable and command"
    ((key, source),) = given.items()
    words = source if key == "command" else (source,)
    if not isinstance(words, list | tuple) or not words or not words[0]:
        return f"needs a {key}" if key != "command" else "needs a command, which is a list of words"
    if not all(isinstance(word, str) and "\0" not in word for word in cast("Sequence[object]", words)):
        return f"needs a {key} of text without NUL"
    return None


def is_secret_name(text: str) -> bool:
    """Whether this can name a secret."""
    return _NAME.fullmatch(text) is not None


def secret_named(value: object) -> str | None:
    """The name, where a value is exactly `{secret:NAME}`."""
    found = _NAMED.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found and is_secret_name(found[1]) else None


def speaks_of_secrets(value: object) -> bool:
    """Whether a value of a plan holds `{secret:`, at any depth."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value)
        return any(speaks_of_secrets(each) for pair in items.items() for each in pair)
    if isinstance(value, list):
        return any(map(speaks_of_secrets, cast("list[object]", value)))
    return isinstance(value, str) and _BEGINNING in value


def secret_problem(adapter: SecretTaker | None, call: Call) -> str | None:
    """Why a call cannot be made because of the secrets that it names or should name, or None. It repeats no value."""
    declared = cast("Mapping[str, Any]", {}) if adapter is None else adapter.secrets
    marked = () if adapter is None else adapter.secret_arguments(call)
    for key, value in call.args.items():
        if key not in marked:
            if speaks_of_secrets({key: value}):
                return (
                    f"args.{key:.80} names a secret, but the adapter does not mark it as one: it would be passed on "
                    "as text"
                )
            continue
        name = secret_named(value)
        if name is None:
            form = placeholder("NAME")
            return (
                f"args.{key:.80} must be {form} and nothing else: a plan names a secret, and never holds it"
            )
        if name not in declared:
            known = ", ".join(sorted(declared)) or "none"
            return (
                f"args.{key:.80} names the secret {name}, which is not declared; declared are: {known:.300}"
            )
    return None


def declared_secrets(sources: Mapping[str, SecretSource]) -> dict[str, object]:
    """The part of an adapter's declaration; empty without secrets, so that other digests stay what they were."""
    if not sources:
        return {}
    return {"secrets": {name: source.declaration() for name, source in sorted(sources.items())}}


def _line(content: bytes) -> bytes:
    """The content without the line end at its end."""
    return content.removesuffix(b"\n").removesuffix(b"\r") if content.endswith(b"\n") else content
