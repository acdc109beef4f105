"""Which requests are of guarded calls: their caller runs the tool itself, and no router executes them.

    tool:Bash                  a call of this tool, before a guard of an agent framework or a host's hook
    function:deploy.rotate     a call of this governed function

The adapter that a request names says it. The caller claims the request, runs what its plan says, and records the
outcome.
"""

from typing import Final, TypeGuard

TOOL: Final = "tool:"
"""How the adapter begins of a request that a guard has made for a call of a tool."""
FUNCTION: Final = "function:"
"""How the adapter of a governed function's request begins. No router has adapters of either kind."""


def is_guarded(adapter_id: str | None) -> TypeGuard[str]:
    """Whether a request for this adapter is run by its caller."""
    return adapter_id is not None and adapter_id.startswith((TOOL, FUNCTION))


def is_function(adapter_id: str | None) -> bool:
    """Whether it is a governed function's."""
    return adapter_id is not None and adapter_id.startswith(FUNCTION)
