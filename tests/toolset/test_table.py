import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from nexus_control.toolset import TOOLS, Annotations, Tool, spelled, tool_named
from nexus_control.toolset.packaged import PACKAGED
from tests.artifacts.samples import nodes
from tests.support.places import REPOSITORY
from tests.support.schemas import (
    DIALECT,
    input_schema,
    output_schema,
    packaged_text,
    schema_file_name,
    schema_text,
)
from tests.toolset.bench import (
    ADAPTER,
    PLAN,
    Bench,
    closed_output_schema,
    foreign_bundle,
    named,
    require_valid,
)

PUBLISHED = """
    nexus-control.request nexus-control.approve nexus-control.execute nexus-control.status nexus-control.inspect
    nexus-control.template.create nexus-control.template.get nexus-control.template.list
    nexus-control.export_bundle nexus-control.import_bundle nexus-control.export_audit_package
"""
NAMES = PUBLISHED.split()
UNKNOWN = "00000000-0000-4000-8000-ffffffffffff"
SECRET = "hunter2"
Arguments = dict[str, Any]

every_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)


def template_arguments(bench: Bench) -> Arguments:
    bench.data("template.create", name="prod", min_approvals=2, labels=["prod"], approvers=["bob", "carol"])
    return {"name": "prod", "include_events": True}


def a_page_of_templates(bench: Bench) -> Arguments:
    template_arguments(bench)
    return {"label_filter": "prod", "limit": 1}


def a_request_from_a_template(bench: Bench) -> Arguments:
    template_arguments(bench)
    return {"goal": "Rotate", "plan": PLAN, "adapter_id": ADAPTER, "template_name": "prod", "max_steps": 3}


def a_bundle_from_elsewhere(_bench: Bench) -> Arguments:
    return {"bundle": foreign_bundle(), "conflict_mode": "new_decision_id"}


GOOD: dict[str, Callable[[Bench], Arguments]] = {
    "request": a_request_from_a_template,
    "approve": lambda bench: {"request_id": bench.request(), "comment": "Looks right"},
    "execute": lambda bench: {"request_id": bench.approved(), "adapter_id": ADAPTER},
    "status": lambda bench: {"request_id": bench.executed(), "include_events": True},
    "inspect": lambda bench: {"decision_id": bench.executed(), "include_events": True},
    "template.create": lambda _: {"name": "prod", "overrides": "tighten_only", "allowed_modes": ["dry_run"]},
    "template.get": template_arguments,
    "template.list": a_page_of_templates,
    "export_bundle": lambda bench: {"decision_id": bench.executed()},
    "import_bundle": a_bundle_from_elsewhere,
    "export_audit_package": lambda bench: {"decision_id": bench.executed()},
}
BAD: dict[str, tuple[Callable[[Bench], Arguments], str]] = {
    "request": (lambda _: {"goal": "Rotate", "template_name": "nowhere"}, "TEMPLATE_NOT_FOUND"),
    "approve": (lambda bench: {"request_id": bench.executed()}, "INVALID_STATE"),
    "execute": (
        lambda bench: {"request_id": bench.request(), "adapter_id": ADAPTER},
        "POLICY_NOT_SATISFIED",
    ),
    "status": (lambda _: {"request_id": UNKNOWN, "wait_seconds": 5}, "DECISION_NOT_FOUND"),
    "inspect": (lambda _: {"decision_id": UNKNOWN}, "DECISION_NOT_FOUND"),
    "template.create": (
        lambda bench: {"name": template_arguments(bench)["name"]},
        "TEMPLATE_ALREADY_EXISTS",
    ),
    "template.get": (lambda _: {"name": "nowhere"}, "TEMPLATE_NOT_FOUND"),
    "template.list": (lambda _: {"limit": 0}, "INVALID_ARGUMENT"),
    "export_bundle": (lambda _: {"decision_id": UNKNOWN}, "DECISION_NOT_FOUND"),
    "import_bundle": (lambda _: {"bundle": "{"}, "BUNDLE_INVALID_SCHEMA"),
    "export_audit_package": (lambda bench: {"decision_id": bench.request()}, "NO_ROUTER_LINK"),
}


def test_the_table_has_the_eleven_tools() -> None:
    assert [tool.name for tool in TOOLS] == NAMES


@every_tool
def test_a_tool_is_found_by_its_name_in_both_styles(tool: Tool) -> None:
    assert tool_named(tool.name) is tool
    assert tool_named(spelled(tool.name, "underscore")) is tool


def test_a_name_with_underscores_has_neither_dots_nor_dashes() -> None:
    assert spelled("nexus-control.template.create", "underscore") == "nexus_control_template_create"
    assert tool_named("nexus-control.revoke") is None


def test_the_annotations_are_true() -> None:
    reading, writing = Annotations(read_only=True, idempotent=True), Annotations()
    by_name = {tool.name.removeprefix("nexus-control."): tool.annotations for tool in TOOLS}
    assert {name for name, each in by_name.items() if each == reading} == {
        "status",
        "inspect",
        "template.get",
        "template.list",
    }
    assert by_name["request"] == by_name["approve"] == by_name["import_bundle"] == writing
    assert by_name["execute"] == Annotations(destructive=True, open_world=True)
    assert not any(each.destructive for name, each in by_name.items() if name != "execute")
    assert by_name["execute"].to_dict() == {
        "readOnlyHint": False,
        "destructiveHint": True,
        "idempotentHint": False,
        "openWorldHint": True,
    }


@every_tool
def test_the_schema_file_is_what_the_table_says(tool: Tool) -> None:
    written = (REPOSITORY / "schemas" / schema_file_name(tool)).read_bytes()
    assert written == schema_text(tool).encode(), "run `make schemas`"


def test_the_schemas_that_a_server_reads_are_what_the_table_says() -> None:
    assert PACKAGED.read_bytes() == packaged_text().encode(), "run `make schemas`"


def test_there_is_no_other_schema_file() -> None:
    assert {path.name for path in (REPOSITORY / "schemas").iterdir()} == {f"{name}.v1.json" for name in NAMES}


@every_tool
def test_schemas_are_valid_and_need_nothing_resolved(tool: Tool) -> None:
    assert json.loads(schema_text(tool))["$schema"] == DIALECT
    for schema in (input_schema(tool), output_schema(tool)):
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert not {"$ref", "$defs", "title"} & {path[-1] for path in nodes(schema)}


@every_tool
def test_an_input_is_closed_and_every_field_is_explained(tool: Tool) -> None:
    schema = input_schema(tool)
    assert schema["additionalProperties"] is False
    for name, field in schema["properties"].items():
        assert field["description"].endswith("."), name
    assert "actor" not in schema.get("required", [])
    assert tool.description.endswith(".")


@pytest.mark.parametrize("name", GOOD)
def test_a_good_call_answers_what_is_advertised_and_no_more(bench: Bench, name: str) -> None:
    arguments = GOOD[name](bench)
    tool = named(name)
    require_valid(arguments, input_schema(tool))
    content = bench.data(name, **arguments)
    require_valid(content, closed_output_schema(tool))
    assert content["summary"].endswith(".")
    assert content["next"].endswith(".")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_answers_an_error_as_advertised(bench: Bench, name: str) -> None:
    arguments, code = BAD[name]
    content = bench.error(name, **arguments(bench))
    require_valid(content, closed_output_schema(named(name)))
    assert content["code"] == code
    assert content["next"].endswith(".")


@every_tool
def test_an_unknown_argument_is_refused_without_its_value(bench: Bench, tool: Tool) -> None:
    content = bench.error(tool.name, surprise=SECRET)
    assert content["code"] == "INVALID_ARGUMENT"
    assert {"field": "surprise", "problem": "is not a known argument"} in content["details"]["fields"]
    assert SECRET not in json.dumps(content)


@pytest.mark.parametrize(
    ("name", "arguments", "field"),
    [
        ("request", {"goal": "Rotate", "min_approvals": "7"}, "min_approvals"),
        ("request", {"goal": "Rotate", "min_approvals": True}, "min_approvals"),
        ("request", {"goal": "Rotate", "max_steps": 7.0}, "max_steps"),
        ("request", {"goal": "Rotate", "labels": '["prod"]'}, "labels"),
        ("request", {"goal": 7}, "goal"),
        ("request", {"goal": "Rotate", "actor": SECRET}, "actor"),
        ("request", {"goal": "Rotate", "mode": SECRET}, "mode"),
        ("execute", {"request_id": UNKNOWN, "adapter_id": ADAPTER, "dry_run": "true"}, "dry_run"),
        ("status", {"request_id": UNKNOWN, "wait_seconds": "7"}, "wait_seconds"),
        ("status", {"request_id": UNKNOWN, "wait_seconds": True}, "wait_seconds"),
        ("status", {"request_id": UNKNOWN, "wait_seconds": 51}, "wait_seconds"),
        ("status", {"request_id": UNKNOWN, "wait_seconds": -1}, "wait_seconds"),
        ("template.list", {"limit": "7"}, "limit"),
        ("import_bundle", {"bundle": 7}, "bundle"),
        ("import_bundle", {}, "arguments"),
        ("import_bundle", {"bundle": "{}", "path": "bundle.json"}, "arguments"),
    ],
)
def test_nothing_is_coerced_and_no_value_is_echoed(
    bench: Bench, name: str, arguments: dict[str, object], field: str
) -> None:
    content = bench.error(name, **arguments)
    assert content["code"] == "INVALID_ARGUMENT"
    assert [problem["field"] for problem in content["details"]["fields"]] == [field]
    assert SECRET not in json.dumps(content)
