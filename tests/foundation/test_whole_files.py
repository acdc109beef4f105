import os
from pathlib import Path

import pytest

from nexus_control.system.whole_files import OWNER_ONLY, overwrite_file, replace_file

SECTOR = 512
ANYBODY = (-1, -1)


@pytest.mark.parametrize(("size", "is_overwritten"), [(1, True), (SECTOR, True), (SECTOR + 1, False)])
def test_a_file_is_overwritten_in_place_only_where_it_lies_within_one_sector(
    size: int, is_overwritten: bool, tmp_path: Path
) -> None:
    file, old, new = tmp_path / "file", b"a" * size, b"b" * size
    replace_file(file, old)
    assert overwrite_file(file, new, OWNER_ONLY, ANYBODY) is is_overwritten
    assert file.read_bytes() == (new if is_overwritten else old)


def test_a_file_of_another_length_mode_or_name_is_left_to_be_replaced(tmp_path: Path) -> None:
    file = tmp_path / "file"
    replace_file(file, b"old")
    assert not overwrite_file(file, b"longer", OWNER_ONLY, ANYBODY)
    assert not overwrite_file(file, b"new", 0o640, ANYBODY)
    assert not overwrite_file(file, b"new", OWNER_ONLY, (os.getuid() + 1, -1))
    (tmp_path / "other").hardlink_to(file)
    assert not overwrite_file(file, b"new", OWNER_ONLY, ANYBODY)
    assert not overwrite_file(tmp_path / "none", b"new", OWNER_ONLY, ANYBODY)
    assert file.read_bytes() == b"old"
