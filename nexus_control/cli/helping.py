"""The help of commands and groups: paragraphs that fill the terminal's width, and examples on one line, to be copied.

An example is the paragraph of a docstring that begins with `Example:`.
"""

from typing import Any

from typer.core import TyperCommand, TyperGroup

_EXAMPLE = "Example:"


class Command(TyperCommand):
    """A command whose help names its arguments without a type: all are texts."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        _write(self.help, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        rows: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for each in self.get_params(ctx):
            if (record := each.get_help_record(ctx)) is not None:
                is_option = each.opts[0].startswith("-")
                left = record[0] if is_option else record[0].partition(" <")[0]
                rows["Options" if is_option else "Arguments"].append((left, record[1]))
        for heading, found in rows.items():
            if found:
                with formatter.section(heading):
                    formatter.write_dl(found)


class Group(TyperGroup):
    """A group whose help cuts no line about a command short."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        _write(self.help, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = [(name, first_sentence(each.help or "")) for name, each in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def first_sentence(text: str) -> str:
    """The first sentence of a help: `Ask for an execution.`"""
    sentence, dot, _ = text.partition(". ")
    return " ".join((sentence + dot.rstrip()).split("\n\n")[0].split())


def _write(text: str | None, formatter: Any) -> None:
    """The paragraphs, wrapped; an example as it is, whatever its length."""
    for paragraph in (text or "").split("\n\n"):
        formatter.write_paragraph()
        with formatter.indentation():
            if paragraph.strip().startswith(_EXAMPLE):
                formatter.write(f"{' ' * formatter.current_indent}{' '.join(paragraph.split())}\n")
            else:
                formatter.write_text(paragraph)
