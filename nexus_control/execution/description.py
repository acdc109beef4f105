"""What executing a plan would run, in the words of its adapters: shown to approvers before anything runs.

A description is made by the code that executes, from the same declaration: it is what runs, as long as the adapter's
digest is the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDescription:
    """What carrying out a call runs: the program `argv`, or the Python `function`; with neither, nothing is run.

    Of a program: the folder that it starts in, the names of its whole environment, the time after which it is killed,
    how much of its output is kept, and what the file holds that `argv` calls FILE. Of a function: `args`.
    """

    argv: tuple[str, ...] = ()
    file: str | None = None
    directory: str | None = None
    environment: tuple[str, ...] = ()
    timeout_seconds: int | None = None
    max_output_bytes: int | None = None
    function: str | None = None
    args: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDescription:
    """One step, when it is applied and when it is rehearsed."""

    step_id: str
    intent: str
    apply: CallDescription
    dry_run: CallDescription
