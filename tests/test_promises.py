"""What the documents state about the code, held against the code."""

import re
import tomllib
from dataclasses import MISSING, fields
from functools import cache

import pytest

from nexus_control.cli.main import app
from nexus_control.decision import DecisionState
from nexus_control.errors import ErrorCode, next_step
from nexus_control.tool import NexusControlTools
from nexus_control.toolset import TOOLS
from nexus_control.values.payloads import PAYLOADS, POLICY_FIELDS, EventType
from tests.cli.running import command_names
from tests.support.places import REPOSITORY

TEST_NAME = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FILE_NAME = re.compile(r"`((?:nexus_control|tests|docs)/[\w/.-]+)`")


def read(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def table(page: str, header: str) -> list[tuple[str, ...]]:
    """The rows of the page's one table with this header."""
    lines = read(page).splitlines()
    assert lines.count(header) == 1, f"{page} has no table, or two, with the header {header}"
    rows: list[tuple[str, ...]] = []
    for line in lines[lines.index(header) + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return rows


def test_the_reference_names_every_error_code_and_what_to_do() -> None:
    expected = [(f"`{code}`", next_step(code)) for code in ErrorCode]
    assert table("docs/reference/errors.md", "| code | what to do |") == expected


def payload_of(event_type: EventType) -> str:
    """The fields of a payload in the order of the code; `?` for what is left out at its default."""
    return ", ".join(
        field.name if field.metadata.get("always", field.default is MISSING) else f"{field.name}?"
        for field in fields(PAYLOADS[event_type])  # pyright: ignore[reportArgumentType] - each is a dataclass
    )


def test_the_reference_has_every_event_with_the_fields_of_its_payload() -> None:
    expected = [(f"`{event_type}`", payload_of(event_type)) for event_type in EventType]
    assert table("docs/reference/events.md", "| event | payload |") == expected


def test_the_reference_has_every_tool_with_its_title_and_effect() -> None:
    assert table("docs/reference/tools.md", "| tool | title | effect |") == [
        (
            f"`{tool.name}`",
            tool.title,
            "reads"
            if tool.annotations.read_only
            else "destructive"
            if tool.annotations.destructive
            else "writes",
        )
        for tool in TOOLS
    ]


def test_every_tool_is_a_method_of_the_facade_as_the_reference_says() -> None:
    for tool in TOOLS:
        method = tool.name.removeprefix("nexus-control.").replace(".", "_")
        assert callable(getattr(NexusControlTools, method))


def test_the_reference_has_every_state_and_every_field_of_a_policy() -> None:
    states = [state for state, _, _ in table("docs/reference/lifecycle.md", "| state | meaning | leads to |")]
    assert states == [f"`{state}`" for state in DecisionState]
    named = {name for name, *_ in table("docs/reference/policy.md", "| field | type | default | meaning |")}
    assert named == {f"`{name}`" for name in POLICY_FIELDS}


def test_the_reference_has_every_command() -> None:
    named = [name for name, _ in table("docs/reference/commands.md", "| command | what it does |")]
    expected = [" ".join(words) for words in command_names(app)]
    assert sorted(named) == sorted(f"[`{words}`](#{words.replace(' ', '-')})" for words in expected)


def test_the_reference_has_every_variable_that_the_package_reads() -> None:
    read_here = {
        name
        for module in REPOSITORY.glob("nexus_control/**/*.py")
        for name in re.findall(r"NEXUS_CONTROL_[A-Z_]+", module.read_text(encoding="utf-8"))
    }
    named = {name for name, _ in table("docs/reference/configuration.md", "| variable | stands for |")}
    assert named == {f"`{name}`" for name in read_here}


def test_the_layers_that_are_drawn_are_those_that_are_enforced() -> None:
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (enforced,) = (contract["layers"] for contract in contracts if contract["id"] == "layers")
    drawn = re.search(r"<!-- layers -->\n+```text\n(.*?)```", read("ARCHITECTURE.md"), re.DOTALL)
    assert drawn is not None
    modules = [line.partition("  ")[0].split(" | ") for line in drawn[1].splitlines()]
    assert modules == [re.sub("[()]", "", layer).split(" | ") for layer in enforced if exists(layer)]


def exists(layer: str) -> bool:
    """Whether one of the layer's modules is there; a layer in brackets may still be to come."""
    names = re.sub("[()]", "", layer).split(" | ")
    package = REPOSITORY / "nexus_control"
    return any((package / name).is_dir() or (package / f"{name}.py").exists() for name in names)


PAGES = sorted(
    str(page.relative_to(REPOSITORY)) for glob in ("*.md", "docs/**/*.md") for page in REPOSITORY.glob(glob)
)


def cited_tests() -> list[tuple[str, str]]:
    return sorted({cited for page in PAGES for cited in TEST_NAME.findall(read(page))})


@cache
def source(path: str) -> str:
    return read(path) if (REPOSITORY / path).exists() else ""


@pytest.mark.parametrize(("path", "name"), cited_tests())
def test_every_test_that_a_document_cites_exists(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", source(path), re.MULTILINE)


def test_every_guarantee_cites_a_test() -> None:
    guarantees = table("ARCHITECTURE.md", "| guarantee | mechanism | shown by |")
    assert guarantees
    assert [promise for promise, _, shown_by in guarantees if not TEST_NAME.search(shown_by)] == []


def test_every_file_that_a_document_names_exists() -> None:
    named = {name for page in PAGES for name in FILE_NAME.findall(read(page))}
    assert sorted(name for name in named if not (REPOSITORY / name).exists()) == []
