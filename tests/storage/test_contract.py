from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus_control.storage import open_storage
from nexus_control.storage.contract import Storage
from tests.storage.contract_suite import Promise, every_promise


@pytest.fixture(params=["memory:", ":memory:", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    place: str = request.param
    storage = open_storage(tmp_path / "store.db" if place == "file" else place)
    yield storage
    storage.close()


@every_promise
def test_it_keeps_the_contract(promise: Promise, storage: Storage) -> None:
    promise(storage)
