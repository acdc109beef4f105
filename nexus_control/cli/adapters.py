"""The configured adapters: from the file of `--config`, otherwise from the nexus-control.toml in this folder."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from nexus_control.cli.screen import Mark, Screen
from nexus_control.errors import NexusControlError
from nexus_control.execution.config import load_adapters
from nexus_control.execution.opening import opened_router
from nexus_control.execution.router import RouterProtocol
from nexus_control.storage import IN_MEMORY
from nexus_control.system.whole_files import is_regular

DEFAULT_CONFIG = Path("nexus-control.toml")


def config_or_default(given: Path | None) -> Path | None:
    """The file that declares the adapters: the given one, or the one in this folder, or None."""
    return given or (DEFAULT_CONFIG if is_regular(DEFAULT_CONFIG) else None)


@contextmanager
def adapters_at_hand(config: Path | None) -> Generator[RouterProtocol | None]:
    """The adapters, to describe a request with. A broken file in this folder is only noted on standard error."""
    found = config_or_default(config)
    if config is None and found is not None:
        try:
            load_adapters(found)
        except NexusControlError as fault:
            Screen(sys.stderr).prose(f"{found} is not used: {fault.message}", Mark("Note:", "stopped"))
            found = None
    with opened_router(database=IN_MEMORY, config=found, factory=None) as router:
        yield router
