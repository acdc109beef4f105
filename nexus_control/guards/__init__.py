"""Guards: an approval in front of a tool that somebody else runs.

    from nexus_control.guards import Guard, ToolCall

`guards.guard` has the shape that all guards share. Each framework's guard is a module of its own, and imports its
framework only there: `guards.pydantic_ai`, `guards.openai_agents`, `guards.langchain`. `governed` makes a function ask
before it runs. `guards.hook` is the command that an agent host calls before and after each tool.

A name is loaded when it is first used (PEP 562): a hook that lets a call pass loads no store.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexus_control.guards.calls import Allowed, Denied, NotRunError, Pending, ToolCall, Verdict
    from nexus_control.guards.governing import AsyncProposal, Governed, Proposal, governed
    from nexus_control.guards.guard import Guard

__all__ = [
    "Allowed",
    "AsyncProposal",
    "Denied",
    "Governed",
    "Guard",
    "NotRunError",
    "Pending",
    "Proposal",
    "ToolCall",
    "Verdict",
    "governed",
]
_HOMES = {"Guard": "guard"} | dict.fromkeys(
    ("AsyncProposal", "Governed", "Proposal", "governed"), "governing"
)
"""The modules of the names that are not in `calls`."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'calls')}"), name)
    return value
