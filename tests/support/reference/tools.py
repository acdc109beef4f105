"""The agents' tools: from the table, and from the schemas that a client is given."""

from typing import Any

from nexus_control.toolset import TOOLS, Tool
from tests.support.reference.markdown import code, table
from tests.support.schemas import input_schema, output_schema


def table_of_tools() -> str:
    return table(["tool", "title", "effect"], [(code(t.name), t.title, effect(t)) for t in TOOLS])


def effect(tool: Tool) -> str:
    marks = tool.annotations
    return "reads" if marks.read_only else "destructive" if marks.destructive else "writes"


def every_tool() -> str:
    """A heading a tool: what it does, its arguments, the keys of its answer."""
    return "\n\n".join(_section(tool) for tool in TOOLS)


def _section(tool: Tool) -> str:
    taken = input_schema(tool)
    answered = output_schema(tool)["anyOf"][0]["properties"]
    return "\n\n".join(
        [
            f"### {tool.name}",
            tool.description,
            table(
                ["argument", "type", "meaning"],
                [
                    (
                        code(name),
                        _type(schema) + (", required" * (name in taken.get("required", ()))),
                        _meaning(schema),
                    )
                    for name, schema in taken["properties"].items()
                ],
            ),
            f"Answers: {', '.join(f'{code(name)} ({_type(schema)})' for name, schema in answered.items())}.",
        ]
    )


def _meaning(schema: dict[str, Any]) -> str:
    return str(schema.get("description", ""))


def _type(schema: dict[str, Any]) -> str:
    """A JSON Schema in a few words: its type, and the values that are chosen from."""
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(each) for each in options))
    if "enum" in schema:
        return " or ".join(code(f'"{each}"') for each in schema["enum"])
    if "const" in schema:
        return code(f'"{schema["const"]}"')
    kind = schema.get("type", "any")
    return f"array of {_type(schema.get('items', {}))}" if kind == "array" else str(kind)
