"""The command `install`: it prints what registers the server with an agent host, or the hook before its tools.

That is a command, or a piece of the host's configuration; `install` changes no file itself. A host may start the server
in any folder, also in one whose files an attacker wrote: `system.commands` says how the printed command resists that.
So `serve` looks for no project's file. What `install` finds, in the folder where a person runs it, is named by
`--adapters-from`.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

import typer

from nexus_control.cli.adapters import config_or_default
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.hook_chain import problems_of
from nexus_control.cli.hook_registrations import FILES
from nexus_control.cli.options import UsualConfig
from nexus_control.cli.screen import Mark, Screen
from nexus_control.errors import invalid_argument
from nexus_control.system.commands import absolute, command, not_ignored, shell_line
from nexus_control.system.whole_files import is_regular

_NAME = "nexus-control"


@dataclass(frozen=True, slots=True)
class HostFile:
    """A host's file of servers: the key that holds them, the name of the file, and what an entry needs besides. Most
    of these hosts refuse tool names with dots.
    """

    key: str
    file: str
    more: Mapping[str, object] = field(default_factory=dict[str, object])
    takes_dots: bool = False


BY_COMMAND: Final = {
    "claude-code": ["claude", "mcp", "add", _NAME, "--scope", "user", "--"],
    "codex": ["codex", "mcp", "add", _NAME, "--"],
}
"""The hosts that register a server by a command. They accept tool names with dots."""
_STDIO: Final = {"type": "stdio"}
_LOCAL: Final = {"type": "local", "tools": ["*"]}
BY_FILE: Final[dict[str, HostFile]] = {
    "claude-desktop": HostFile("mcpServers", "claude_desktop_config.json (Settings, Developer, Edit Config)"),
    "cursor": HostFile("mcpServers", "~/.cursor/mcp.json, or .cursor/mcp.json in a project"),
    "vscode": HostFile("servers", ".vscode/mcp.json in a workspace", _STDIO),
    "windsurf": HostFile("mcpServers", "~/.codeium/windsurf/mcp_config.json"),
    "copilot-cli": HostFile("mcpServers", "~/.copilot/mcp-config.json", _LOCAL),
    "gemini-cli": HostFile("mcpServers", "~/.gemini/settings.json", takes_dots=True),
}
"""The hosts that read a file of JSON."""
BY_PROGRAM: Final = {
    "openai-agents": """\
from agents.mcp import MCPServerStdio

server = MCPServerStdio(name="nexus-control", params={entry}, client_session_timeout_seconds=60)
""",
    "langchain": """\
from langchain_mcp_adapters.client import MultiServerMCPClient

client = MultiServerMCPClient({{"nexus-control": {{"transport": "stdio", **{entry}}}}})
session = client.session("nexus-control")  # use one for all calls: a run ends with its server
""",
}
"""The frameworks whose programs start the server. The model APIs behind them refuse tool names with dots."""
HOSTS: Final = ", ".join([*BY_COMMAND, *BY_FILE, *BY_PROGRAM])


@shared_options("allowed_signers", "db")
def install(
    frame: Frame,
    host: Annotated[str, typer.Option(help=f"One of {HOSTS}.")],
    config: UsualConfig = None,
    hook: Annotated[
        bool,
        typer.Option("--hook", help=f"Print the hook before and after each tool, for {', '.join(FILES)}."),
    ] = False,
) -> Answer:
    """Print what to add to an agent host so that it starts the MCP server, or calls the hook.

    Example: nexus-control install --host cursor --db decisions.db
    """
    if config is not None and not is_regular(config):
        option = "--config" if frame.config else "--adapters-from"
        raise invalid_argument(option, f"names {absolute(config)}, which is not a file")
    frame.require_place(makes=not hook, maker="template create" if hook else "request")
    frame.look_at_signers()
    if hook:
        return _hook(frame, host)
    adapters = None if frame.config else config_or_default(config)  # see `system.commands.approving`
    options = {
        "--config": frame.config,
        "--adapters-from": adapters and adapters.path,
        **frame.who_signs,
    }
    frame.tell_of_password()
    serving = command("serve", options={"--db": frame.path, "--log-folder": frame.log_folder, **options})
    if host in BY_COMMAND:
        words = [*BY_COMMAND[host], *serving]
        return Answer({"host": host, "command": words}, lambda _: print(shell_line(words)))
    underscored = [*serving[1:], "--tool-names", "underscore"]
    if host in BY_PROGRAM:
        entry = {"command": serving[0], "args": underscored}
        program = BY_PROGRAM[host].format(entry=entry)
        return Answer({"host": host, "program": program}, lambda _: print(program, end=""))
    if host not in BY_FILE:
        raise invalid_argument("--host", f"must be one of {HOSTS}")
    file = BY_FILE[host]
    arguments = serving[1:] if file.takes_dots else underscored
    entries = {file.key: {_NAME: {**file.more, "command": serving[0], "args": arguments}}}

    def show(_screen: Screen) -> None:
        typer.echo(f"Put this into {file.file}:", err=True)
        print(json.dumps(entries, indent=2))

    return Answer({"host": host, "file": file.file, "config": entries}, show)


def _hook(frame: Frame, host: str) -> Answer:
    """The hook of this store. It reads the rule book of `--config`, else of the system's or the user's file."""
    if host not in FILES:
        raise invalid_argument("--host", f"must be one of {', '.join(FILES)}, with --hook")
    file = FILES[host]
    options = {
        "--db": frame.path,
        "--log-folder": frame.log_folder,
        **frame.who_signs,
        "--config": frame.config,
    }
    frame.tell_of_password()
    words = command("hook", options=options)
    text = file.write(words)
    noted = [*not_ignored(), *problems_of(words)]

    def show(_screen: Screen) -> None:
        for each in noted:
            Screen(sys.stderr).prose(f"{each}.", Mark("Note:", "stopped"))
        typer.echo(
            f"Put this into {file.managed}, which only root may write: what stands there no agent switches off. To try"
            f" it out, put it into {file.own}.",
            err=True,
        )
        print(text, end="")

    return Answer(
        {"host": host, "file": file.managed, "own_file": file.own, "text": text, "notes": noted}, show
    )
