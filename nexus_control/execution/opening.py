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
from nexus_control.storage import IN_MEMORY, base_of, is_postgres, place_of
from nexus_control.storage.log_folder import NAME_ONE, WITHOUT, sidecar_in

_METHODS = ("run", "get_adapter_capabilities")


@contextmanager
def opened_router(
    *,
    database: str,
    config: Path | Source | None,
    factory: str | None,
    log_folder: Path | None = None,
    on_step: Callable[[StepProgress], None] | None = None,
) -> Generator[RouterProtocol | None]:
    """With `config`, a file or what was read of one, a LocalRouter whose run log is `<database>.runs`, beside the
    database, or in the log folder of a store on PostgreSQL. Without such a folder that router executes nothing:
    ROUTER_NOT_READY. With a factory (`package.module:factory`), the router that it makes when called without arguments.
    Otherwise None. The router is closed at the end of the block. Raises CONFIG_INVALID, also for any exception of a
    factory.
    """
    if config is not None and factory is not None:
        raise _invalid("give --config or --router, not both")
    if config is not None:
        place = place_of(database)
        base = base_of(place, log_folder)
        runs = IN_MEMORY if base is None else f"{base}.runs"
        source = config if isinstance(config, Source) else named_source(config)
        if log_folder is not None and is_postgres(place):
            sidecar_in(log_folder)  # refuses one that others may write, and makes a new one
        router_class = _WithoutRunLog if base is None and is_postgres(place) else LocalRouter
        with router_class(adapters_of(source), runs, on_step=on_step) as router:
            yield router
    else:
        yield None if factory is None else _made(factory)


class _WithoutRunLog(LocalRouter):
    """Describes and checks, and refuses to execute: the run of a durable decision needs a durable run log."""

    def require_ready(self, adapter_id: str, dry_run: bool, plan: str | None) -> None:
        super().require_ready(adapter_id, dry_run, plan)
        raise NexusControlError(
            ErrorCode.ROUTER_NOT_READY, f"The run log has no place: {WITHOUT}", advice=NAME_ONE
        )


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
