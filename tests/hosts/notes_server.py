"""An MCP server of three tools, for hosts: one answers a text, one a structured value, one fails."""

import sys

from mcp.server import MCPServer

PLACE = [sys.executable, __file__]
"""The command that starts it."""

server = MCPServer("notes")


@server.tool(structured_output=False)
def note(text: str) -> str:
    return f"noted: {text}"


@server.tool()
def count(words: list[str]) -> dict[str, int]:
    return {"words": len(words)}


@server.tool()
def fail(text: str) -> str:
    raise ValueError(f"cannot: {text}")


if __name__ == "__main__":
    server.run("stdio")
