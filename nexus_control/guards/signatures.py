"""The arguments of a function as JSON by name, and back by its annotations.

    signature = Signature(rotate)                        # def rotate(service: str, when: date = TODAY)
    signature.written(("billing",), {})                  # {"service": "billing", "when": "2026-11-27"}
    signature.bound({"service": "billing", "when": "2026-11-27"})    # what rotate is called with

* Every parameter is there, so that another process with other defaults is called with what people saw. `*args` are a
  list under their name, `**kwargs` an object under theirs.
* Nothing is coerced: "5" is not 5. A parameter without an annotation takes any JSON value.
* Arguments that do not come back from JSON as they were given are refused: people would agree on something else.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from nexus_control.canonical_json import parse_json
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument, invalid_arguments
from nexus_control.execution.spelling import described

_MOST_OF_A_PROBLEM = 400
_UNUSABLE = (NameError, AttributeError, TypeError, PydanticUserError)
"""What reading annotations raises: a name that is not there, or a type that pydantic cannot check."""


class Signature:
    """The parameters of a function, and what it returns. The annotations are read when they are first needed."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        self._signature = inspect.signature(function)

    def written(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """The arguments as JSON values by name, defaults too. Raises INVALID_ARGUMENT."""
        try:
            given = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise invalid_argument("arguments", f"do not fit {self._named}: {error}") from None
        given.apply_defaults()
        return {name: self._written(name, value) for name, value in given.arguments.items()}

    def bound(self, arguments: Mapping[str, object]) -> inspect.BoundArguments:
        """What the function is called with for these JSON values. Raises PLAN_INVALID."""
        problems = [
            {"field": name, "problem": problem}
            for names, problem in (
                (self._types.keys() - arguments.keys(), "is missing"),
                (arguments.keys() - self._types.keys(), "is not a parameter"),
            )
            for name in sorted(names)
        ]
        bound = inspect.BoundArguments(self._signature, cast("Any", {}))
        types: dict[str, TypeAdapter[Any]] = {} if problems else self._types
        for name, type_ in types.items():
            try:
                bound.arguments[name] = _from_json(type_, arguments[name])
            except ValidationError as error:
                problems += _problems(name, error)
            except Exception as error:  # noqa: BLE001 - runs the validators of foreign types
                problems.append({"field": name, "problem": _said(error)})
            else:
                if self._signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
                    bound.arguments[name] = tuple(bound.arguments[name])
        if problems:
            raise _other_function(self._named, problems)
        return bound

    def returned_as_json(self, value: object) -> object:
        """A returned value as JSON, by the return annotation. Raises whatever a foreign type raises."""
        return self._returned.dump_python(value, mode="json", by_alias=True, warnings="error")

    def returned(self, value: object) -> Any:
        """The value that the function had returned. Raises INVALID_STATE where it cannot be made again."""
        type_ = self._returned
        try:
            return type_.validate_json(json.dumps(value), strict=True)
        except Exception as error:  # noqa: BLE001 - runs the validators of foreign types
            raise NexusControlError(
                ErrorCode.INVALID_STATE,
                f"What {self._named} gave back does not fit its return annotation: {_said(error)}",
                {"output": value},
                "Read the recorded output in details.output.",
            ) from None

    # --- types -------------------------------------------------------------------------------------------------------

    @property
    def _named(self) -> str:
        return f"{self._function.__qualname__}()"

    @cached_property
    def _types(self) -> dict[str, TypeAdapter[Any]]:
        hints = self._hints
        return {
            name: self._type_of(name, _collected(parameter, hints.get(name, Any)))
            for name, parameter in self._signature.parameters.items()
        }

    @cached_property
    def _returned(self) -> TypeAdapter[Any]:
        return self._type_of("return", self._hints.get("return", Any))

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return get_type_hints(self._function, include_extras=True)
        except _UNUSABLE as error:
            why = f"has an annotation that cannot be read: {_said(error)}"
            raise invalid_argument(self._named, why) from None

    def _type_of(self, name: str, annotation: Any) -> TypeAdapter[Any]:
        try:
            return TypeAdapter(annotation)
        except _UNUSABLE as error:
            why = f"of {self._named} has a type that cannot be checked: {_said(error)}"
            raise invalid_argument(name, why) from None

    def _written(self, name: str, value: object) -> object:
        type_ = self._types[name]
        if self._signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
            value = list(cast("tuple[object, ...]", value))
        try:
            checked = type_.validate_python(value, strict=True)
            written = type_.dump_python(checked, mode="json", by_alias=True, warnings="error")
            again = _from_json(type_, written)
            # A field that is not compared, or not made again, shows only where it is written again.
            rewritten = type_.dump_python(again, mode="json", by_alias=True, warnings="error")
            is_same = type(again) is type(checked) and again == checked == value and rewritten == written
        except ValidationError as error:
            raise invalid_arguments(_problems(name, error)) from None
        except Exception as error:  # noqa: BLE001 - runs the code of foreign types
            raise invalid_argument(name, f"cannot be shown to people as JSON: {_said(error)}") from None
        if not is_same:
            why = f"comes back from JSON as another value ({type(again).__name__}): annotate it more exactly"
            raise invalid_argument(name, why)
        return written


def _collected(parameter: inspect.Parameter, annotation: Any) -> Any:
    """The type of all that a parameter takes."""
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return list[annotation]
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return dict[str, annotation]
    return annotation


def _from_json(type_: TypeAdapter[Any], value: object) -> Any:
    """The value of this type that the JSON value spells. Raises what pydantic raises, JSON_INVALID, and ValueError."""
    text = json.dumps(value, allow_nan=False)
    parse_json(text)  # as strictly as the plan will be read
    return type_.validate_json(text, strict=True)


def _problems(name: str, error: ValidationError) -> list[dict[str, str]]:
    """Each part that does not fit, by its place. The value, which may be a secret, is not repeated."""
    return [
        {
            "field": ".".join(map(str, (name, *each["loc"])))[:200],
            "problem": each["msg"].removeprefix("Input ")[:_MOST_OF_A_PROBLEM],
        }
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _said(error: BaseException) -> str:
    return " ".join(described(error, _MOST_OF_A_PROBLEM).split())


def _other_function(named: str, problems: list[dict[str, str]]) -> NexusControlError:
    said = "; ".join(f"{each['field']} {each['problem']}" for each in problems)
    return NexusControlError(
        ErrorCode.PLAN_INVALID,
        f"The approved arguments do not fit {named} as it is defined here: {said}",
        {"fields": problems},
        "Run it where the function is what it was when it was asked for, or propose it again; nothing was run.",
    )
