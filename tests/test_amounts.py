"""`pytest` takes samples, and `make joints` leaves nothing out."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import amounts
from tests.support.amounts import number_of, sample_of
from tests.support.places import REPOSITORY

SAMPLED = """
import pytest

@pytest.mark.sample(1)
@pytest.mark.parametrize("case", "abc")
def test_of_three_cases(case): ...
"""
TAKES_A_SAMPLE = re.compile(r"mark\.sample\(|amounts import")


@pytest.fixture(params=[False, True], ids=["pytest", "make joints"])
def in_full(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(amounts, "IN_FULL", request.param)
    return request.param


def test_a_sample_has_an_order_and_is_the_same_each_time_and_in_full_it_is_the_whole(in_full: bool) -> None:
    sample = sample_of(range(100), 7)
    assert sample == sample_of(range(100), 7) == sorted(set(sample))
    assert len(sample) == (100 if in_full else 7)
    assert sample_of("ab", 7) == ["a", "b"]
    assert number_of(300, few=20) == (300 if in_full else 20)


def test_tests_of_other_names_take_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amounts, "IN_FULL", False)
    assert {sample_of("ab", 1, name)[0] for name in map(str, range(20))} == {"a", "b"}


@pytest.fixture
def sampled(tmp_path: Path) -> str:
    file = tmp_path / "test_sampled.py"
    file.write_text(SAMPLED, encoding="utf-8")
    return str(file)


def collected(*arguments: str, in_full: str = "") -> str:
    """The last line of what pytest says of tests that it would run, under this repository's configuration."""
    program = [sys.executable, "-m", "pytest", "-n", "0", "-q", "--collect-only", "-p", "tests.conftest"]
    ran = subprocess.run(
        [*program, "-c", "pyproject.toml", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"TESTS_IN_FULL": in_full},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return ran.stdout.splitlines()[-1]


def test_the_mark_leaves_out_cases_but_not_in_full_nor_those_that_are_named(sampled: str) -> None:
    assert collected(sampled).startswith("1/3 tests collected (2 deselected)")
    assert collected(sampled, in_full="1").startswith("3 tests collected")
    named = [f"{sampled}::test_of_three_cases[{case}]" for case in "abc"]
    assert collected(*named).startswith("3 tests collected")


def test_make_joints_runs_every_file_that_takes_a_sample_in_full() -> None:
    # Where these tests are themselves started by make, a make of its own says which folder it enters.
    command = ["make", "--no-print-directory", "-n", "joints", "PYTHON=echo"]
    recipe = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert "TESTS_IN_FULL=1" in recipe
    shown = subprocess.run(
        ["sh", "-c", recipe], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    sampled = {
        str(file.relative_to(REPOSITORY))
        for file in REPOSITORY.glob("tests/**/test_*.py")
        if TAKES_A_SAMPLE.search(file.read_text(encoding="utf-8"))
    }
    assert len(sampled) > 20
    assert {each for each in sampled if not each.startswith("tests/joints/")} <= set(shown)
    assert "tests/joints" in shown
