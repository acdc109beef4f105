"""Plans in files: what each is taken for, and what of YAML is refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_control import NexusControlError, NexusControlTools
from nexus_control.cli.plan_files import read_plan
from tests.cli.office import field
from tests.cli.running import Commands, environment
from tests.support.amounts import number_of

STEP = """\
- step_id: s1
  intent: "load: the keys"
  call:
    tool: services
    method: restart
    args: {service: billing, wait: 30, ratio: 0.5, force: true, note: null, tags: [a, "1"]}
"""
VALUE = [
    {
        "step_id": "s1",
        "intent": "load: the keys",
        "call": {
            "tool": "services",
            "method": "restart",
            "args": {
                "service": "billing",
                "wait": 30,
                "ratio": 0.5,
                "force": True,
                "note": None,
                "tags": ["a", "1"],
            },
        },
    }
]
JSON = json.dumps(VALUE, indent=1)


def plan_of(folder: Path, name: str, text: str) -> str | None:
    """The plan of a request with this file."""
    (folder / name).write_text(text, encoding="utf-8")
    request_id = Commands(folder).answer("request", "g", "--plan-file", str(folder / name))["request_id"]
    return NexusControlTools(db_path=folder / "store.db").status(request_id).data["plan"]


def refused(folder: Path, text: str, name: str = "plan.yaml") -> dict[str, Any]:
    (folder / name).write_bytes(text.encode())
    return Commands(folder).answer("request", "g", "--plan-file", str(folder / name), code=2)


@pytest.mark.parametrize("name", ["plan.yaml", "plan.YML", "plan", "plan.txt"])
@pytest.mark.parametrize("before", ["", "# the keys\n\n---\n"])
def test_yaml_becomes_the_canonical_json_of_its_steps(name: str, before: str, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, name, before + STEP)
    assert plan is not None
    assert json.loads(plan) == VALUE
    assert "\n" not in plan


@pytest.mark.parametrize("name", ["plan.json", "plan", "plan.txt"])
def test_json_is_kept_as_it_was_written(name: str, tmp_path: Path) -> None:
    assert plan_of(tmp_path, name, JSON) == JSON


@pytest.mark.parametrize("text", ["1. rotate\n2. look", "- rotate\n- look", "yes", "step_id: no"])
def test_another_text_stays_the_text_that_it_is(text: str, tmp_path: Path) -> None:
    assert plan_of(tmp_path, "plan.txt", text) == text


@pytest.mark.parametrize("text", [STEP, JSON, "1. rotate"], ids=["yaml", "json", "text"])
def test_a_plan_comes_from_standard_input(text: str, tmp_path: Path) -> None:
    given = ("--db", str(tmp_path / "store.db"), "request", "g", "--plan-file", "-", "--json")
    words = [sys.executable, "-m", "nexus_control", *given]
    ran = subprocess.run(words, env=environment(), input=text, capture_output=True, text=True, timeout=240)
    request_id = json.loads(ran.stdout)["request_id"]
    plan = NexusControlTools(db_path=tmp_path / "store.db").status(request_id).data["plan"]
    assert plan == text or json.loads(plan or "") == VALUE


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: b\nc: yes", 2, 'write "yes", or true, false or null'),
        ("c: No", 1, 'write "No"'),
        ("c: True", 1, 'write "True"'),
        ("c: ~", 1, 'write "~"'),
        ("c: 2026-11-26", 1, 'write "2026-11-26"'),
        ("c: 2026-11-26 10:00:00Z", 1, 'write "2026-11-26 10:00:00Z"'),
        ("c: 010", 1, 'write "010"'),
        ("c: 0x1f", 1, 'write "0x1f"'),
        ("c: 1_000", 1, 'write "1_000"'),
        ("c: 1:30", 1, 'write "1:30"'),
        ("c: 1_0:30", 1, 'write "1_0:30"'),
        ("c: +1_0:30", 1, 'write "+1_0:30"'),
        ("c: 1_000:00", 1, 'write "1_000:00"'),
        ("c: 1_0:30:00.5_0", 1, 'write "1_0:30:00.5_0"'),
        ("c: 1,000", 1, 'write "1,000"'),
        ("c: 1_0.5", 1, 'write "1_0.5"'),
        ("c: .inf", 1, 'write ".inf"'),
        ("c: 1.10", 1, 'read as 1.1: write that, or "1.10" for a text'),
        ("c: 1e3", 1, "read as 1000.0"),
        ("c: 9007199254740993", 1, "2^53-1"),
        ("a: 1\nc:\n", 2, "has no value"),
        ("a: &x 1", 1, "anchor"),
        ("a: *x", 1, "alias"),
        ("a: !!python/object:os.system 1", 1, "tag"),
        ("a: ! 1", 1, "tag"),
        ("a: 1\nb: 2\na: 3", 3, "for the second time"),
        ("{a: 1, 'a': 2}", 1, "for the second time"),
        ("1: a", 1, "not a text"),
        ("? [a]\n: b", 1, "not a text"),
        ("<<: {a: 1}", 1, 'write "<<"'),
        ("a: 1\n---\nb: 2", 2, "second document"),
        ("%YAML 1.1\n---\na: 1", 1, "directive"),
        ("# a plan\n\n%YAML 1.2\n---\na: 1", 3, "directive"),
        ("%FUTURE x\n---\na: 1", 1, "directive"),
        (f"%YAML {'1' * 6000}.1\n---\na: 1", 1, "directive"),
        (f"a: 1\n...\n%YAML {'1' * 6000}.1\n---\na: 1", 3, "not YAML"),
        ('a: 1\nb: "\\UFFFFFFFF"', 2, "not YAML"),
        ('a: 1\nb: "\\U00110000"', 2, "not YAML"),
        ('a: 1\nb: "\\ud83d\\ude00"', 2, "half a character"),
        (
            "a: 1 # \x85b: 2",
            1,
            'U+0085, which readers of YAML do not agree on: leave it out, or write "\\u0085"',
        ),
        ("a: 1\n# \u2028b: 2", 2, 'write "\\u2028"'),
        ("a: 'x\u2029'", 1, 'write "\\u2029"'),
        ("a: 1\nb: \ufeff2", 2, 'write "\\ufeff"'),
        ("a: 1\nb: 2 # \rc: 3", 2, "end each line with LF or CRLF"),
        ("a: 'x", 1, "not YAML"),
        ("a: 1\n\tb: 2", 2, "not YAML"),
        ("a: 1\nb: \x07", 2, "escape"),
        ("", 1, "empty"),
        ("- " * 100 + "a", 1, "64 levels"),
    ],
)
def test_what_readers_of_yaml_do_not_agree_on_is_refused_with_its_line_and_what_to_write(
    text: str, line: int, says: str, tmp_path: Path
) -> None:
    answer = refused(tmp_path, text)
    assert field(answer) == "--plan-file"
    assert f"{tmp_path / 'plan.yaml'}, whose line {line} " in answer["message"]
    assert says in answer["message"]
    assert not (tmp_path / "store.db").exists() or Commands(tmp_path).answer("list")["requests"] == []


@st.composite
def nearly_plans(draw: st.DrawFn) -> str:
    """A plan with other text in some places."""
    text = draw(st.sampled_from([STEP, JSON]))
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 4)))
        text = text[:begin] + draw(st.sampled_from(PIECES) | st.text(max_size=3)) + text[end:]
    return text


PIECES = [
    *"%&*!|>?:-#,[]{}'\"\\\t\r\n\0\x85\ufeff",
    "\n---\n", "\n...\n", "\n%YAML 1", "\n%TAG ! ", "!<", "%ff", "\\U", "\\x", "FFFFFFFF", '"\\U00110000"', "9" * 5000,
    "[" * 200, "- " * 200,
]  # fmt: skip


@settings(max_examples=number_of(5000, few=300))
@given(st.text(max_size=200) | nearly_plans())
def test_of_any_text_comes_a_plan_or_a_refusal(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(text.encode(errors="replace"))
    try:
        json.loads(read_plan(file))
    except NexusControlError as fault:
        assert f"{file}, w" in fault.message


@pytest.mark.parametrize("name", ["plan.json", "plan"])
def test_json_that_is_broken_is_refused_with_its_file_and_line(name: str, tmp_path: Path) -> None:
    answer = refused(tmp_path, '[{"step_id": "s1",\n]', name)
    assert field(answer) == "--plan-file"
    assert str(tmp_path / name) in answer["message"]
    assert "line 2" in answer["message"]


def test_yaml_of_more_bytes_than_a_plan_may_have_is_not_read(tmp_path: Path) -> None:
    assert "larger than" in refused(tmp_path, "- a\n" * 100_000)["message"]
