import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.cli.screens.golden import FOLDER, GOLDEN, IS_WRITING, Shot, shots

MODULES = sorted(each.stem for each in Path(__file__).parent.glob("test_*.py") if each != Path(__file__))
PATH = re.compile(r"(?<![\w.~:<*/+=])/\w[\w./-]*")
STANDING = (FOLDER, "/etc/nexus-control/")
"""The paths that are the same on every machine."""
POINTERS = {"/command", "/service", "/wait"}
"""The JSON pointers of the rules that are shown."""


def all_shots() -> list[Shot]:
    return [shot for each in MODULES for shot in shots(import_module(f"tests.cli.screens.{each}").SCREENS)]


def test_every_golden_file_is_used() -> None:
    unused = set(GOLDEN.iterdir()) - {shot.file for shot in all_shots()}
    if IS_WRITING:
        for file in unused:
            file.unlink()
    else:
        assert sorted(file.name for file in unused) == []


@pytest.mark.parametrize("file", sorted(GOLDEN.iterdir()), ids=lambda file: file.name)
def test_a_golden_file_has_no_traceback_and_no_path_of_another_machine(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert "Traceback" not in text
    paths = {path for path in PATH.findall(text) if not path.startswith(STANDING)}
    assert paths <= (POINTERS if file.name.startswith("rules-") else set())


def test_no_two_screens_have_one_name() -> None:
    names = [shot.file.name for shot in all_shots()]
    assert sorted(set(names)) == sorted(names)
