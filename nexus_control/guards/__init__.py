"""Guards: an approval in front of a tool that somebody else runs.

    from nexus_control.guards import Guard, ToolCall

`guards.guard` has the shape that all guards share. Each framework's guard is a module of its own, and imports its
framework only there: `guards.pydantic_ai`, `guards.openai_agents`, `guards.langchain`. `governed` makes a function ask
before it runs.
"""

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
