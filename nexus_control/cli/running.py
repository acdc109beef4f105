"""The commands of those who run things: execute, recover, reconcile, call, serve."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, cast

import typer

from nexus_control.canonical_json import parse_json_object
from nexus_control.cli.frame import (
    REFUSED,
    USAGE,
    ActingAs,
    AllowedSigners,
    AsJson,
    Data,
    Database,
    Frame,
    RequestId,
    carry_out,
    frame_of,
    identity,
    printing,
    refuse,
)
from nexus_control.cli.interrupting import Terminated, interruptible
from nexus_control.cli.screen import Mark, Screen, print_json
from nexus_control.cli.streams import output_is_ours
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.execution.local_router import StepProgress
from nexus_control.execution.opening import opened_router
from nexus_control.store import DecisionStore
from nexus_control.toolset import CallResult, Tool, ToolContext, tool_named
from nexus_control.toolset import call as call_tool
from nexus_control.toolset.tool import Approvals, NameStyle
from nexus_control.usecases import arguments as door
from nexus_control.usecases import executing, settling
from nexus_control.values.actors import Actor
from nexus_control.values.results import fault_of

Config = Annotated[Path | None, typer.Option(metavar="FILE", help="The adapters: a nexus-control.toml.")]
Called: TypeAlias = tuple[Tool, CallResult]
Router = Annotated[
    str | None, typer.Option(metavar="MODULE:FACTORY", help="A router of your own, made without arguments.")
]

_MAKING: Final = {"nexus-control.request", "nexus-control.template.create", "nexus-control.import_bundle"}
"""The tools that bring something that begins a store."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (execute, recover, reconcile, call, serve):
        app.command()(command)


def execute(
    context: typer.Context,
    request_id: RequestId,
    adapter: Annotated[str, typer.Option(metavar="KIND:NAME", help="The adapter that carries it out.")],
    config: Config = None,
    router: Router = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Rehearse: change nothing.")] = False,
    acting_as: ActingAs = None,
    allowed_signers: AllowedSigners = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Carry out an approved request, once.

    Example: nexus-control execute 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --adapter subprocess:keys --dry-run
    """
    frame = frame_of(context, db, as_json, allowed_signers)

    def tell(step: StepProgress) -> None:
        if sys.stderr.isatty():
            Screen(sys.stderr).prose(f"step {step.index} of {step.total}, {step.step_id}: {step.status}")

    def run(store: DecisionStore) -> Data:
        actor, _ = identity(acting_as)
        values = {
            "request_id": request_id,
            "adapter_id": adapter,
            "actor": actor,
            "dry_run": True if dry_run else None,
        }
        checked = door.validated(door.ExecuteArguments, values)
        with (
            output_is_ours(),
            opened_router(database=frame.path, config=config, factory=router, on_step=tell) as opened,
            interruptible(),
        ):
            try:
                return executing.execute(store, checked, opened)
            except NexusControlError as fault:
                if fault.code is ErrorCode.OUTCOME_UNKNOWN:
                    fault.details["command"] = _settling(frame, request_id)
                raise
            except (KeyboardInterrupt, Terminated):
                _say_what_is_unknown(frame, store, request_id)
                raise

    def show(screen: Screen, data: Data) -> None:
        text = f"Run {data['run_id']}, {data['mode']}: {data['steps_executed']} steps."
        screen.prose(text, Mark("Done.", "good"))

    def done(data: Data) -> str:
        return f"Request {request_id} was executed in mode {data['mode']}: run {data['run_id']} completed"

    carry_out(frame, run, show, done)


def _say_what_is_unknown(frame: Frame, store: DecisionStore, request_id: str) -> None:
    """For who interrupted a run: on standard error, also with `--json`."""
    with suppress(NexusControlError):  # the interruption goes on up, whatever can be said of it
        if store.load(request_id).facts.phase != "outcome_unknown":
            return
        screen = Screen(sys.stderr)
        screen.prose(
            f"The run was interrupted, and its outcome is unknown. {_FIND_OUT}", Mark("Interrupted.", "bad")
        )
        screen.verbatim(_settling(frame, request_id))


_FIND_OUT = "Find out what it did, then record that, completed or failed:"


def _settling(frame: Frame, request_id: str) -> str:
    options = {"--outcome": "completed", "--evidence": "HOW YOU KNOW"}
    return frame.command("reconcile", argument=request_id, options=options)


def recover(
    context: typer.Context,
    request_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Only this request.")] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also one that cannot be seen from here, as of another host; needs ID."),
    ] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Give up executions whose process is gone: their outcome is unknown.

    Example: nexus-control recover
    """

    frame = frame_of(context, db, as_json)

    def run(store: DecisionStore) -> Data:
        values = {"request_id": request_id, "force": force}
        return settling.recover(store, door.validated(door.RecoverArguments, values))

    def show(screen: Screen, data: Data) -> None:
        screen.prose(f"{len(data['recovered'])} given up, {data['still_held']} still held.")
        if data["recovered"]:
            screen.prose(_FIND_OUT)
        for recovered in data["recovered"]:
            screen.verbatim(_settling(frame, recovered))

    def done(data: Data) -> str | None:
        return f"Given up: {', '.join(data['recovered'])}" if data["recovered"] else None

    carry_out(frame, run, show, done)


def reconcile(
    context: typer.Context,
    request_id: RequestId,
    outcome: Annotated[str, typer.Option(help="What really happened: completed or failed.")],
    evidence: Annotated[str, typer.Option(help="How you know; it is recorded.")],
    run_id: Annotated[str | None, typer.Option(help="The run, if it is known.")] = None,
    acting_as: ActingAs = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Settle an execution whose outcome was unknown.

    Example: nexus-control reconcile 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --outcome failed --evidence "keys unchanged"
    """

    def run(store: DecisionStore) -> Data:
        values = {
            "request_id": request_id,
            "actor": identity(acting_as)[0],
            "outcome": outcome,
            "evidence": evidence,
            "run_id": run_id,
        }
        return settling.reconcile(store, door.validated(door.ReconcileArguments, values))

    def show(screen: Screen, data: Data) -> None:
        screen.prose(f"{data['request_id']} is {data['state']}.", Mark("Done.", "good"))

    def done(data: Data) -> str:
        return f"That {data['request_id']} is {data['state']} is recorded"

    carry_out(frame_of(context, db, as_json), run, show, done)


def call(
    context: typer.Context,
    tool: Annotated[str, typer.Argument(help="One of the agents' tools, as nexus-control.status.")],
    arguments: Annotated[str, typer.Option(help="Its arguments, a JSON object.")] = "{}",
    config: Config = None,
    router: Router = None,
    acting_as: ActingAs = None,
    allowed_signers: AllowedSigners = None,
    db: Database = None,
) -> None:
    """Call one of the agents' tools, as the MCP server does; the answer is JSON.

    Example: nexus-control call nexus-control.template.list --arguments '{"limit": 5}'
    """
    frame = frame_of(context, db, True, allowed_signers)

    def run() -> Called:
        found = tool_named(tool)
        if found is None:
            raise invalid_argument("TOOL", "is not one of the agents' tools")
        values = parse_json_object(arguments)
        with (
            frame.store(makes=found.name in _MAKING) as store,
            output_is_ours(),
            opened_router(database=frame.path, config=config, factory=router) as opened,
            interruptible(),
        ):
            outcome = call_tool(
                found,
                ToolContext(
                    store=store,
                    actor=identity(acting_as)[0],
                    database=frame.path,
                    artifacts=Path(f"{frame.path}.artifacts"),
                    router=opened,
                    config=config,
                ),
                values,
            )
        return found, outcome

    ended = fault_of(run)
    if isinstance(ended, NexusControlError):
        raise refuse(frame, ended)
    with printing(_called(*ended)):
        print_json(ended[1].content)
    raise typer.Exit(REFUSED if ended[1].is_error else 0)


def _called(tool: Tool, outcome: CallResult) -> str | None:
    """What a call did, or how it failed."""
    content = outcome.content
    if outcome.is_error:
        return f"{content['code']}: {content['message']}".rstrip(".")
    return None if tool.annotations.read_only else content["summary"].rstrip(".")


def serve(
    context: typer.Context,
    actor: Annotated[
        str | None,
        typer.Option(metavar="TYPE:ID", help="Whom the server acts for. Default: system:agent@HOST."),
    ] = None,
    approver: Annotated[
        str | None,
        typer.Option(metavar="TYPE:ID", help="Whom the host's forms ask. Default: your login here."),
    ] = None,
    approvals: Annotated[
        str,
        typer.Option(help="human: nobody approves on a model's word; declared: trust it; off: no approving."),
    ] = "human",
    tool_names: Annotated[
        str, typer.Option(help="dotted, or underscore for hosts that refuse dots.")
    ] = "dotted",
    artifacts: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where large artifacts go. Default: DB.artifacts.")
    ] = None,
    config: Config = None,
    router: Router = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Offer only what reads.")] = False,
    allowed_signers: AllowedSigners = None,
    db: Database = None,
) -> None:
    """Serve the 11 tools to an agent host: MCP over standard input and output.

    Example: nexus-control serve --db /srv/decisions.db --config /srv/nexus-control.toml
    """
    frame = frame_of(context, db, False, allowed_signers)

    def run() -> None:
        # Imported here: the protocol's library alone takes longer to load than any other command runs.
        from nexus_control.server.starting import start

        pipes = start()
        from nexus_control.server.protocol import serve_stdio
        from nexus_control.server.settings import Settings

        frame.look_at_signers()
        frame.require_place(makes=True)  # with --read-only the server itself refuses where there is none
        settings = Settings(
            database=frame.path,
            actor=_server_actor(actor),
            approver=identity(approver, option="--approver")[0],
            approvals=cast("Approvals", _one_of("--approvals", approvals, ("human", "declared", "off"))),
            name_style=cast("NameStyle", _one_of("--tool-names", tool_names, ("dotted", "underscore"))),
            artifacts=artifacts,
            config=config,
            router=router,
            read_only=read_only,
            allowed_signers=frame.allowed_signers,
        )
        serve_stdio(settings, pipes)

    ended: Any = fault_of(run)
    if isinstance(ended, NexusControlError):
        refuse(frame, ended)
        raise typer.Exit(USAGE)


def _server_actor(given: str | None) -> Actor:
    if given is None:
        return Actor(type="system", id=f"agent@{os.uname().nodename}")
    return identity(given, option="--actor")[0]


def _one_of(option: str, value: str, options: tuple[str, ...]) -> str:
    if value not in options:
        raise invalid_argument(option, f"must be one of {', '.join(options)}")
    return value
