"""Use cases. Each takes a store and checked arguments, and loads, checks and appends in one write transaction.

A module of them is loaded when it is first used (PEP 562). So `NexusControlTools` loads what it is asked for: a list
needs neither pydantic nor cryptography.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexus_control.usecases import (
        agreement,
        allowing,
        answers,
        arguments,
        authority,
        binding,
        cancelling,
        cancels,
        checks,
        claiming,
        deciding,
        describing,
        dispatching,
        executing,
        exporting,
        fields,
        following,
        inbox_settings,
        list_arguments,
        listing,
        obstacles,
        recording,
        requesting,
        resulting,
        run_answers,
        settling,
        signing,
        templating,
        views,
        working,
    )

__all__ = [
    "agreement",
    "allowing",
    "answers",
    "arguments",
    "authority",
    "binding",
    "cancelling",
    "cancels",
    "checks",
    "claiming",
    "deciding",
    "describing",
    "dispatching",
    "executing",
    "exporting",
    "fields",
    "following",
    "inbox_settings",
    "list_arguments",
    "listing",
    "obstacles",
    "recording",
    "requesting",
    "resulting",
    "run_answers",
    "settling",
    "signing",
    "templating",
    "views",
    "working",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
