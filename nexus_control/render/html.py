"""HTML from data: `tag("p", "a < b")` is `<p>a &lt; b</p>`.

`tag` escapes each child that is not `Html` already; hidden characters become visible and padding is replaced by its
count, by the rules of `render.text`. A page holds its own style and no script; its Content-Security-Policy forbids
the browser to fetch or run anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape as escape_html
from pathlib import Path
from typing import Final

from nexus_control.render.text import unhidden, unpadded

_STYLE: Final = Path(__file__).with_name("report.css")
"""For a screen of any width, light or dark, and for A4."""
_VOID: Final = frozenset(("br", "hr", "input", "link", "meta"))
"""Elements that have no content and no end."""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Html(str):
    """Text that is HTML already, so it is not escaped again."""

    __slots__ = ()


def tag(name: str, *children: object, kind: str = "", label: str = "") -> Html:
    """An element. `kind` is its class; `label` is the column's name, which narrow screens show in a table's cell."""
    named = {"class": kind, "data-label": label}
    return element(name, {key: value for key, value in named.items() if value}, *children)


def element(name: str, attributes: Mapping[str, object], *children: object) -> Html:
    """An element with these attributes. Their values are exact, because programs read them: a form sends them back.

    >>> element("text", {"x": 3}, "a < b")
    '<text x="3">a &lt; b</text>'
    """
    written = "".join(f' {key}="{_exact(value)}"' for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{''.join(map(_escaped, children))}</{name}>")


def joined(parts: Iterable[Html]) -> Html:
    return Html("\n".join(parts))


def section(heading: str, *children: object) -> Html:
    return tag("section", tag("h2", heading), *children)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, whole: Sequence[str] = ()) -> Html:
    """A table. Cells of the columns in `whole` are never broken into lines: they hold short words of ours.

    On a narrow screen each row becomes a card, and each cell names its column.
    """
    head = tag("tr", *(tag("th", column) for column in columns))
    body = [
        tag("tr", *(_cell(column, cell, column in whole) for column, cell in zip(columns, row, strict=True)))
        for row in rows
    ]
    return tag("table", tag("thead", head), tag("tbody", joined(body)))


def _cell(column: str, cell: object, whole: bool) -> Html:
    return tag("td", tag("div", cell), label=column, kind="whole" if whole else "")


def facts(pairs: Iterable[tuple[str, object]], *, kind: str = "") -> Html:
    """A list of names and values. Pairs whose value is None or "" are left out."""
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs if value not in (None, "")),
        kind=kind,
    )


def page(title: str, *children: object) -> str:
    """A whole document."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            str(tag("title", title)),
            f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>",
            "</head>",
            "<body>",
            str(tag("main", *children)),
            "</body>",
            "</html>",
            "",
        ]
    )


def as_typed(text: str) -> Html:
    """What somebody wrote, for a field in which they go on: hidden characters stay as they are."""
    return Html(f"\n{_exact(text)}")


def _exact(value: object) -> str:
    return escape_html(str(value)).replace("\r", "&#13;")


def _escaped(child: object) -> str:
    if isinstance(child, Html):
        return child
    text = str(child)
    if text.isascii() and text.isprintable() and "  " not in text:
        return escape_html(text)  # most texts: nothing is hidden in them
    return escape_html(unhidden(unpadded(text), keep="\n\t"))
