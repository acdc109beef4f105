"""Opens the router that was configured: adapters in a TOML file, or a factory by its name."""

import os
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from nexus_control.configuration import Source, named_source
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.config import adapters_of
from nexus_control.execution.local_router import LocalRouter, StepProgress
from nexus_control.execution.router import RouterProtocol
from nexus_control.storage import IN_MEMORY, place_of

_METHODS = ("run", "get_adapter_capabilities")


@contextmanager
def opened_router(
    *,
    database: str,
    config: Path | Source | None,
    factory: str | None,
    on_step: Callable[[StepProgress], None] | None = None,
) -> Generator[RouterProtocol | None]:
    """With `config`, a file or what was read of one, a LocalRouter whose run log is `<database>.runs`, beside the
    database. With a factory (`package.module:factory`), the router that it makes when called without arguments.
    Otherwise None. The router is closed at the end of the block. Raises CONFIG_INVALID, also for any exception of a
    factory.
    """
    if config is not None and factory is not None:
        raise _invalid("give --config or --router, not both")
    if config is not None:
        place = place_of(database)
        runs = IN_MEMORY if place == IN_MEMORY else f"{place}.runs"
        source = config if isinstance(config, Source) else named_source(config)
        with LocalRouter(adapters_of(source), runs, on_step=on_step) as router:
            yield router
    else:
        yield None if factory is None else _made(factory)


def _made(name: str) -> RouterProtocol:
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise _invalid("--router must be package.module:factory")
    process = os.getpid()
    try:
        router = getattr(import_module(module), attribute)()
        missing = [each for each in _METHODS if not callable(getattr(router, each, None))]
    except (Exception, SystemExit) as error:
        raise _invalid(f"--router {name}: {traceback.format_exception_only(error)[-1].strip()}") from error
    finally:
        if (
            os.getpid() != process
        ):  # a child that the factory forked must not go on as a second process of ours
            os._exit(1)
    if missing:
        raise _invalid(f"--router {name} did not make a router: it has no method {missing[0]}")
    return router


def _invalid(problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.CONFIG_INVALID, problem)
