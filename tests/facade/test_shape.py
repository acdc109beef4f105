"""Lists that are written twice agree: parameters and the door, docstrings and answers, policy fields and the policy."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any, get_args

import pytest
from typing_extensions import get_type_hints

from nexus_control.decision import DecisionState
from nexus_control.errors import ErrorCode
from nexus_control.log.projection import ConflictMode
from nexus_control.policy import WEAKENINGS
from nexus_control.render.policy import NAMES
from nexus_control.tool import NexusControlTools, ToolResult
from nexus_control.toolset.inputs import DESCRIPTIONS
from nexus_control.usecases import arguments, list_arguments
from nexus_control.usecases.answers import PolicyData
from nexus_control.values.payloads import POLICY_FIELDS, StateName

NOT_OF_THE_DOOR = {"self", "router"}
OVERRIDES = {f"override_{field}" for field in POLICY_FIELDS}
METHODS = [
    name
    for name, _ in inspect.getmembers(NexusControlTools, inspect.isfunction)
    if not name.startswith("_") and name not in ("close", "proposal")  # these answer no ToolResult
]


def method(name: str) -> Callable[..., Any]:
    return getattr(NexusControlTools, name)


def parameters(name: str) -> set[str]:
    return set(inspect.signature(method(name)).parameters)


def model_of(name: str) -> type[Any]:
    """The model of the door that the method's source names."""
    source = textwrap.dedent(inspect.getsource(method(name)))
    names = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    (model,) = [each for each in names if each.endswith("Arguments")]
    return getattr(arguments, model, None) or getattr(list_arguments, model)


def fields_of(model: type[Any]) -> set[str]:
    """The fields of a pydantic model or of a dataclass."""
    return set(model.model_fields if hasattr(model, "model_fields") else model.__dataclass_fields__)


def answer_of(name: str) -> type[Any]:
    """The TypedDict in the method's ToolResult."""
    annotation: Any = inspect.signature(method(name)).return_annotation
    assert annotation.__origin__ is ToolResult
    (answer,) = get_args(annotation)
    return answer


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_parameters_are_the_fields_of_its_model(name: str) -> None:
    assert parameters(name) - NOT_OF_THE_DOOR - OVERRIDES == fields_of(model_of(name))


@pytest.mark.parametrize("name", METHODS)
def test_help_names_each_key_of_the_data_and_no_other(name: str) -> None:
    said = re.search(
        r"Data: (.*?)(?:\n\s*\n|\n\s*(?:Refused|Failed):|\.\s*\Z|\.\n)", method(name).__doc__ or "", re.S
    )
    assert said is not None
    plain = re.sub(r"\([^)]*\)", "", said.group(1))
    words = set(re.findall(r"[a-z0-9]+(?:_[a-z0-9]+)*", plain))
    keys = set(get_type_hints(answer_of(name)))
    assert keys <= words
    assert words - keys <= {"with", "a", "template", "where", "they", "apply", "on", "request", "is"}


@pytest.mark.parametrize("name", METHODS)
def test_help_names_codes_that_exist(name: str) -> None:
    text = method(name).__doc__ or ""
    named = re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)+\b", text)
    assert set(named) <= set(ErrorCode)


@pytest.mark.parametrize(
    "written",
    [
        set(arguments.PolicyArguments.model_fields),
        set(PolicyData.__required_keys__ | PolicyData.__optional_keys__),
        parameters("request") & POLICY_FIELDS,
        parameters("template_create") & POLICY_FIELDS,
        {name.removeprefix("override_") for name in parameters("request") if name.startswith("override_")},
        set(NAMES) | {"labels"},
        set(WEAKENINGS) | {"labels"},
        set(DESCRIPTIONS) & POLICY_FIELDS,
    ],
    ids=["door", "answer", "request", "template_create", "overrides", "titles", "tighten", "descriptions"],
)
def test_each_list_of_the_policys_fields_is_that_of_the_policy(written: set[str]) -> None:
    assert written == POLICY_FIELDS


def test_choices_are_those_of_the_enumerations() -> None:
    assert set(get_args(StateName)) == set(DecisionState)
    assert get_args(ConflictMode) == ("reject_on_conflict", "new_decision_id", "overwrite")
