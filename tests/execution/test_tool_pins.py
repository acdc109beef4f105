"""Pins of tool definitions: their text, their file, and which words moved."""

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
        ("description: only blanks, or words beyond the first 2000",),
    ),
    "nothing": (pinned(description="a"), pinned(description="a"), ()),
}


@pytest.mark.parametrize("name", MOVED)
def test_the_words_that_moved_are_named(name: str) -> None:
    old, new, expected = MOVED[name]
    assert moved(old, new) == expected


SCHEMAS: dict[str, tuple[dict[str, object], dict[str, object], str | None]] = {
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
    assert problem_with_arguments(schema, args) == problem


def test_required_arguments_are_named_first() -> None:
    schema: dict[str, object] = {"properties": {"a": {}, "b": {}}, "required": ["b"]}
    assert argument_names(schema) == ["b", "a"]
