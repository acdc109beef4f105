"""The timeline drawn as a picture: inline SVG, from request to proof, from top to bottom.

       2026-01-02
         03:04:05  o  requested apply
                   |  alice
            5 min  |
         03:09:05  *  approved
                   |  bob

Left of the axis stand the times in UTC and, between two moments, how long it took. Right of it stands what happened and
who did it. The longer it took, the longer is the line between them, on a logarithmic scale; from a day on the line is
broken. Each moment has lines of its own, so no label overlaps another, and a label that is too long for its line is
shortened. A long history is several drawings, each short enough for one page of paper. They hold no script, link or
style.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from math import log10
from typing import Final
from unicodedata import east_asian_width

from nexus_control.render.html import Html, element, joined
from nexus_control.render.moments import Moment
from nexus_control.render.text import unhidden, unpadded
from nexus_control.render.times import after, duration, in_utc

WIDTH: Final = 352
_AXIS, _TIMES_END, _LABELS_BEGIN = 92, 76, 108
_LABEL_SIZE, _SMALL_SIZE = 13, 11
_LINE, _HALF = 15, 9
_MOST_MOMENTS: Final = 14
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_DATE_LENGTH: Final = 10
_MARKS: Final = {
    "request": ("ring", 5), "policy": ("dot", 3), "approval": ("dot", 6), "revocation": ("ring", 6),
    "denial": ("cross", 6), "withdrawal": ("cross", 6), "quorum": ("diamond", 7), "claim": ("ring", 4),
    "started": ("dot", 3), "step": ("square", 3), "good": ("tick", 7), "bad": ("cross", 7), "unknown": ("ring", 7),
    "settled": ("diamond", 7), "end": ("bar", 8), "proof": ("square", 6),
}  # fmt: skip
"""The shape of each kind of moment, and half its size. Shapes differ where colours do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A moment and its place: `y` is the middle of its first line. `gap` is how long it took since the one before."""

    moment: Moment
    y: float
    bottom: float
    gap: timedelta | None
    date: str
    time: str


def timeline_picture(moments: Sequence[Moment]) -> Html:
    """The drawings of these moments, in their order."""
    before: _Row | None = None
    drawings = list[Html]()
    for begin in range(0, len(moments), _MOST_MOMENTS):
        rows = _placed(moments[begin : begin + _MOST_MOMENTS], before)
        drawings.append(_drawing(rows, before, len(drawings), is_last=begin + _MOST_MOMENTS >= len(moments)))
        before = rows[-1]
    return joined(drawings)


def shortened(text: str, width: float, size: float) -> str:
    """`text` on one line of this width in pixels, cut with `…` if it is too long by a cautious measure."""
    shown = unhidden(unpadded(text))
    room, end = width / size, 0
    ellipsis = _em("…")
    for end, character in enumerate(shown):
        room -= _em(character)
        if room < (ellipsis if end < len(shown) - 1 else 0):
            return f"{shown[:end]}…"
    return shown


def _placed(moments: Sequence[Moment], before: _Row | None) -> list[_Row]:
    rows, y = list[_Row](), 0.0
    known = before and _last_known(before)
    date, time = (before.date, before.time) if before else ("", "")
    for moment in moments:
        gap = after(known, moment.ts)
        stamp = in_utc(moment.ts) if moment.ts else ""
        is_new_day = bool(stamp) and stamp[:_DATE_LENGTH] != date
        y += _HALF + (_length(gap) if rows or before else 0) + (_LINE if is_new_day else 0)
        bottom = y + _HALF + (_LINE if moment.who else 0)
        date, time = (stamp[:_DATE_LENGTH], stamp[_DATE_LENGTH + 1 :]) if stamp else (date, time)
        rows.append(_Row(moment=moment, y=y, bottom=bottom, gap=gap, date=date, time=time))
        known, y = moment.ts or known, bottom
    return rows


def _last_known(row: _Row) -> str | None:
    return row.moment.ts or (f"{row.date}T{row.time}Z" if row.date else None)


def _length(gap: timedelta | None) -> float:
    """The length of the line between two moments, in pixels beyond their own lines."""
    if gap is None or gap < _SECOND:
        return 2
    return _LINE + min(5 * log10(gap.total_seconds()), 40)


def _drawing(rows: Sequence[_Row], before: _Row | None, number: int, *, is_last: bool) -> Html:
    """The drawing of these rows. `before` is the last row of the drawing above, from which the line goes on."""
    height = int(rows[-1].bottom) + 4
    title, description = f"timeline-{number}-title", f"timeline-{number}-description"
    beginning, end = (0 if before else rows[0].y), (rows[-1].y if is_last else height)
    content = [
        element("title", {"id": title}, "From request to proof" + (", continued" if before else "")),
        element("desc", {"id": description}, "; ".join(map(_told, rows))),
        *_axis(rows, beginning, end),
    ]
    top = 0.0
    for row in rows:
        content += _row(row, before, top)
        before, top = row, row.bottom
    return element(
        "svg",
        {
            "class": "timeline",
            "role": "img",
            "aria-labelledby": f"{title} {description}",
            "viewBox": f"0 0 {WIDTH} {height}",
            "width": WIDTH,
            "height": height,
        },
        joined(content),
    )


def _told(row: _Row) -> str:
    moment = row.moment
    at = f"{in_utc(moment.ts)} UTC: " if moment.ts else ""
    return f"{at}{moment.label}{f', {moment.who}' if moment.who else ''}"


def _axis(rows: Sequence[_Row], beginning: float, end: float) -> Iterator[Html]:
    """The line, a piece for each gap: a broken one from a day on."""
    places = [beginning, *(row.y for row in rows), end]
    gaps = [*(row.gap for row in rows), None]
    for (top, bottom), gap in zip(pairwise(places), gaps, strict=True):
        kind = "axis broken" if gap is not None and gap >= _DAY else "axis"
        if bottom > top:
            yield element(
                "line", {"class": kind, "x1": _AXIS, "y1": _px(top), "x2": _AXIS, "y2": _px(bottom)}
            )


def _row(row: _Row, before: _Row | None, top: float) -> Iterator[Html]:
    """What stands in one row. `top` is where the row above ends."""
    moment = row.moment
    width = WIDTH - _LABELS_BEGIN
    is_new_day = row.date != (before.date if before else "") and moment.ts is not None
    if row.gap is not None and row.gap >= _SECOND:
        middle = (top + row.y - _HALF - (_LINE if is_new_day else 0)) / 2
        yield _text(_TIMES_END, middle, "gap", duration(row.gap))
    if is_new_day:
        yield _text(_TIMES_END, row.y - _LINE, "date", row.date)
    if moment.ts is not None and (before is None or is_new_day or row.time != before.time):
        yield _text(_TIMES_END, row.y, "time", row.time)
    yield _mark(moment.kind, row.y)
    yield _text(_LABELS_BEGIN, row.y, "label", shortened(moment.label, width, _LABEL_SIZE))
    if moment.who:
        yield _text(_LABELS_BEGIN, row.y + _LINE, "who", shortened(moment.who, width, _SMALL_SIZE))


def _text(x: float, middle: float, kind: str, text: str) -> Html:
    return element("text", {"class": kind, "x": x, "y": _px(middle + 4)}, text)


def _mark(kind: str, y: float) -> Html:
    shape, half = _MARKS[kind]
    named = {"class": f"mark {shape} {kind}"}
    if shape in ("dot", "ring"):
        return element("circle", {**named, "cx": _AXIS, "cy": _px(y), "r": half})
    if shape == "square":
        square = {"x": _AXIS - half, "y": _px(y - half), "width": 2 * half, "height": 2 * half}
        return element("rect", {**named, **square})
    paths = {
        "diamond": f"m0 {-half}l{half} {half}l{-half} {half}l{-half} {-half}z",
        "cross": f"m{-half} {-half}l{2 * half} {2 * half}m0 {-2 * half}l{-2 * half} {2 * half}",
        "tick": f"m{-half} 0l{half - 2} {half - 1}l{half + 2} {-2 * half + 2}",
        "bar": f"m{-half} 0h{2 * half}",
    }
    return element("path", {**named, "d": f"M{_AXIS} {_px(y)}{paths[shape]}"})


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _em(character: str) -> float:
    """How wide a character may be at most in a usual font, as a part of the font's size."""
    if not character.isascii():
        return 1.3 if east_asian_width(character) in "WF" else 1.0
    if character in "mwMW@%":
        return 1.0
    if character.isupper() or character in "#&~+=<>^":
        return 0.84
    return 0.4 if character in "ijlt.,:;|'!() " else 0.66
