"""The table of commands, and the group that loads the module of the one that is called.

The group's help, its version and its errors come from the table alone: they load none of the commands.
"""

from functools import partial
from typing import Any, Final

import typer.main
from typer.core import TyperCommand, TyperGroup

from nexus_control.cli.loading import load

COMMANDS: Final = {
    "demo": (
        "demonstrating:demo",
        "Rotate the keys of a made-up service, from request to verified proof. Needs no set-up.",
    ),
    "request": ("requesting:request", "Ask for an execution."),
    "approve": ("deciding:approve", "Approve a request, after looking at it."),
    "deny": ("deciding:deny", "Refuse a request as an approver; it ends there."),
    "revoke": ("deciding:revoke", "Take your own approval back, before the execution."),
    "withdraw": ("deciding:withdraw", "Take your own request back."),
    "statement": (
        "signing:statement",
        "The exact bytes that an approver signs, to be signed elsewhere; then hand the signature in.",
    ),
    "status": ("looking:status", "Where a request stands, and what keeps it from being executed."),
    "inspect": ("looking:inspect", "Everything about a request, as Markdown."),
    "list": ("looking:list_requests", "The requests, newest first."),
    "execute": ("running:execute", "Carry out an approved request, once."),
    "recover": ("running:recover", "Give up executions whose process is gone: their outcome is unknown."),
    "reconcile": ("running:reconcile", "Settle an execution whose outcome was unknown."),
    "call": ("calling:call", "Call one of the agents' tools, as the MCP server does; the answer is JSON."),
    "serve": ("serving:serve", "Serve the 11 tools to an agent host: MCP over standard input and output."),
    "export": ("exporting:export", "The decision and all its events as one document: a bundle 0.5."),
    "import": (
        "exporting:import_bundle",
        "Take in a bundle, after checking it whole. Imported approvals authorise nothing here.",
    ),
    "audit": ("exporting:audit", "The proof of an executed decision: an audit package 0.6."),
    "verify": (
        "verifying:verify",
        "Check a package or a bundle, of this version or of 1.0, as far as you say whom you trust. Needs no"
        " database.",
    ),
    "report": (
        "reporting:report",
        "A package or a bundle as one HTML page: whether it holds together, approvals, plan, timeline, digests,"
        " checks.",
    ),
    "doctor": (
        "health:doctor",
        "Recompute the store: is the log whole, and what is derived from it; does it continue what lies beside it.",
    ),
    "install": ("hosting:install", "Print what registers the MCP server with an agent host."),
    "template": ("templates:templates", "Policies with a name."),
    "log": ("log:log", "The store's log: signed checkpoints, and proofs against them."),
    "key": ("keys:key", "The key of the store's log, and keys to sign packages with."),
}
"""Each command's or group's name, with where it is (module:name) and what its help says first."""


class CommandGroup(TyperGroup):
    """A group in which a name and a line of help stand for each command of the table until it is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, (_, text) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=text))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and loaded(found.name or ""), rest


group = partial(
    typer.Typer,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # help is plain text: it is read in pipes too
    pretty_exceptions_enable=False,
)
"""A group of commands; `help` is what its own help begins with."""


def loaded(name: str) -> Any:
    """The command or the group of this name, for the parser."""
    target = target_of(name)
    if not isinstance(target, typer.Typer):
        alone = group()
        alone.command(name)(target)
        target = alone
    return typer.main.get_command(target)


def target_of(name: str) -> Any:
    """The function that carries out a command, or the group of this name. Loads its module."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    return getattr(load(f"nexus_control.cli.{module}"), attribute)
