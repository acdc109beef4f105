"""What a hook says to its host: at most one JSON document on standard output, a text on standard error, an exit code.

| reply | Claude Code | Codex |
|---|---|---|
| nothing, exit 0 | the host's own permissions decide | the same |
| `allow` | the call runs; a deny or ask rule of the host still wins | not said: nothing means the same |
| `defer` | a run without a person ends, and can be resumed | not said: the call would run |
| `deny`, the reason again on standard error, exit 2 | not run | not run |

The denial is said three times, because each host obeys some of these and not all, and noise of a library on standard
output must not hide it. After the tool has run a hook changes nothing: a fault is exit 1, with its text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

DENIED: Final = 2
NOT_RECORDED: Final = 1


@dataclass(frozen=True, slots=True)
class Reply:
    """How the hook ends. Without a `verdict` nothing goes to standard output."""

    verdict: Literal["allow", "defer", "deny"] | None = None
    text: str = ""
    code: int = 0
    undelivered: Callable[[], object] | None = None
    """Is called where the reply cannot be written: what was claimed for it is given back."""

    @property
    def document(self) -> dict[str, object] | None:
        if self.verdict is None:
            return None
        said = {"hookEventName": "PreToolUse", "permissionDecision": self.verdict}
        if self.text:
            said["permissionDecisionReason"] = self.text
        return {"hookSpecificOutput": said}


NO_OPINION: Final = Reply()


def denial(text: str) -> Reply:
    """The one shape of a denial that every host obeys."""
    return Reply("deny", text, DENIED)


def not_recorded(why: str) -> Reply:
    """For an event after the tool has run."""
    return Reply(None, f"nexus-control could not record what became of this call ({why}).", NOT_RECORDED)
