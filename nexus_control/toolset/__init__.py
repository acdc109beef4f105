"""The agents' tools: one table of names, models, annotations and functions. Servers and schemas are made from it."""

from nexus_control.toolset.calling import CallResult, call
from nexus_control.toolset.table import TOOLS, tool_named
from nexus_control.toolset.tool import Annotations, Tool, ToolContext, spelled

__all__ = [
    "TOOLS",
    "Annotations",
    "CallResult",
    "Tool",
    "ToolContext",
    "call",
    "spelled",
    "tool_named",
]
