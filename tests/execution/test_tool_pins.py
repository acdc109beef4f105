"""Pins of tool definitions: their text, their file, and which words moved."""

import subprocess
import sys
from pathlib import Path

import pytest

from nexus_control.execution.tool_pins import Pin, PinsUnreadableError, moved, pin_of, read_pins, write_pins
from nexus_control.execution.tool_schema import argument_names, problem_with_arguments


@pytest.mark.parametrize(
    "definition",
    [
        {"name": "put", "description": 'quotes " and \\ and\nlines\x7f\x00 and é 😀'},
        {"name": "put", "inputSchema": {"maximum": 1.5, "minimum": 2**60}},
        {"name": "put", "description": "half a pair \ud800"},
        {},
    ],
)
def test_a_pin_is_read_as_it_was_written(tmp_path: Path, definition: dict[str, object]) -> None:
    pins = {"mcp:a.b": {"x.y z": pin_of(definition)}, "mcp:c": {"put": pin_of({"name": "put"})}}
    write_pins(tmp_path / "nexus-control.toml", pins)
    assert read_pins(tmp_path / "nexus-control.toml", "option") == pins


def test_without_a_file_nothing_is_pinned(tmp_path: Path) -> None:
    assert read_pins(tmp_path / "nexus-control.toml", "project") == {}


@pytest.mark.parametrize(
    "text",
    [
        "pins = 1",
        "other = 1",
        '[pins."mcp:a"]\nput = 1',
        '[pins."mcp:a".put]\ndigest = "sha256:00"\ndefinition = "{}"',
        '[pins."mcp:a".put]\ndefinition = "{}"',
        "[",
        "\xff",
    ],
)
def test_a_file_that_is_not_what_was_written_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "nexus-control.pins.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(PinsUnreadableError, match="pin again"):
        read_pins(tmp_path / "nexus-control.toml", "option")


def pinned(**definition: object) -> Pin:
    return pin_of(definition)


MOVED = {
    "one word": (
        pinned(description="Reads a file"),
        pinned(description="Deletes a file"),
        ("description: 'Reads' became 'Deletes'",),
    ),
    "a new argument": (
        pinned(inputSchema={"properties": {}}),
        pinned(inputSchema={"properties": {"to": {"type": "string"}}}),
        (
            "inputSchema.properties: '{}' is gone",
            "inputSchema.properties.to.type: 'string' is new",
        ),
    ),
    "blanks": (
        pinned(description="a b"),
        pinned(description="a  b"),
        ("description: only blanks",),
    ),
    "the same words around it": (
        pinned(description="a b c b a"),
        pinned(description="a b a"),
        ("description: 'c b' is gone",),
    ),
    "a repetition": (pinned(description="a a"), pinned(description="a a a"), ("description: 'a' is new",)),
    "more than a person reads": (
        pinned(**{f"k{n:02}": 1 for n in range(20)}),
        pinned(**{f"k{n:02}": 2 for n in range(20)}),
        (*(f"k{n:02}: '1' became '2'" for n in range(12)), "and 8 more"),
    ),
    "nothing": (pinned(description="a"), pinned(description="a"), ()),
}


@pytest.mark.parametrize("name", MOVED)
def test_the_words_that_moved_are_named(name: str) -> None:
    old, new, expected = MOVED[name]
    assert moved(old, new) == expected


def test_long_definitions_of_a_server_are_compared_at_once() -> None:
    source = """
from nexus_control.execution.tool_pins import moved, pin_of
words = ["a b " * 50_000, "b a " * 50_000]
old, new = (pin_of({f"k{n}": text for n in range(30)}) for text in words)
print(moved(old, new)[-1])
"""
    said = subprocess.run(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, check=True, text=True, timeout=60
    )
    assert said.stdout == "and 18 more\n"


SCHEMAS: dict[str, tuple[dict[str, object], dict[str, object], str | None]] = {
    "names without a word about others": ({"properties": {"a": {}}}, {"b": 1}, None),
    "no others than in another schema": (
        {"properties": {"a": {}}, "additionalProperties": False, "allOf": [{"properties": {"b": {}}}]},
        {"b": 1},
        None,
    ),
    "all of it elsewhere": (
        {"$ref": "#/$defs/a", "required": ["b"], "additionalProperties": False},
        {"c": 1},
        None,
    ),
    "an argument of which all is elsewhere": (
        {"properties": {"a": {"$ref": "#/$defs/a", "type": "string"}}},
        {"a": 1},
        None,
    ),
    "a whole double for a whole number": ({"properties": {"a": {"enum": [1]}}}, {"a": 1.0}, None),
    "a whole number for a whole double": ({"properties": {"a": {"const": 1.0}}}, {"a": 1}, None),
    "another number": ({"properties": {"a": {"const": 1.5}}}, {"a": 1}, 'args.a must be one of: "1.5"'),
    "true for one": ({"properties": {"a": {"enum": [1]}}}, {"a": True}, "args.a must be one of: 1"),
    "one for true": ({"properties": {"a": {"enum": [[True]]}}}, {"a": [1]}, "args.a must be one of: [true]"),
    "equal objects": ({"properties": {"a": {"enum": [{"b": [1.0, None]}]}}}, {"a": {"b": [1, None]}}, None),
    "a huge whole number": ({"properties": {"a": {"type": "integer"}}}, {"a": 10**400}, None),
    "a type that is known beside another": (
        {"properties": {"a": {"type": ["string", "date"]}}},
        {"a": 1},
        None,
    ),
    "no schema": ({}, {"a": 1}, None),
    "others allowed": ({"properties": {"a": {}}, "additionalProperties": True}, {"b": 1}, None),
    "patterns": ({"patternProperties": {"^x": {}}, "additionalProperties": False}, {"xa": 1}, None),
    "none allowed": ({"additionalProperties": False}, {"a": 1}, "args has 'a', which is not declared"),
    "one of two types": ({"properties": {"a": {"type": ["string", "null"]}}}, {"a": None}, None),
    "neither of two types": (
        {"properties": {"a": {"type": ["string", "null"]}}},
        {"a": 1},
        "args.a must be of the type string or null",
    ),
    "not in the list": (
        {"properties": {"a": {"enum": ["x", 1]}}},
        {"a": "y"},
        'args.a must be one of: "x", 1',
    ),
    "in the list": ({"properties": {"a": {"enum": ["x", 1]}}}, {"a": 1}, None),
    "another constant": ({"properties": {"a": {"const": "x"}}}, {"a": "y"}, 'args.a must be one of: "x"'),
    "a type that nobody knows": ({"properties": {"a": {"type": "date"}}}, {"a": 1}, None),
    "a schema of another shape": ({"properties": [], "required": "a"}, {"a": 1}, None),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_held_against_arguments_as_far_as_it_is_certain(name: str) -> None:
    schema, args, problem = SCHEMAS[name]
    pinned_schema = pinned(inputSchema=schema).definition["inputSchema"]
    assert problem_with_arguments(pinned_schema, args) == problem


def test_required_arguments_are_named_first() -> None:
    schema: dict[str, object] = {"properties": {"a": {}, "b": {}}, "required": ["b"]}
    assert argument_names(schema) == ["b", "a"]
