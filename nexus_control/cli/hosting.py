"""The command `install`: it prints what registers the server with an agent host.

That is a command, or a piece of the host's configuration; `install` changes no file itself. A host may start the server
in any folder, also in one whose files an attacker wrote: `system.commands` says how the printed command resists that.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from nexus_control.cli.adapters import config_or_default
from nexus_control.cli.frame import Data, Frame, answer, frame_of
from nexus_control.cli.options import AllowedSigners, AsJson, Database, UsualConfig
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


def install(
    context: typer.Context,
    host: Annotated[str, typer.Option(help=f"One of {', '.join([*BY_COMMAND, *BY_FILE])}.")],
    config: UsualConfig = None,
    allowed_signers: AllowedSigners = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Print what to add to an agent host so that it starts the MCP server.

    Example: nexus-control install --host cursor --db decisions.db
    """
    frame = frame_of(context, db, as_json, allowed_signers)

    def run() -> Data:
        frame.require_place(makes=True)
        frame.look_at_signers()
        if config is not None and not is_regular(config):
            raise invalid_argument("--config", f"names {absolute(config)}, which is not a file")
        serving = _serving(frame, config_or_default(config))
        if host in BY_COMMAND:
            return {"host": host, "command": [*BY_COMMAND[host], *serving]}
        if host not in BY_FILE:
            raise invalid_argument("--host", f"must be one of {', '.join([*BY_COMMAND, *BY_FILE])}")
        key, file = BY_FILE[host]
        entry: dict[str, Any] = {"command": serving[0], "args": [*serving[1:], "--tool-names", "underscore"]}
        if host == "vscode":
            entry = {"type": "stdio", **entry}
        return {"host": host, "file": file, "config": {key: {_NAME: entry}}}

    def show(_screen: Screen, data: Data) -> None:
        if "command" in data:
            print(shell_line(data["command"]))
            return
        typer.echo(f"Put this into {data['file']}:", err=True)
        print(json.dumps(data["config"], indent=2))

    answer(frame, run, show)


def _serving(frame: Frame, config: Path | None) -> list[str]:
    options = {"--db": frame.path, "--config": config, "--allowed-signers": frame.allowed_signers}
    return command("serve", options=options)
