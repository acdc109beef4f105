"""How the programs of an adapter run: their folder, environment, limits, secrets and pinned files.

    Path(settings.base, settings.cwd)            the folder; the declaration has it as it was written
    {"PATH": ..., "LANG": ..., **settings.env}   the environment, with the ids of the execution

A variable of `env` may be `{secret:NAME}`. The files of `pin_files` are relative to the folder. Their digests are a
part of the declaration, and are read each time it is asked for: an approved request is not executed with a file that
has changed before the claim. A change after the claim is not seen.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from nexus_control.execution.adapter import RecordOutput
from nexus_control.execution.context import VARIABLES, variables
from nexus_control.execution.declared_arguments import NOTHING, Passed, Passing
from nexus_control.execution.description import CallDescription
from nexus_control.execution.revealing import value_of
from nexus_control.execution.secrets import SecretSource, declared_secrets, secret_named
from nexus_control.execution.supervised import run_supervised
from nexus_control.execution.supervision import Ended
from nexus_control.integrity import prefixed
from nexus_control.system.whole_files import digest_of_regular, is_regular

_KEPT_VARIABLES = {"PATH": os.defpath, "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """How an adapter's programs run. `cwd` is relative to `base`; the declaration holds it as it was written."""

    base: Path
    cwd: str = "."
    timeout_seconds: int = 30
    max_output_bytes: int = 1_000_000
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    record_output: RecordOutput = "whole"
    secrets: Mapping[str, SecretSource] = field(default_factory=dict[str, SecretSource])
    pin_files: tuple[str, ...] = ()

    def declaration(self) -> dict[str, object]:
        pinned = {file: self.pinned(file) for file in self.pin_files}
        return {
            "cwd": self.cwd,
            "timeout_seconds": self.timeout_seconds,
            "max_output_bytes": self.max_output_bytes,
            "env": dict(self.env),
            **declared_secrets(self.secrets),
            **({"pin_files": pinned} if pinned else {}),
        }

    def pinned(self, file: str) -> str | None:
        """The digest of a pinned file now; None for one that cannot be read."""
        try:
            return prefixed(digest_of_regular(self.directory / file))
        except OSError:
            return None

    def secrets_in_env(self) -> frozenset[str]:
        """The secrets that the adapter's own variables name."""
        return frozenset(name for text in self.env.values() if (name := secret_named(text)) is not None)

    @property
    def directory(self) -> Path:
        return self.base / self.cwd

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a program: PATH and LANG of this process, `env`, and which execution it is for. Secrets in
        `env` are names.
        """
        kept = {name: os.environ.get(name) or default for name, default in _KEPT_VARIABLES.items()}
        return {**kept, **self.env, **variables()}

    def revealed_environment(self) -> dict[str, str]:
        """The same environment, with the values of the secrets of the run under way."""
        named = {name: secret_named(text) for name, text in self.env.items()}
        own = {name: value_of(secret) for name, secret in named.items() if secret is not None}
        return {**self.environment, **own, **variables()}

    def obstacle_to(self, program: str) -> str | None:
        """Why a program cannot be started in `directory`; None if no reason is known."""
        if not os.access(self.directory / ".", os.X_OK):
            return f"the folder {self.directory} is not there, or may not be entered"
        if lost := [file for file in self.pin_files if self.pinned(file) is None]:
            return f"the pinned file {lost[0]} is not there, or may not be read"
        folders = [""] if "/" in program else self.environment["PATH"].split(os.pathsep)
        places = [self.directory / folder / program for folder in folders]
        found = [place for place in places if is_regular(place)]
        if any(os.access(place, os.X_OK) for place in found):
            return None
        if found:
            return f"{found[0]} may not be executed: chmod +x it"
        return f"there is no program {program!r}{'' if folders == [''] else ' on PATH'}"

    def describe(
        self,
        argv: Sequence[str],
        file: str | None = None,
        passing: Passing | None = None,
        args: Mapping[str, object] | None = None,
        seconds: int | None = None,
    ) -> CallDescription:
        """What `run` does. Environment variables are named without values, which may be secrets."""
        own = [f"{name} = {text}" for name, text in self.env.items() if secret_named(text)]
        more = passing or Passing()
        return CallDescription(
            argv=tuple(argv),
            file=file,
            secrets=(*own, *more.described(args or {})),
            directory=str(self.directory),
            environment=tuple(sorted({*self.environment, *VARIABLES, *more.env, *more.files})),
            timeout_seconds=seconds or self.timeout_seconds,
            max_output_bytes=self.max_output_bytes,
        )

    def run(self, argv: Sequence[str], passed: Passed = NOTHING, seconds: int | None = None) -> Ended:
        """Runs `argv` in `directory`, with `environment`, and what it is passed."""
        with ExitStack() as opened:
            folder, paths = None, dict[str, str]()
            if passed.files:
                made = tempfile.TemporaryDirectory(prefix="nexus-control-", ignore_cleanup_errors=True)
                folder = Path(opened.enter_context(made))
                paths = passed.written(folder)
            return run_supervised(
                argv,
                cwd=self.directory,
                environment={**self.revealed_environment(), **passed.env, **paths, **variables()},
                timeout_seconds=seconds or self.timeout_seconds,
                max_output_bytes=self.max_output_bytes,
                stdin=passed.stdin,
                remove=folder,
            )
