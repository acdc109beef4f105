"""The settings of a server, and the context for its tools that they open."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nexus_control.configuration import Source
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.opening import opened_router
from nexus_control.server.running import tell
from nexus_control.storage import IN_MEMORY, artifacts_of, is_made, shown_url
from nexus_control.store import DecisionStore
from nexus_control.toolset.asking import SILENCE_SECONDS
from nexus_control.toolset.table import TOOLS
from nexus_control.toolset.tool import PREFIX, Approvals, NameStyle, Tool, ToolContext
from nexus_control.usecases.arguments import RecoverArguments
from nexus_control.usecases.settling import recover
from nexus_control.usecases.signing import allowed_signers_of
from nexus_control.values.actors import Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of `nexus-control serve`.

    The client's forms ask the person `approver`; a form without an answer is closed after `silence_seconds`.
    `artifacts` defaults to `<database>.artifacts`, beside the database, or in the log folder of a store on PostgreSQL.
    Give `config` (a nexus-control.toml, or what
    was read of one, for LocalRouter) or `router` (`package.module:factory`), not both. With `read_only` no run log is
    opened. `allowed_signers` says whose signed approvals count, and `passkey_origins` on which pages
    passkeys may sign them.
    """

    database: str
    log_folder: Path | None = None
    actor: Actor
    approver: Actor | None = None
    approvals: Approvals = "human"
    silence_seconds: float = SILENCE_SECONDS
    name_style: NameStyle = "dotted"
    artifacts: Path | None = None
    config: Path | Source | None = None
    router: str | None = None
    read_only: bool = False
    allowed_signers: Path | None = None
    passkey_origins: tuple[str, ...] = ()


@contextmanager
def open_context(settings: Settings) -> Generator[ToolContext]:
    """The context that these settings describe, with its store open. Executions that were abandoned on this host are
    given up first: their outcome becomes unknown.
    """
    if settings.read_only and not is_made(settings.database):
        raise NexusControlError(
            ErrorCode.CONFIG_INVALID,
            f"--read-only needs a database that exists; {shown_url(settings.database)} does not",
        )
    with (
        opened_router(
            database=IN_MEMORY
            if settings.read_only
            else settings.database,  # what only reads keeps no run log
            log_folder=settings.log_folder,
            config=settings.config,
            factory=settings.router,
            on_step=tell,
        ) as router,
        DecisionStore(
            settings.database,
            allowed_signers=settings.allowed_signers,
            passkey_origins=settings.passkey_origins,
            log_folder=settings.log_folder,
        ) as store,
    ):
        if settings.allowed_signers is not None:
            allowed_signers_of(store)  # a bad file is refused now rather than at the first execution
        if not settings.read_only:
            recover(store, RecoverArguments())
        yield ToolContext(
            store=store,
            actor=settings.actor,
            database=settings.database,
            artifacts=settings.artifacts or artifacts_of(settings.database, settings.log_folder),
            approvals=settings.approvals,
            approver=settings.approver,
            router=router,
            config=settings.config.path if isinstance(settings.config, Source) else settings.config,
            name_style=settings.name_style,
            read_only=settings.read_only,
        )


def offered(settings: Settings) -> tuple[Tool, ...]:
    """The tools that these settings offer."""
    return tuple(
        tool
        for tool in TOOLS
        if (not settings.read_only or tool.annotations.read_only)
        and (settings.approvals != "off" or tool.name != f"{PREFIX}approve")
    )
