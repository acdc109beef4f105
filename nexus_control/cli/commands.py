"""The table of commands, and the group that loads a command's module when the command is called.

The group needs only the table for its help, its version and its errors: it loads no command for them.
"""

from functools import partial
from typing import Any, Final

import typer.main
from typer.core import TyperCommand

from nexus_control.cli.helping import Command, Group, first_sentence
from nexus_control.cli.loading import load

COMMANDS: Final = {
    "demo": (
        "demonstrating:demo",
        "Rotate the keys of a made-up service, from request to verified proof. Needs no set-up.",
    ),
    "init": (
        "founding:init",
        "Make a store and its log's key, and say which files it is made of. An existing store is only looked at.",
    ),
    "request": ("requesting:request", "Ask for an execution."),
    "approve": ("deciding:approve", "Approve a request, after looking at it."),
    "deny": ("deciding:deny", "Refuse a request as an approver; it ends there."),
    "revoke": ("deciding:revoke", "Take your own approval back, before the execution."),
    "withdraw": ("deciding:withdraw", "Take your own request back."),
    "statement": (
        "signing:statement",
        "Print the exact bytes that an approver signs. Sign them elsewhere, then hand the signature in.",
    ),
    "status": ("looking:status", "Where a request stands, and what keeps it from being executed."),
    "inspect": ("looking:inspect", "Everything about a request, as Markdown."),
    "list": ("lists:list_requests", "The requests, newest first."),
    "inbox": (
        "inboxing:inbox",
        "Serve the pages on which people read requests and decide them with a passkey.",
    ),
    "wait": (
        "following:wait",
        "Wait until a request is approved or ended; ends with 1 if the time is up before.",
    ),
    "events": (
        "following:events",
        "The events of all requests in the order of the store, each as one line of JSON.",
    ),
    "execute": ("running:execute", "Carry out an approved request, once."),
    "cancel": ("cancelling:cancel", "Stop an execution that is under way. It asks no question."),
    "worker": (
        "working:worker",
        "Execute the approved requests that were made for a worker, as they come, and tell the sinks what happens.",
    ),
    "run": ("results:run", "What the runs of a request gave back."),
    "recover": ("running:recover", "Give up executions whose process is gone: their outcome is unknown."),
    "reconcile": ("running:reconcile", "Settle an execution whose outcome was unknown."),
    "call": ("calling:call", "Call one of the agents' tools, as the MCP server does; the answer is JSON."),
    "serve": ("serving:serve", "Serve the 11 tools to an agent host: MCP over standard input and output."),
    "hook": (
        "hooking:hook",
        "Judge, ask for and record each call of a tool, as the hook of Claude Code or Codex.",
    ),
    "export": ("exporting:export", "The decision and all its events as one document: a bundle 0.5."),
    "import": (
        "exporting:import_bundle",
        "Import a bundle, after all its checks. Imported approvals authorise nothing here.",
    ),
    "audit": ("exporting:audit", "The proof of an executed decision: an audit package 0.6."),
    "verify": (
        "verifying:verify",
        "Check a package or a bundle, of this version or of 1.0. You say which keys are trusted. Needs no"
        " database.",
    ),
    "report": (
        "reporting:report",
        "A package or a bundle as one HTML page: verdict, timeline, approvals, plan, outputs, digests, checks.",
    ),
    "doctor": (
        "health:doctor",
        "Check the store: the log, the tables derived from it, and the head, key and checkpoint beside the database.",
    ),
    "backup": (
        "keeping:backup",
        "Write the whole store into one file, readable by you alone, also while others use the store.",
    ),
    "restore": (
        "keeping:restore",
        "Lay a backup out as a store at a place where nothing is. It executes nothing until its owner accepts the"
        " loss.",
    ),
    "migrate": (
        "migrating:migrate",
        "Copy a whole store to another place, and prove that its log is the same there; then it is used only there.",
    ),
    "install": (
        "hosting:install",
        "Print what to add to an agent host so that it starts the MCP server, or calls the hook.",
    ),
    "config": ("configuring:config", "The settings, and the files that they come from."),
    "adapter": ("declaring:adapter", "The adapters that are declared: what executing a request can run."),
    "approver": ("approvers:approver", "Whose signed approvals count: the allowed signers file."),
    "template": ("templates:templates", "Policies with a name."),
    "rules": (
        "ruling:rules",
        "The rule book: which calls need which template, which pass, which are denied.",
    ),
    "notify": ("notifying:notify", "The sinks: who is told what happens, and what they were not told."),
    "log": ("log:log", "The store's log: signed checkpoints, and proofs against them."),
    "key": ("keys:key", "The key of the store's log, and keys to sign packages with."),
}
"""The name of each command or group, with its place (module:name) and the first line of its help."""


GROUPS: Final = {
    "First steps": ("demo", "init", "config", "adapter"),
    "Ask and decide": ("request", "approve", "deny", "revoke", "withdraw", "statement", "inbox", "wait"),
    "Execute": ("execute", "cancel", "worker", "run", "recover", "reconcile"),
    "Look": ("list", "status", "inspect", "events"),
    "Evidence": ("audit", "verify", "report", "export", "import", "log", "key"),
    "Run a team": ("template", "rules", "approver", "notify", "doctor", "backup", "restore", "migrate"),
    "Agents": ("serve", "install", "hook", "call"),
}
"""The commands as the help lists them."""


class CommandGroup(Group):
    """A group that knows only the name and the line of help of each command in the table until one is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name in (name for names in GROUPS.values() for name in names if name in COMMANDS):
            self.add_command(TyperCommand(name, help=COMMANDS[name][1]))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and loaded(found.name or ""), rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for heading, names in GROUPS.items():
            rows = [(name, first_sentence(COMMANDS[name][1])) for name in names if name in COMMANDS]
            with formatter.section(heading):
                formatter.write_dl(rows)


group = partial(
    typer.Typer,
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # help is plain text, because it is also read in pipes
    pretty_exceptions_enable=False,
)
"""Makes a group of commands. `help` is the first line of the group's help, and an example."""


def loaded(name: str) -> Any:
    """The command or the group of this name, for the parser."""
    target = target_of(name)
    if not isinstance(target, typer.Typer):
        alone = group()
        alone.command(name)(target)
        target = alone
    for each in target.registered_commands:
        each.cls = Command
    return typer.main.get_command(target)


def target_of(name: str) -> Any:
    """The function that carries out a command, or the group of this name. Loads its module."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    return getattr(load(f"nexus_control.cli.{module}"), attribute)
