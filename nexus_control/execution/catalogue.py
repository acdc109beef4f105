"""What a plan may call here: the adapters of a router, their methods, and the arguments of each.

It is read from the adapters' declarations, so it names exactly what `check_plan` accepts.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, cast, runtime_checkable

from typing_extensions import TypedDict

from nexus_control.execution.adapter import Adapter, Adapters, MethodLister, adapter_id
from nexus_control.execution.argv_template import ArgvTemplate


class AdapterData(TypedDict):
    """An adapter as JSON. `methods` maps each method to its arguments; it is None where only the program knows them."""

    adapter_id: str
    tool: str
    capabilities: list[str]
    methods: dict[str, list[str]] | None


@runtime_checkable
class AdapterLister(Protocol):
    """A router that can list its adapters."""

    @property
    def adapters(self) -> Adapters:
        """The adapters, by id.

        >>> router.adapters.ids()
        ('python:keys',)
        """
        ...


def catalogue(router: object) -> list[AdapterData] | None:
    """The adapters of a router, sorted by id; None for a router that cannot list them.

    >>> catalogue(router)[0]["methods"]
    {'rotate': ['service']}
    """
    if not isinstance(router, AdapterLister):
        return None
    return sorted((adapter_data(each) for each in router.adapters), key=lambda each: each["adapter_id"])


def adapter_data(adapter: Adapter) -> AdapterData:
    """One adapter as JSON.

    >>> adapter_data(adapter)["methods"]
    {'rotate': ['service']}
    """
    return {
        "adapter_id": adapter_id(adapter),
        "tool": adapter.name,
        "capabilities": sorted(adapter.capabilities),
        "methods": adapter.methods()
        if isinstance(adapter, MethodLister)
        else _methods(adapter.declaration()),
    }


def example_step(adapter: AdapterData) -> dict[str, Any]:
    """A step of a plan that this adapter would take, with "..." for each value.

    >>> example_step(adapter_data(adapter))["call"]
    {'tool': 'keys', 'method': 'rotate', 'args': {'service': '...'}}
    """
    method, arguments = next(iter((adapter["methods"] or {}).items()), ("...", cast("list[str]", [])))
    call = {"tool": adapter["tool"], "method": method, "args": dict.fromkeys(arguments, "...")}
    return {"step_id": "1", "intent": "what this step is for", "call": call}


def _methods(declaration: Mapping[str, Any]) -> dict[str, list[str]] | None:
    if "methods" in declaration:  # of Python functions
        return {name: list(each["parameters"]) for name, each in declaration["methods"].items()}
    if "tools" in declaration:  # of argument vectors
        return {name: _placeholders(each["argv"]) for name, each in declaration["tools"].items()}
    return None


def _placeholders(argv: Iterable[str]) -> list[str]:
    """The placeholders in the order in which they stand."""
    words = ArgvTemplate.of(tuple(argv)).parsed
    return list(dict.fromkeys(name for word in words for _, name in word.parts if name is not None))
