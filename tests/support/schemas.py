"""The tools as JSON Schema 2020-12, for models to read: no references, no titles, one file a tool.

    schemas/<tool>.v1.json = {"$schema", "name", "title", "description", "inputSchema", "outputSchema", "annotations"}

An input is closed: a key that is not described is refused. An output is an open outline, two levels deep, of both
success and error, because clients check error answers against the schema, too.

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
    """The schema of the tool's arguments, as a model reads it: an optional argument is one that can be left out."""
    schema = _plain(tool.input_model.model_json_schema())
    if tool.takes_actor:
        schema["properties"]["actor"]["additionalProperties"] = False
        schema["required"].remove("actor")
    fields = {name: _argument(field) for name, field in schema["properties"].items()}
    for name, field in fields.items():
        field["description"] = DESCRIPTIONS[name]
    required = {"required": schema["required"]} if schema.get("required") else {}
    return {"type": "object", "additionalProperties": False, "properties": fields, **required}


def output_schema(tool: Tool) -> Schema:
    """The outline of the tool's answers. Clients check both of them, and models see neither."""
    success = full_schema(tool.output)
    outlined = {name: _outline(field) for name, field in success["properties"].items()}
    return {
        "type": "object",
        "anyOf": [{"properties": outlined, "required": ["summary", "next"]}, _ERROR],
    }


def full_schema(output: type) -> Schema:
    """Everything that is known of an answer, down to the last field."""
    return _plain(TypeAdapter(output).json_schema())


_TEXT = {"type": "string"}
_ERROR: Schema = {
    "properties": {"code": _TEXT, "message": _TEXT, "details": {"type": "object"}, "next": _TEXT},
    "required": list(ErrorOutput.__annotations__),
}
_OUTLINED = ("type", "enum", "const", "anyOf", "items")
_LIMIT_OF_IDS = 256
_UNTOLD_LIMIT = 10_000


def _argument(field: Schema) -> Schema:
    """The field without null, and without the limits that nobody meets. A call may hold them all the same."""
    kinds = [each for each in field.get("anyOf", []) if each != {"type": "null"}]
    field = {word: value for word, value in field.items() if word != "anyOf"}
    field |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {}
    return {word: value for word, value in field.items() if not _is_untold(word, value)}


def _is_untold(word: str, value: Any) -> bool:
    match word:
        case "default":
            return value is None or value == ""
        case "minLength":
            return True
        case "maxLength":
            return value == _LIMIT_OF_IDS
        case "maximum":
            return value > _UNTOLD_LIMIT
        case _:
            return False


def _outline(field: Schema) -> Schema:
    words = {word: value for word, value in field.items() if word in _OUTLINED}
    if "items" in words:
        words["items"] = _outline(words["items"])
    if "anyOf" in words:
        kinds = [_outline(each) for each in words.pop("anyOf")]
        if all(set(kind) == {"type"} for kind in kinds):
            return {**words, "type": [kind["type"] for kind in kinds]}
        words["anyOf"] = kinds
    return words


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
