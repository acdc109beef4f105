"""Whether the secrets of a declared adapter can be read here, by the user who looks.

No value is shown. A secret that a command prints is not looked at: the command belongs to executions.
"""

from typing import TypedDict

from nexus_control.errors import NexusControlError
from nexus_control.execution.adapter import Adapter
from nexus_control.execution.revealing import revealing
from nexus_control.execution.secrets import SecretSource, SecretTaker


class SecretHere(TypedDict):
    secret: str
    readable: bool | None
    """None for one that was not looked at."""
    why: str | None


def secrets_here(declared: Adapter) -> list[SecretHere]:
    """Each secret that the adapter may need."""
    if not isinstance(declared, SecretTaker):
        return []
    return [_here(name, source) for name, source in sorted(declared.secrets.items())]


def secrets_in_words(found: list[SecretHere]) -> list[str]:
    """What is said of the secrets that can be read, or were not looked at."""
    readable = ", ".join(each["secret"] for each in found if each["readable"])
    not_looked_at = ", ".join(each["secret"] for each in found if each["readable"] is None)
    lines = [f"secrets that can be read here: {readable}."] if readable else []
    if not_looked_at:
        lines.append(f"secrets that a command prints, which was not run: {not_looked_at}.")
    return lines


def _here(name: str, source: SecretSource) -> SecretHere:
    if source.command is not None:
        return {"secret": name, "readable": None, "why": "a command prints it, which was not run"}
    try:
        with revealing({name: source}):
            return {"secret": name, "readable": True, "why": None}
    except NexusControlError as fault:
        return {"secret": name, "readable": False, "why": fault.message}
