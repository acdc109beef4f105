"""The tools as JSON Schema 2020-12, for models to read: no references, no titles, one file a tool.

    schemas/<tool>.v1.json = {"$schema", "name", "title", "description", "inputSchema", "outputSchema", "annotations"}

An input is closed: a key that is not described is refused. An output is open, and describes both success and error,
because clients check error answers against the schema, too.

Making the schemas takes a tenth of a second. So the package holds them ready for a server that starts, in
`toolset/schemas.json`: {<tool>: {"inputSchema", "outputSchema"}}. `make schemas` writes all of these files, with
`python -m tests.support.schemas FOLDER`.
"""

import json
import sys
from pathlib import Path
from typing import Any, TypeAlias, cast

from pydantic import TypeAdapter

from nexus_control.toolset.inputs import DESCRIPTIONS
from nexus_control.toolset.outputs import ErrorOutput
from nexus_control.toolset.packaged import PACKAGED
from nexus_control.toolset.table import TOOLS
from nexus_control.toolset.tool import Tool

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def input_schema(tool: Tool) -> Schema:
    """The schema of the tool's arguments."""
    schema = _plain(tool.input_model.model_json_schema())
    properties = schema["properties"]
    if tool.takes_actor:
        closed = {**properties["actor"], "additionalProperties": False}
        properties["actor"] = {"anyOf": [closed, {"type": "null"}], "default": None}
        schema["required"].remove("actor")
    for name, field in properties.items():
        field["description"] = DESCRIPTIONS[name]
    return schema


def output_schema(tool: Tool) -> Schema:
    """The schema of the tool's answers."""
    answers = (tool.output, ErrorOutput)
    return {"type": "object", "anyOf": [_plain(TypeAdapter(each).json_schema()) for each in answers]}


def schema_file_name(tool: Tool) -> str:
    return f"{tool.name}.v1.json"


def schema_text(tool: Tool) -> str:
    """The content of the tool's file."""
    document = {
        "$schema": DIALECT,
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "annotations": tool.annotations.to_dict(),
        **_both(tool),
    }
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def packaged_text() -> str:
    """The content of the package's own file."""
    return json.dumps({tool.name: _both(tool) for tool in TOOLS}, sort_keys=True, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> None:
    """Write the file of every tool into the folder, and the package's `schemas.json`."""
    folder.mkdir(exist_ok=True)
    for tool in TOOLS:
        folder.joinpath(schema_file_name(tool)).write_text(schema_text(tool), encoding="utf-8")
    PACKAGED.write_text(packaged_text(), encoding="utf-8")


def _both(tool: Tool) -> Schema:
    return {"inputSchema": input_schema(tool), "outputSchema": output_schema(tool)}


def _plain(schema: Schema) -> Schema:
    """The schema without references, titles, and the docstrings of the library's own records."""
    definitions = {name: _bare(each) for name, each in schema.get("$defs", {}).items()}
    return cast("Schema", _resolved(_bare(schema), definitions))


def _bare(schema: Schema) -> Schema:
    return {word: value for word, value in schema.items() if word not in ("$defs", "description")}


def _resolved(schema: object, definitions: Schema) -> object:
    if isinstance(schema, list):
        return [_resolved(each, definitions) for each in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    words = cast("Schema", schema)
    if reference := words.get("$ref"):
        beside = {word: value for word, value in words.items() if word != "$ref"}
        return _resolved(definitions[reference.rpartition("/")[2]] | beside, definitions)
    return {
        # The keys of `properties` are names of fields; everywhere else a key is a word of JSON Schema.
        word: {name: _resolved(field, definitions) for name, field in value.items()}
        if word == "properties"
        else _resolved(value, definitions)
        for word, value in words.items()
        if word != "title"
    }


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
