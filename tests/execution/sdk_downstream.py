"""An MCP server written with the official SDK: its tool `put` appends a line to a file."""

import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

server = MCPServer("files", version="1")


@server.tool()
def put(text: str) -> str:
    """Append a line to the file."""
    with Path(sys.argv[1]).open("a") as file:
        file.write(text + "\n")
    return f"{len(text)} characters"


server.run()
