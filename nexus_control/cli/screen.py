"""Shows answers to people: tables and colour on a terminal, elsewhere plain lines of 80 columns (or `COLUMNS`).

A text is never read as markup. Unprintable characters are spelled out, and long padding is replaced by its count. So no
name and no output of a program can control the terminal or push other text out of sight.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import Final, Literal, TextIO, TypeAlias

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nexus_control.cli.streams import visible
from nexus_control.render.text import unpadded

_PLAIN_WIDTH = 80
_NARROWEST = 40
_WIDEST_PROSE = 100
_LONGEST_WORD = 36  # a UUID
_WIDEST_NAME = 20
_GAP = "  "
_LEAST_LAST, _LEAST_NARROW = 24, 12


Kind: TypeAlias = Literal["good", "stopped", "bad"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A word with a colour that tells how something went."""

    text: str
    kind: Kind


def mark_of(status: str) -> Mark:
    """The mark for the status of a check."""
    return Mark(status, "good" if status == "pass" else "bad" if status == "fail" else "stopped")


def mark_of_state(state: str) -> Mark:
    """The mark for the state of a decision, or the outcome of an execution."""
    good, bad = ("approved", "completed"), ("failed", "outcome_unknown")
    return Mark(state, "good" if state in good else "bad" if state in bad else "stopped")


Cell: TypeAlias = str | Mark
DONE: Final = Mark("Done.", "good")
NOTE: Final = Mark("Note:", "stopped")
_COLOURS = {"good": "green", "stopped": "yellow", "bad": "bold red"}


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as data."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Screen:
    """Writes to one stream, a part at a time."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_terminal = stream.isatty()
        self._console = _terminal(stream) if self.is_terminal else _plain()

    def heading(self, text: str) -> None:
        self.blank()
        self._show(Text(visible(text), style="bold"))

    def prose(self, text: str, mark: Mark | None = None) -> None:
        """A paragraph, with `mark` at its beginning."""
        shown = Text(overflow="fold")
        if mark is not None:
            shown.append(f"{visible(mark.text)} ", style=f"bold {_COLOURS[mark.kind]}")
        self._show(shown.append(visible(unpadded(text))), width=min(self._console.width, _WIDEST_PROSE))

    def hanging(self, text: str, indent: int = 0) -> None:
        """A line that goes on further to the right where it is too long, so that no text of it begins a line."""
        room = max(self._console.width - indent - 2, _NARROWEST // 2)
        first, *rest = Text(visible(text)).wrap(self._console, room, overflow="fold") or [Text()]
        for more, part in ((0, first), *((2, each) for each in rest)):
            self._stream.write(f"{' ' * (indent + more)}{part.plain.rstrip()}\n")
        self._stream.flush()

    def verbatim(self, line: str) -> None:
        """A command or a path: on one line, however long, so that it can be copied."""
        self._stream.write(f"    {visible(line)}\n")
        self._stream.flush()

    def grid(self, grid: Grid) -> None:
        table = Table(
            box=box.SIMPLE_HEAD if self.is_terminal else None,
            pad_edge=False,
            header_style="bold",
            show_edge=False,
        )
        for number, column in enumerate(grid.columns):
            whole = all(_is_one_word(row[number]) for row in grid.rows)
            table.add_column(Text(visible(column)), overflow="fold", no_wrap=whole)
        for row in grid.rows:
            table.add_row(*map(_cell, row))
        self.blank()
        self._show(table)

    def lines(self, grid: Grid, narrowing: int | None = None) -> None:
        """A table whose rows stay on one line each. The last column is cut at the screen's width. Where that leaves it
        little room, the column with the number `narrowing` is cut first.
        """
        cells = [[_on_one_line(cell) for cell in row] for row in grid.rows]
        heads = [Text(name, style="bold") for name in grid.columns]
        widths = [max(map(_width_of, column)) for column in zip(heads, *cells, strict=True)]
        room = self._console.width - sum(widths[:-1]) - len(_GAP) * (len(widths) - 1)
        if narrowing is not None and room < _LEAST_LAST:
            spared = min(_LEAST_LAST - room, max(0, widths[narrowing] - _LEAST_NARROW))
            widths[narrowing], room = widths[narrowing] - spared, room + spared
        widths[-1] = min(widths[-1], max(room, 1))
        for row in (heads, *cells):
            for cell, width in zip(row, widths, strict=True):
                cell.truncate(width, overflow="ellipsis", pad=True)
            line = Text(_GAP).join(row)
            line.truncate(self._console.width, overflow="ellipsis")
            self._show(line)

    def fields(self, rows: Sequence[tuple[str, str]]) -> None:
        """Names and their texts, each text in a column of its own and free of line ends."""
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, len(_GAP), 0, 0))
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=_WIDEST_NAME)
        table.add_column(overflow="fold")
        for name, text in rows:
            table.add_row(Text(one_line(name), style="dim"), Text(one_line(text)))
        self._show(table, width=min(self._console.width, _WIDEST_PROSE))

    def record(self, columns: Sequence[str]) -> None:
        """One line for programs, with a tab between the columns."""
        self._stream.write("\t".join(map(_escaped, columns)) + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """Begin again at the top of the terminal."""
        self._stream.write("\x1b[H\x1b[J")

    def blank(self) -> None:
        self._show(Text())

    def _show(self, part: Text | Table, width: int | None = None) -> None:
        self._console.print(part, width=width)
        if isinstance(self._console.file, StringIO):
            lines = self._console.file.getvalue().splitlines()
            self._console.file.seek(0)
            self._console.file.truncate()
            self._stream.writelines(f"{line.rstrip()}\n" for line in lines)
            self._stream.flush()


def one_line(text: str) -> str:
    """`text` with its line ends shown as such, so that it stays on one line."""
    return visible(unpadded(text).replace("\n", "⏎"))


def _escaped(column: str) -> str:
    return visible(column.replace("\\", r"\\").replace("\n", r"\n"))


def columns(names: str, rows: Sequence[Sequence[Cell]]) -> Grid:
    """A grid whose column names are the words between `|`."""
    return Grid(tuple(names.split("|")), tuple(map(tuple, rows)))


def _is_one_word(cell: Cell) -> bool:
    """Whether a cell stays on one line: a long id must not be broken, so that it can be copied."""
    text = cell.text if isinstance(cell, Mark) else cell
    return len(text) <= _LONGEST_WORD and not text.count(" ")


def _on_one_line(cell: Cell) -> Text:
    if isinstance(cell, Mark):
        return Text(one_line(cell.text), style=_COLOURS[cell.kind])
    return Text(one_line(cell))


def _width_of(text: Text) -> int:
    return text.cell_len


def _cell(cell: Cell) -> Text:
    if isinstance(cell, Mark):
        return Text(visible(cell.text), style=_COLOURS[cell.kind])
    return Text(visible(unpadded(cell)))


_console = partial(Console, highlight=False, markup=False, emoji=False)


def _terminal(stream: TextIO) -> Console:
    return _console(file=stream, force_terminal=True)


def _plain() -> Console:
    said = os.environ.get("COLUMNS", "")
    width = max(int(said) if said.isascii() and said.isdigit() else _PLAIN_WIDTH, _NARROWEST)
    return _console(file=StringIO(), width=width, force_terminal=False, color_system=None)
