"""The generated parts of docs/reference are what the code makes of them: `make reference` after a change."""

from pathlib import Path

import pytest

from tests.support.reference.sections import FOLDER, SECTIONS, filled, parts_of

PAGES = sorted(FOLDER.glob("*.md"))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_what_the_code_makes_of_it(page: Path) -> None:
    assert read(page) == filled(read(page)), "run `make reference`"


def test_each_generated_part_is_in_exactly_one_page() -> None:
    assert sorted(part for page in PAGES for part in parts_of(read(page))) == sorted(SECTIONS)


def test_what_is_written_by_hand_into_a_generated_part_is_taken_out_again() -> None:
    page = read(FOLDER / "errors.md")
    assert filled(page.replace("| code |", "| By hand |\n| code |")) == page
    with pytest.raises(KeyError):
        filled("<!-- generated: riddles -->\n<!-- end -->")
