"""Gives any Python object a text, so that every answer of a router or a tool can be recorded and hashed.

The text is the first of these that can be made:

1. its canonical JSON, inside the canonical domain;
2. `json.dumps(sort_keys=True, default=repr)`: floats, NaN, bytes, big integers, lone surrogates;
3. `repr`: cycles, keys of mixed types;
4. the name of its type: for nesting beyond the interpreter's limit, or a `repr` that raises.
"""

import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from nexus_control.canonical_json import require_canonical_domain
from nexus_control.errors import NexusControlError
from nexus_control.integrity import sha256_hex

JSON_DUMPS = "json.dumps(sort_keys=True, default=repr)"

_MOST_OF_A_NAME = 200
HEADROOM = 16
DEPTH = 1 + HEADROOM
"""Of a value in an answer, a run bundle or an audit package: their depth is limited."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """The text of an object. `note` is None for canonical JSON; otherwise it says why it is another text, and which."""

    text: str
    note: str | None


def spell(obj: object) -> Spelling:
    """A text for `obj`. Never raises an `Exception`."""
    problem = ""
    for name, write in _SPELLINGS:
        try:
            text = write(obj)
        except Exception as error:  # noqa: BLE001 - runs the __repr__ of foreign objects
            reason = error.message if isinstance(error, NexusControlError) else type(error).__name__
            problem = problem or reason
        else:
            return Spelling(encodable(text), f"{encodable(problem)}; spelled by {name}" if problem else None)
    return Spelling(encodable(type(obj).__qualname__), f"{encodable(problem)}; spelled by its type's name")


def portable(value: object) -> object:
    """`value` itself if it is inside the canonical domain, otherwise its spelling."""
    try:
        require_canonical_domain(value, where="it", max_bytes=sys.maxsize, depth=DEPTH)
    except Exception:  # noqa: BLE001 - a foreign object may raise anything
        return spell(value).text
    return value


def shortened(name: str) -> str:
    """The name of a tool or function, or its beginning and a digest of it: the end of a guarded call's adapter."""
    name = encodable(name).strip() or "-"
    return name if len(name) <= _MOST_OF_A_NAME else f"{name[: _MOST_OF_A_NAME - 17]}:{sha256_hex(name)[:16]}"


def encodable(text: str) -> str:
    """`text` with lone surrogates, which UTF-8 cannot write, replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def described(error: BaseException, limit: int) -> str:
    """An exception in at most `limit` characters. Never raises an `Exception`: if the exception cannot be shown, for
    example because its own `__getattr__` raises, the text is its type's name.
    """
    for show in (_shown_by_traceback, _type_name):
        try:
            return bounded(show(error), limit)
        except Exception:  # noqa: BLE001 - runs the code of a foreign exception
            continue
    return "an exception that cannot be shown"


def _shown_by_traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip()


def _type_name(error: BaseException) -> str:
    return type(error).__qualname__


def bounded(text: str, limit: int) -> str:
    """`text`, encodable, in at most `limit` characters."""
    kept = encodable(text[: limit + 1])
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


_SPELLINGS: tuple[tuple[str, Callable[[object], str]], ...] = (
    ("canonical JSON", lambda obj: require_canonical_domain(obj, where="it", max_bytes=sys.maxsize)),
    (JSON_DUMPS, lambda obj: json.dumps(obj, sort_keys=True, default=repr)),
    ("repr", repr),
)
