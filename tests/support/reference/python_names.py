"""The public names: signatures, docstrings, methods, and the keys of what is answered.

Signatures are written from the annotations, not by `repr`, so that every Python spells them alike.
"""

import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, cast

import nexus_control
from nexus_control import guards
from nexus_control.execution import contract
from nexus_control.rules import read_rules
from tests.support.reference.markdown import code, table

_GUARDS = (
    "Guard", "ToolCall", "Allowed", "Pending", "Denied", "NotRunError", "governed", "Proposal", "AsyncProposal"
)  # fmt: skip
_WIDTH = 100
_TOLD_BY_US = "nexus_control"


def public_names() -> str:
    return "\n\n".join(_section(name, getattr(nexus_control, name)) for name in sorted(nexus_control.__all__))


def guard_names() -> str:
    """What `nexus_control.guards` exports for programs, and how they read a rule book."""
    values = [getattr(guards, name) for name in _GUARDS]
    named = zip((*_GUARDS, "read_rules"), (*values, read_rules), strict=True)
    return "\n\n".join(_section(name, value) for name, value in named)


def contract_names() -> str:
    """What `nexus_control.execution.contract` exports, and every promise as the sentence that its name is."""
    names = [_section(name, getattr(contract, name)) for name in ("Trial", "check_router", "Verdict")]
    sentences = "\n".join(f"- {code(promise.__name__)}" for promise in contract.PROMISES)
    return "\n\n".join([*names, "### PROMISES", sentences])


def _section(name: str, value: object) -> str:
    parts = [f"### {name}"]
    if isinstance(value, type):
        parts += _class(cast("type[Any]", value))
    elif callable(value):
        parts += [_block(_signature(name, value)), _doc(value), *_keys(value)]
    else:
        parts.append(f"`{name} = {_literal(value)}`")
    return "\n\n".join(part for part in parts if part)


def _class(value: type[Any]) -> Iterator[str]:
    if issubclass(value, enum.Enum):
        yield _doc(value)
        yield f"Members: {', '.join(code(name) for name in value.__members__)}."
        return
    if getattr(value, "_is_protocol", False) or value.__init__ is object.__init__:
        yield _doc(value)
    else:
        yield _block(_signature(value.__name__, value))
        yield _doc(value)
    for name, member in _members(value):
        yield from _method(f"{value.__name__}.{name}", member)


def _method(name: str, member: Any) -> Iterator[str]:
    if isinstance(member, property):
        function = cast("Callable[..., object]", member.fget)
        yield f"#### {name}\n\n{_block(f'{name}: {type_text(_hints(function).returns)}')}"
    else:
        function = cast("Callable[..., object]", getattr(member, "__func__", member))
        yield f"#### {name}\n\n{_block(_signature(name, function, bound=not isinstance(member, staticmethod)))}"
    yield _doc(function)
    yield from _keys(function)


def _members(value: type[Any]) -> Iterator[tuple[str, object]]:
    """The public methods and properties of a class and of its bases here, each once, in the order of the code."""
    seen: set[str] = set()
    for each in value.__mro__:
        if each.__module__.partition(".")[0] != _TOLD_BY_US:
            continue
        for name, member in vars(each).items():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            if isinstance(member, types.FunctionType | classmethod | staticmethod | property):
                yield name, cast("object", member)


class _Hints:
    """What a signature says, names evaluated where the module has them."""

    def __init__(self, function: Callable[..., object]) -> None:
        try:
            self.signature = inspect.signature(function, eval_str=True)
        except NameError:  # a name that only type checkers import
            self.signature = inspect.signature(function)
        self.returns: object = self.signature.return_annotation


def _hints(function: Callable[..., object]) -> _Hints:
    return _Hints(function)


def _signature(name: str, function: Callable[..., object], bound: bool = False) -> str:
    hints = _hints(function)
    given = list(hints.signature.parameters.values())[1 if bound else 0 :]
    words: list[str] = []
    starred = False  # whether what follows is by keyword only
    for parameter in given:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            words.append("*")
        starred = starred or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        words.append(_parameter(parameter))
    returns = (
        "" if inspect.isclass(function) or hints.returns in _NOTHING else f" -> {type_text(hints.returns)}"
    )
    line = f"{name}({', '.join(words)}){returns}"
    if len(line) <= _WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {word},\n" for word in words) + f"){returns}"


_NOTHING: tuple[object, ...] = (inspect.Signature.empty,)


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    annotation = "" if parameter.annotation in _NOTHING else f": {type_text(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return f"{stars}{parameter.name}{annotation}"
    return f"{parameter.name}{annotation}{' = ' if annotation else '='}{_literal(parameter.default)}"


def _literal(value: object) -> str:
    """A default, where it can be written in a line; `...` for what is made."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if value is None or isinstance(value, bool | int | float | str):
        return f'"{value}"' if isinstance(value, str) else repr(value)
    if isinstance(value, tuple):
        items = [_literal(each) for each in cast("tuple[object, ...]", value)]
        return f"({', '.join(items)}{',' * (len(items) == 1)})"
    return "..."


def type_text(annotation: Any) -> str:
    """An annotation with the short names of its classes: `Actor | Mapping[str, str]`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, str):
        return annotation
    if annotation is None or annotation is types.NoneType:
        return "None"
    if annotation is Ellipsis:
        return "..."
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_text(each) for each in arguments)
    if origin is typing.Literal:
        return f"Literal[{', '.join(_literal(each) for each in arguments)}]"
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if isinstance(annotation, list):  # the arguments of a Callable
        return f"[{', '.join(type_text(each) for each in cast('list[object]', annotation))}]"
    if origin is not None:
        return f"{type_text(origin)}[{', '.join(type_text(each) for each in arguments)}]"
    return str(getattr(annotation, "__name__", annotation))


def _keys(function: Callable[..., object]) -> Iterator[str]:
    """The keys of the data that a method answers, where a `TypedDict` says them."""
    for each in typing.get_args(_hints(function).returns):
        if hasattr(each, "__required_keys__"):
            yield f"Keys of {code('data')}:"
            yield table(
                ["key", "type"],
                [
                    (
                        code(key),
                        code(type_text(hint)) + (", may be missing" * (key in each.__optional_keys__)),
                    )
                    for key, hint in typing.get_type_hints(each).items()
                ],
            )


def _block(text: str) -> str:
    return f"```pyi\n{text}\n```"


def _doc(value: object) -> str:
    """The docstring; none where Python made it up from the fields."""
    said = inspect.getdoc(value) or ""
    if isinstance(value, type) and ("__doc__" not in vars(value) or said.startswith(f"{value.__name__}(")):
        return ""
    return _indented(said)


def _indented(said: str) -> str:
    """Examples at the margin as code: Markdown takes a line that begins with `>` for a quotation."""
    lines, is_example = list[str](), False
    for line in said.splitlines():
        is_example = line.startswith(">>>") or (is_example and line != "")
        lines.append(f"    {line}" if is_example else line)
    return "\n".join(lines)
