"""Requests of governed functions: `nexus_control.guards.governed` defines these functions, and runs them."""

from functools import cached_property
from typing import Any, Protocol

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.tool.looking import LookingTools
from nexus_control.values.guarded import FUNCTION as FUNCTION


class Proposed(Protocol):
    """A request to run a governed function. The methods of an async function's are awaited, except `result`."""

    @property
    def request_id(self) -> str: ...

    def wait(self, timeout: float | None = None) -> Any: ...

    def execute(self) -> Any: ...

    def result(self) -> Any: ...


class Proposing(Protocol):
    """A governed function: it finds its requests again. `defined_as` is where the function is."""

    @property
    def defined_as(self) -> str: ...

    def proposal(self, request_id: str) -> Proposed: ...


class ProposingTools(LookingTools):
    @cached_property
    def governed_functions(self) -> dict[str, Proposing]:
        """The functions that were governed with these tools, by the adapter of their requests."""
        return {}

    def proposal(self, request_id: str) -> Proposed:
        """The proposal of a governed function, also in another process than the one that made it.

            tools.proposal(request_id).execute()

        The function must be defined on these tools: import its module first. This method answers no ToolResult.
        Raises DECISION_NOT_FOUND; INVALID_ARGUMENT for a request of another kind; ADAPTER_UNKNOWN for a function that
        is not defined here; and what `proposal` of the function raises.
        """
        adapter_id = self.status(request_id).data["adapter_id"] or ""
        if not adapter_id.startswith(FUNCTION):
            raise invalid_argument("request_id", "names a request that no governed function has made")
        function = self.governed_functions.get(adapter_id)
        if function is None:
            name = adapter_id.removeprefix(FUNCTION)
            raise NexusControlError(
                ErrorCode.ADAPTER_UNKNOWN,
                f"The function {name} is not defined on these tools",
                {"request_id": request_id, "function": name},
                f"Import the module that defines {name} with governed, and ask the tools that it gives to governed.",
            )
        return function.proposal(request_id)
