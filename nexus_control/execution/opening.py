"""Opens the router that somebody configured: adapters in a TOML file, or a factory by its name."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.config import load_adapters
from nexus_control.execution.local_router import LocalRouter, StepProgress
from nexus_control.execution.router import RouterProtocol
from nexus_control.storage import IN_MEMORY, IN_PLAIN_MEMORY, place_of


@contextmanager
def opened_router(
    *,
    database: str,
    config: Path | None,
    factory: str | None,
    on_step: Callable[[StepProgress], None] | None = None,
) -> Generator[RouterProtocol | None]:
    """A LocalRouter over `config`, its run log beside the database, `<database>.runs`; or what `package.module:factory`
    makes, called without arguments; or None. Raises CONFIG_INVALID. What is made here is closed here.
    """
    if config is not None and factory is not None:
        raise _invalid("give --config or --router, not both")
    if config is not None:
        place = place_of(database)
        runs = IN_MEMORY if place in (IN_MEMORY, IN_PLAIN_MEMORY) else f"{place}.runs"
        with LocalRouter(load_adapters(config), runs, on_step=on_step) as router:
            yield router
    else:
        yield None if factory is None else _made(factory)


def _made(name: str) -> RouterProtocol:
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise _invalid("--router must be package.module:factory")
    try:
        router = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise _invalid(f"--router {name}: {error}") from error
    for method in ("run", "get_adapter_capabilities"):
        if not callable(getattr(router, method, None)):
            raise _invalid(f"--router {name} made no router: it has no method {method}")
    return router


def _invalid(problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.CONFIG_INVALID, problem)
