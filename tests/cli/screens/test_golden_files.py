from importlib import import_module
from pathlib import Path

from tests.cli.screens.golden import GOLDEN, IS_WRITING, Shot, shots

MODULES = sorted(each.stem for each in Path(__file__).parent.glob("test_*.py") if each != Path(__file__))


def all_shots() -> list[Shot]:
    return [shot for each in MODULES for shot in shots(import_module(f"tests.cli.screens.{each}").SCREENS)]


def test_every_golden_file_is_used() -> None:
    unused = set(GOLDEN.iterdir()) - {shot.file for shot in all_shots()}
    if IS_WRITING:
        for file in unused:
            file.unlink()
    else:
        assert sorted(file.name for file in unused) == []


def test_no_two_screens_have_one_name() -> None:
    names = [shot.file.name for shot in all_shots()]
    assert sorted(set(names)) == sorted(names)
