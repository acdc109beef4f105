"""Tables and texts in Markdown."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar or a line end in a cell does not break it."""
    lines = [_row(header), "|" + "---|" * len(header), *(_row([_cell(text) for text in row]) for row in rows)]
    return "\n".join(lines)


def code(text: object) -> str:
    """Inline code."""
    return f"`{text}`"


def one_line(text: str) -> str:
    """The text with every run of blanks and line ends as one blank."""
    return " ".join(text.split())


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")
