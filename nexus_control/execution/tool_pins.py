"""Pins of tool definitions, and the file that holds them: `nexus-control.pins.toml`, beside the configuration's file.

    [pins."mcp:files"."put"]
    digest = "sha256:..."                   # of the text below
    definition = "{\\"description\\": ...}"    # the whole definition of the tool, as the server gave it

The text is the canonical JSON of the definition, with each double as its text; outside the canonical domain it is as
`spelling.spell` writes it. The owner writes the file with `adapter pin`, always whole. It holds the definitions, and
not the digests alone, so that one can show which words of a definition moved.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

from nexus_control.canonical_json import MAX_TEXT_BYTES
from nexus_control.configuration import Kind
from nexus_control.execution.plan import recorded
from nexus_control.execution.spelling import bounded, spell
from nexus_control.integrity import prefixed, sha256_hex
from nexus_control.system.commands import absolute
from nexus_control.system.own_files import OthersMayWriteError, read_own
from nexus_control.system.whole_files import read_regular, replace_file

PINS_NAME: Final = "nexus-control.pins.toml"
_MODE = 0o644
_MOST_MOVED = 12
_HEADING = (
    "# The tool definitions that are approved for use, as `nexus-control adapter pin` found them.\n"
    "# Written whole: pin again instead of editing.\n"
)


@dataclass(frozen=True)
class Pin:
    """A tool's definition that its owner looked at. `text` is its canonical JSON."""

    text: str

    @property
    def digest(self) -> str:
        """The prefixed digest of the text."""
        return prefixed(sha256_hex(self.text))

    @cached_property
    def definition(self) -> Mapping[str, Any]:
        return cast("dict[str, Any]", json.loads(self.text))


Pins: TypeAlias = Mapping[str, Mapping[str, Pin]]
"""The pin of each tool, by adapter id."""


class PinsUnreadableError(Exception):
    """Why the file of pins is not used; the text says which file."""


def pin_of(definition: Mapping[str, Any]) -> Pin:
    """The pin of a definition as a server gave it."""
    return Pin(spell(recorded(definition)).text)


def pins_beside(config: Path) -> Path:
    """The file of the pins for this configuration's file."""
    return absolute(config).parent / PINS_NAME


def read_pins(config: Path, kind: Kind) -> Pins:
    """The pins beside a configuration's file, which are trusted as that file is: beside one that was found, others must
    not be able to write them. Without a file there are none. Raises PinsUnreadableError.
    """
    path = pins_beside(config)
    try:
        content = (read_regular if kind == "option" else read_own)(path, MAX_TEXT_BYTES)
        return _decoded(tomllib.loads(content.decode()))
    except FileNotFoundError:
        return {}
    except OthersMayWriteError as unsafe:
        raise PinsUnreadableError(f"{path} is not used, because {unsafe}") from None
    except OSError as error:
        raise PinsUnreadableError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise PinsUnreadableError(
            f"{path} is not a file of pins: {error}. Delete it, and pin again"
        ) from None


def write_pins(config: Path, pins: Pins) -> Path:
    """Writes the file whole, in place of an older one. Raises OSError."""
    path = pins_beside(config)
    tables = (
        f"\n[pins.{_quoted(adapter)}.{_quoted(tool)}]\ndigest = {_quoted(pin.digest)}\n"
        f"definition = {_quoted(pin.text)}\n"
        for adapter, tools in sorted(pins.items())
        for tool, pin in sorted(tools.items())
    )
    replace_file(path, (_HEADING + "".join(tables)).encode(), _MODE)
    return path


def moved(old: Pin, new: Pin) -> tuple[str, ...]:
    """Which words moved from one definition to the other, a line for each part that differs.

    >>> moved(Pin('{"description":"Reads a file"}'), Pin('{"description":"Deletes a file"}'))
    ("description: 'Reads' became 'Deletes'",)
    """
    before, after = dict(_parts(old.definition, "")), dict(_parts(new.definition, ""))
    names = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
    lines = [_difference(name, before.get(name), after.get(name)) for name in names[:_MOST_MOVED]]
    rest = len(names) - _MOST_MOVED
    return (*lines, *([f"and {rest} more"] if rest > 0 else []))


def _decoded(table: Mapping[str, Any]) -> Pins:
    if set(table) - {"pins"}:
        raise ValueError(f"unknown field {min(set(table) - {'pins'})!r:.80}")
    return {
        adapter: {tool: _pin(f"pins.{adapter}.{tool}", each) for tool, each in _object(tools).items()}
        for adapter, tools in _object(table.get("pins", {})).items()
    }


def _pin(where: str, table: object) -> Pin:
    match table:
        case {"digest": str(digest), "definition": str(text)}:
            pin = Pin(text)
        case _:
            raise ValueError(f"{where!r:.160} must have a digest and a definition")
    if pin.digest != digest or not isinstance(cast("object", pin.definition), dict):
        raise ValueError(f"{where!r:.160} has a digest that is not that of its definition")
    return pin


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ValueError("pins must be tables")
    return cast("dict[str, object]", value)


def _quoted(text: str) -> str:
    """A basic string of TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _parts(value: object, name: str) -> Iterator[tuple[str, object]]:
    """Each leaf of a definition with its place, `inputSchema.properties.path.type`."""
    if isinstance(value, Mapping) and value:
        for key, item in cast("Mapping[str, object]", value).items():
            yield from _parts(item, f"{name}.{key}" if name else key)
    else:
        yield name, value if isinstance(value, str) else spell(cast("object", value)).text


def _difference(name: str, old: object, new: object) -> str:
    """What differs, between the words that both begin with and those that both end with: a server chooses the words, so
    nothing that takes longer than reading them once.
    """
    where = bounded(name, 120)
    if not isinstance(old, str):
        return f"{where}: {_shown(str(new))} is new"
    if not isinstance(new, str):
        return f"{where}: {_shown(old)} is gone"
    before, after = old.split(), new.split()
    if before == after:
        return f"{where}: only blanks"
    begin = _alike(before, after)
    before, after = before[begin:], after[begin:]
    end = _alike(before[::-1], after[::-1])
    before, after = before[: len(before) - end], after[: len(after) - end]
    return f"{where}: {_change(before, after)}"


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words both begin with."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _change(old: Sequence[str], new: Sequence[str]) -> str:
    if not old:
        return f"{_shown(' '.join(new))} is new"
    if not new:
        return f"{_shown(' '.join(old))} is gone"
    return f"{_shown(' '.join(old))} became {_shown(' '.join(new))}"


def _shown(text: str) -> str:
    return repr(bounded(text, 200))
