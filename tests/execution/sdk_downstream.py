"""An MCP server written with the official SDK: its tool `put` appends a line to a file, and answers with `_meta`."""

import json
import sys
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("files", version="1")


@server.tool()
def put(text: str, context: Context) -> str:
    """Append a line to the file."""
    with Path(sys.argv[1]).open("a") as file:
        file.write(text + "\n")
    return json.dumps(context.request_context.meta)


server.run()
