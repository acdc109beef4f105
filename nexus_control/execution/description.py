"""Descriptions of what executing a plan would run, made by the adapters and shown to approvers before anything runs.

The code that executes a call also describes it, from the same declaration. So the description stays true as long as
the adapter's digest stays the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDescription:
    """What a call runs: the program `argv`, or the Python `function`; with neither, nothing is run.

    For a program the fields are: the folder that it starts in, the names of all its environment variables, the time
    after which it is killed, how much of its output is kept, and the content of the file that stands in `argv` as
    FILE. For a function: `args`. With `tool` the program is an MCP server, and that tool of it is called with `args`.
    """

    argv: tuple[str, ...] = ()
    file: str | None = None
    directory: str | None = None
    environment: tuple[str, ...] = ()
    timeout_seconds: int | None = None
    max_output_bytes: int | None = None
    tool: str | None = None
    function: str | None = None
    args: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDescription:
    """What one step runs when it is applied, and what it runs in a dry run."""

    step_id: str
    intent: str
    apply: CallDescription
    dry_run: CallDescription
