"""What a conversation with an MCP server gives: a list of tools, or the reason why there is no answer.

They are apart from the conversation itself, whose module loads the SDK.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Trouble: TypeAlias = Literal["protocol_error", "timeout", "transport_error", "stopped"]


class NoAnswerError(Exception):
    """Why there is no answer. After all but `protocol_error` the server may have carried out what it was asked for."""

    def __init__(self, kind: Trouble, detail: str) -> None:
        super().__init__(detail)
        self.kind: Trouble = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Listing:
    """The whole definitions of the tools that were looked for, by name, and the names of the first tools there are."""

    found: Mapping[str, Mapping[str, Any]]
    names: tuple[str, ...]
