"""One step of the demonstration, as data; and how a step that goes otherwise ends it."""

from dataclasses import dataclass, field
from typing import Any

from nexus_control.cli.screen import Grid
from nexus_control.integrity import PREFIX
from nexus_control.values.results import ToolResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """`intent` says what is tried, `found` what came of it; `facts` are JSON values."""

    title: str
    intent: str
    found: str
    grids: tuple[Grid, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


class NotAsExpectedError(Exception):
    """Something else happened than the demonstration is about."""


def require(holds: bool, what: str) -> None:
    """Raises NotAsExpectedError, saying `what`, unless it holds."""
    if not holds:
        raise NotAsExpectedError(what)


def done(result: ToolResult) -> dict[str, Any]:
    """The data of a call that had to succeed."""
    require(result.success, f"it was refused: {result.error}")
    return result.data


def refused(result: ToolResult, code: str) -> ToolResult:
    """A call that had to be refused, with this code."""
    answer = "it was accepted" if result.success else f"the answer was {result.error}"
    require(not result.success and result.error_code == code, f"it had to be refused as {code}, but {answer}")
    return result


def short(digest: str) -> str:
    """The beginning of a digest, for people to compare; the whole is in the facts."""
    return digest.removeprefix(PREFIX)[:12]
