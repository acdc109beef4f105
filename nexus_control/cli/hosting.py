"""The command `install`: it prints what registers the server with an agent host.

That is a command, or a piece of the host's configuration; `install` changes no file itself. A host may start the server
in any folder, also in one whose files an attacker wrote: `system.commands` says how the printed command resists that.
"""

import json
from typing import Annotated, Final

import typer

from nexus_control.cli.adapters import config_or_default
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.options import UsualConfig
from nexus_control.cli.screen import Screen
from nexus_control.errors import invalid_argument
from nexus_control.system.commands import absolute, command, shell_line
from nexus_control.system.whole_files import is_regular

_NAME = "nexus-control"
BY_COMMAND: Final = {
    "claude-code": ["claude", "mcp", "add", _NAME, "--scope", "user", "--"],
    "codex": ["codex", "mcp", "add", _NAME, "--"],
}
"""The hosts that register a server by a command. They accept tool names with dots."""
BY_FILE: Final = {
    "claude-desktop": ("mcpServers", "claude_desktop_config.json (Settings, Developer, Edit Config)"),
    "cursor": ("mcpServers", "~/.cursor/mcp.json, or .cursor/mcp.json in a project"),
    "vscode": ("servers", ".vscode/mcp.json in a workspace"),
}
"""The hosts that read a file: the key that holds servers, and the file. They refuse tool names with dots."""


@shared_options("allowed_signers", "db")
def install(
    frame: Frame,
    host: Annotated[str, typer.Option(help=f"One of {', '.join([*BY_COMMAND, *BY_FILE])}.")],
    config: UsualConfig = None,
) -> Answer:
    """Print what to add to an agent host so that it starts the MCP server.

    Example: nexus-control install --host cursor --db decisions.db
    """
    if config is not None and not is_regular(config):
        option = "--config" if frame.config else "--adapters-from"
        raise invalid_argument(option, f"names {absolute(config)}, which is not a file")
    frame.require_place(makes=True)
    frame.look_at_signers()
    adapters = None if frame.config else config_or_default(config)  # see `system.commands.approving`
    options = {
        "--config": frame.config,
        "--adapters-from": adapters,
        "--allowed-signers": frame.allowed_signers,
    }
    serving = command("serve", options={"--db": frame.path, **options})
    if host in BY_COMMAND:
        words = [*BY_COMMAND[host], *serving]
        return Answer({"host": host, "command": words}, lambda _: print(shell_line(words)))
    if host not in BY_FILE:
        raise invalid_argument("--host", f"must be one of {', '.join([*BY_COMMAND, *BY_FILE])}")
    key, file = BY_FILE[host]
    how = {"type": "stdio"} if host == "vscode" else {}
    entry = {**how, "command": serving[0], "args": [*serving[1:], "--tool-names", "underscore"]}
    entries = {key: {_NAME: entry}}

    def show(_screen: Screen) -> None:
        typer.echo(f"Put this into {file}:", err=True)
        print(json.dumps(entries, indent=2))

    return Answer({"host": host, "file": file, "config": entries}, show)
