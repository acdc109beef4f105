"""The MCP server; alone imports mcp."""

from nexus_control.server.protocol import INSTRUCTIONS, make_server, serve_stdio
from nexus_control.server.settings import Settings, offered, open_context

__all__ = ["INSTRUCTIONS", "Settings", "make_server", "offered", "open_context", "serve_stdio"]
