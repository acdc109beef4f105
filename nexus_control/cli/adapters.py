"""The configured adapters: those of the file that an option names, else of the first file that declares some."""

import sys
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from nexus_control.cli.screen import Mark, Screen
from nexus_control.cli.settings import Settings, note, note_unsafe
from nexus_control.configuration import ADAPTERS, FILE_NAME, Source, look, named_source
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.execution.config import adapters_of
from nexus_control.execution.opening import opened_router
from nexus_control.execution.router import PlanChecker, RouterProtocol
from nexus_control.render.guarded import how_to_go_on, who_runs
from nexus_control.storage import IN_MEMORY
from nexus_control.store import DecisionStore
from nexus_control.values.guarded import is_guarded


def config_or_default(
    given: Path | None, settings: Settings | None = None, *, project: bool = True
) -> Source | None:
    """The file that declares the adapters, read: the given one, or one that is found, or None. A file that others may
    write is noted on standard error, and passed over. Without `project` no project's file is looked for. With the
    command's settings the files are read only once.
    """
    if given is not None:
        return named_source(given)
    configuration = look(project=project) if settings is None else settings.configuration
    for source in configuration.sources:
        note_unsafe(source)
    return configuration.adapters()


def config_to_execute(given: Path | None, settings: Settings | None = None) -> Source | None:
    """As `config_or_default`. A project's file, and what it declares in place of the user's or the system's file, is
    noted on standard error: it may have come with a cloned repository.
    """
    found = config_or_default(given, settings)
    if found is not None and found.kind == "project":
        note(f"Adapters of {found.path}, a project's file.")
        for adapter_id, other in _shadowed(found).items():
            note(f"{found.path} declares {adapter_id} in place of {other}.")
    return found


def refuse_shadowing(
    store: DecisionStore, request_id: str, adapter_id: str, found: Source | Path | None
) -> None:
    """Refuse to let a project's file choose what an adapter of the user's or the system's file runs, where the request
    does not bind the adapter's digest. Raises INVALID_ARGUMENT.
    """
    if not isinstance(found, Source) or is_bound(store, request_id):
        return
    if (other := _shadowed(found).get(adapter_id)) is None:
        return
    problem = (
        f"is needed: {found.path}, a project's file, declares {adapter_id} in place of {other},"
        " and the request is not bound to what was approved. Name the file that you mean"
    )
    raise invalid_argument("--adapters-from", problem)


def adapter_of(store: DecisionStore, request_id: str) -> str | None:
    """The adapter that the request names."""
    attached = store.load(request_id).facts.attached
    return attached and attached.adapter_id


def require_for_a_router(request_id: str, adapter_id: str | None) -> None:
    """Returns if a router may execute this. Raises ADAPTER_UNKNOWN for a guarded call, which its caller runs."""
    if adapter_id is not None and is_guarded(adapter_id):
        raise NexusControlError(
            ErrorCode.ADAPTER_UNKNOWN,
            f"{adapter_id} is nothing that this command executes. {who_runs(adapter_id)}",
            {"request_id": request_id, "adapter_id": adapter_id},
            how_to_go_on(adapter_id),
        )


def is_bound(store: DecisionStore, request_id: str) -> bool:
    """Whether the request has its adapter's digest, which says what runs, whichever file declares the adapter."""
    attached = store.load(request_id).facts.attached
    return attached is not None and attached.adapter_digest is not None


def _shadowed(found: Source) -> dict[str, Path]:
    """The adapters of a project's file that a file of the user or the system declares too, each with that file."""
    if found.kind != "project":
        return {}
    others = reversed(look(project=False).sources)
    theirs = {each: other.path for other in others for each in _ids(other)}
    return {each: theirs[each] for each in _ids(found) if each in theirs}


def _ids(source: Source) -> Collection[str]:
    """The ids of what a file declares; a table without a kind, which is refused elsewhere, counts as a program."""
    declared = source.table.get(ADAPTERS)
    tables: Mapping[str, object] = (
        cast("Mapping[str, object]", declared) if isinstance(declared, dict) else {}
    )
    return [
        f"{cast('Mapping[str, object]', table).get('kind', 'subprocess')}:{name}"
        for name, table in tables.items()
        if isinstance(table, dict)
    ]


def readable(config: Source | None) -> Source | None:
    """The adapters' file, if it can be read. A broken file is left out of printed commands, which would fail."""
    try:
        if config is not None:
            adapters_of(config)
    except NexusControlError:
        return None
    return config


def named_in_commands(given: Path | None, settings: Settings | None = None) -> Path | None:
    """The file that printed commands name for its adapters, so that they work from any folder: the given one, or one
    that is found and can be read. Raises CONFIG_INVALID where the given one cannot be read.
    """
    found = config_or_default(given, settings)
    if given is None:
        found = readable(found)
    elif found is not None:
        adapters_of(found)
    return found and found.path


def takers(
    router: PlanChecker, config: Source, plan: str | None, max_steps: int | None
) -> tuple[list[str], list[NexusControlError]]:
    """The adapters of this file that take the plan, and the refusals, PLAN_INVALID, of the others. A request that
    names no adapter is bound to the only taker, and executed by it if it was bound to none.
    """
    refusals: list[NexusControlError] = []
    found: list[str] = []
    for each in adapters_of(config).ids():
        try:
            router.check_plan(each, plan, max_steps)
            found.append(each)
        except NexusControlError as refusal:
            if refusal.code is not ErrorCode.PLAN_INVALID:
                raise
            refusals.append(refusal)
    return found, refusals


def no_adapters() -> NexusControlError:
    """ROUTER_NOT_CONFIGURED, which says where a file with adapters was looked for."""
    sources = look().sources
    looked = [f"{each.path} {_lack(each)}" for each in sources]
    if not any(each.kind == "project" for each in sources):
        looked = [f"there is no {FILE_NAME} in this folder or above", *looked]
    return NexusControlError(
        ErrorCode.ROUTER_NOT_CONFIGURED,
        f"No adapters are declared: {'; '.join(looked)}",
        advice="Declare adapters in one of these files, or name the file with --config, then run the command again.",
    )


@contextmanager
def adapters_at_hand(config: Path | None) -> Generator[RouterProtocol | None]:
    """The adapters, to describe a request with. A broken file that was found is only noted on standard error."""
    found = config_or_default(config)
    if config is None and found is not None:
        try:
            adapters_of(found)
        except NexusControlError as fault:
            Screen(sys.stderr).prose(f"{fault.message}. This file is not used.", Mark("Note:", "stopped"))
            found = None
    with opened_router(database=IN_MEMORY, config=found, factory=None) as router:
        yield router


def _lack(source: Source) -> str:
    if not source.is_there:
        return "is not there"
    return f"is not used, because {source.unsafe}" if source.unsafe else "declares none"
