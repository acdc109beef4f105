"""The command line, from the commands as they parse: names, arguments, options and their help."""

import re
from collections.abc import Iterator
from typing import Any

import typer

from nexus_control.cli.commands import loaded
from nexus_control.cli.main import PROGRAM, app
from tests.support.reference.markdown import code, one_line, table

_EXAMPLE = re.compile(r"\s*Examples?: (.*)", re.DOTALL)


def table_of_commands() -> str:
    return table(["command", "what it does"], [(_link(words), _says(each)) for words, each in _commands()])


def every_command() -> str:
    """A heading a command: what it does, how it is called, its own options."""
    return "\n\n".join(_section(words, command) for words, command in _commands())


def common_options() -> str:
    return _options(_root())


def _section(words: str, command: Any) -> str:
    arguments = "".join(f" {_argument(each)}" for each in command.params if _is_argument(each))
    own = [each for each in command.params if not _is_argument(each) and _spelling(each) not in _common()]
    parts = [f"### {words}", _says(command), f"Usage: {code(f'{PROGRAM} {words}{arguments} [OPTIONS]')}"]
    if example := _EXAMPLE.search(command.help or ""):
        parts.append(f"Example: {code(one_line(example[1]))}")
    named = [each for each in command.params if _is_argument(each) and each.help]
    if named or own:
        parts.append(_rows([*named, *own]))
    return "\n\n".join(parts)


def _options(command: Any) -> str:
    return _rows([each for each in command.params if not _is_argument(each)])


def _rows(parameters: list[Any]) -> str:
    return table(
        ["option", "meaning"],
        [
            (
                code(_argument(each) if _is_argument(each) else _spelling(each)),
                one_line(each.help or "") + _remarks(each),
            )
            for each in parameters
        ],
    )


def _remarks(parameter: Any) -> str:
    said = [f"Default: {code(parameter.default)}."] if _tells_default(parameter) else []
    said += [f"Variable: {code(parameter.envvar)}."] if parameter.envvar else []
    said += ["Required."] if parameter.required and not _is_argument(parameter) else []
    repeated = getattr(parameter, "multiple", False) and "may be repeated" not in (parameter.help or "")
    said += ["May be repeated."] if repeated else []
    return "".join(f" {each}" for each in said)


def _tells_default(parameter: Any) -> bool:
    told = parameter.default not in (None, False, True, "", ()) and not callable(parameter.default)
    return told and "Default:" not in (parameter.help or "")


def _spelling(option: Any) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {option.metavar or 'VALUE'}"


def _argument(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required else f"[{name}]"


def _is_argument(parameter: Any) -> bool:
    return not parameter.opts[0].startswith("-")


def _says(command: Any) -> str:
    """The help without its example."""
    return one_line(_EXAMPLE.sub("", command.help or ""))


def _link(words: str) -> str:
    return f"[{code(words)}](#{words.replace(' ', '-')})"


def _common() -> set[str]:
    return {_spelling(each) for each in _root().params}


def _root() -> Any:
    return typer.main.get_command(app)


def _commands() -> Iterator[tuple[str, Any]]:
    """Every command that the help lists, as the words that call it."""
    yield from _below(_root(), "", None)


def _below(group: Any, before: str, parent: Any) -> Iterator[tuple[str, Any]]:
    context = typer.Context(group, parent=parent)
    for name in group.list_commands(context):
        command = loaded(name) if parent is None else group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from _below(command, f"{before}{name} ", context)
        elif not command.hidden:
            yield f"{before}{name}", command
