"""What the methods of the facade share: arguments are checked at the door, and then handed to one use case."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeAlias

from nexus_control.errors import invalid_argument
from nexus_control.store import DecisionStore
from nexus_control.values.payloads import POLICY_FIELDS

Values: TypeAlias = dict[str, Any]
UseCase: TypeAlias = Callable[[DecisionStore, Any], Values]


def load_door() -> ModuleType:
    """The models of arguments. They are loaded with the first NexusControlTools, since pydantic alone costs more than
    the library; and not at its first call, since a fork while another thread imports leaves the child waiting for ever.
    """
    from nexus_control.usecases import arguments

    return arguments


def checked(model: str, values: Mapping[str, object]) -> Any:
    """The values as the named model of the door. Raises INVALID_ARGUMENT."""
    door = load_door()
    return door.validated(getattr(door, model), values)


def with_signature(use_case: Callable[..., Values], statement: str | None, signature: str | None) -> UseCase:
    """The use case, for a verdict that is signed when both are given."""

    def decide(store: DecisionStore, arguments: Any) -> Values:
        if statement is None and signature is None:
            return use_case(store, arguments)
        both = {"statement": statement, "signature": signature}
        given = checked("SignatureArguments", {name: text for name, text in both.items() if text is not None})
        return use_case(store, arguments, signed=given.signed())

    return decide


def with_overrides(values: Values, overrides: Mapping[str, object]) -> Values:
    """`override_<field>` as `<field>`; a keyword that is neither is left for the door to refuse."""
    merged = dict(values)
    for keyword, value in overrides.items():
        field = keyword.removeprefix("override_")
        if field == keyword or field not in POLICY_FIELDS:
            merged[keyword] = value
        elif value is not None:
            if merged[field] is not None:
                raise invalid_argument(keyword, f"and {field} are the same argument: give one of them")
            merged[field] = value
    return merged
