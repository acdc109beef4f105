"""Loads modules by their names, where importing them at the top would be too early.

The command line loads the module of the one command that was called, so that `--help` does not wait for all of them.
Ctrl-C while a module loads ends the process at once and without a traceback.
The collector of cycles rests meanwhile, and afterwards leaves alone all that is there then: nearly all of it are
modules and classes, which live as long as the process. Looking through them again and again was a quarter of what the
start of the server cost. What was garbage then is kept, too, which is less than half a megabyte.
"""

import gc
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from nexus_control.system.signals import ended_by_interrupt


def load(module: str) -> ModuleType:
    """The module of this name: `load("nexus_control.cli.log")`."""
    with ended_by_interrupt(), _collector_at_rest():
        return import_module(module)


@contextmanager
def _collector_at_rest() -> Generator[None]:
    at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if at_work:
            gc.enable()
