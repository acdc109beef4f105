"""The MCP server. Only this package imports mcp. Its module `starting` does not: it runs before foreign code loads."""
