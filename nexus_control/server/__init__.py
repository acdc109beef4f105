"""The MCP server; alone imports mcp. `starting` does not: it comes before anything of somebody else is loaded."""
