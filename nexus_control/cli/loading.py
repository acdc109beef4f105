"""Loads modules by their names, where importing them at the top would be too early.

The command line loads the module of the one command that was called, so that `--help` does not wait for all of them.
Ctrl-C while a module loads ends the process at once and without a traceback.
"""

from importlib import import_module
from types import ModuleType

from nexus_control.system.signals import ended_by_interrupt


def load(module: str) -> ModuleType:
    """The module of this name: `load("nexus_control.cli.log")`."""
    with ended_by_interrupt():
        return import_module(module)
