"""The configured adapters: those of the file that an option names, else of the first file that declares some."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from nexus_control.cli.screen import Mark, Screen
from nexus_control.cli.settings import note_unsafe
from nexus_control.configuration import FILE_NAME, Source, look
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.config import load_adapters
from nexus_control.execution.opening import opened_router
from nexus_control.execution.router import PlanChecker, RouterProtocol
from nexus_control.storage import IN_MEMORY


def config_or_default(given: Path | None) -> Path | None:
    """The file that declares the adapters: the given one, or one that is found, or None. A file that others may write
    is noted on standard error, and passed over.
    """
    if given is not None:
        return given
    configuration = look()
    for source in configuration.sources:
        note_unsafe(source)
    declaring = configuration.adapters()
    return None if declaring is None else declaring.path


def readable(config: Path | None) -> Path | None:
    """The adapters' file, if it can be read. A broken file is left out of printed commands, which would fail."""
    try:
        if config is not None:
            load_adapters(config)
    except NexusControlError:
        return None
    return config


def takers(
    router: PlanChecker, config: Path, plan: str | None, max_steps: int | None
) -> tuple[list[str], list[NexusControlError]]:
    """The adapters of this file that take the plan, and the refusals, PLAN_INVALID, of the others. A request that
    names no adapter is bound to the only taker, and executed by it if it was bound to none.
    """
    refusals: list[NexusControlError] = []
    found: list[str] = []
    for each in load_adapters(config).ids():
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
        advice="Declare adapters in one of these files, or name the file with --config, then execute again.",
    )


@contextmanager
def adapters_at_hand(config: Path | None) -> Generator[RouterProtocol | None]:
    """The adapters, to describe a request with. A broken file that was found is only noted on standard error."""
    found = config_or_default(config)
    if config is None and found is not None:
        try:
            load_adapters(found)
        except NexusControlError as fault:
            Screen(sys.stderr).prose(f"{fault.message}. This file is not used.", Mark("Note:", "stopped"))
            found = None
    with opened_router(database=IN_MEMORY, config=found, factory=None) as router:
        yield router


def _lack(source: Source) -> str:
    if not source.is_there:
        return "is not there"
    return f"is not used, because {source.unsafe}" if source.unsafe else "declares none"
