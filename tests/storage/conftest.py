from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus_control.storage import open_storage
from nexus_control.storage.contract import Storage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def storage(path: Path) -> Iterator[Storage]:
    storage = open_storage(path)
    yield storage
    storage.close()
