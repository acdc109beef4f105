from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus_control.storage import open_storage
from nexus_control.storage.contract import Storage
from tests.storage.contract_suite import Promise, every_promise
from tests.support.model_storage import ModelStorage
from tests.support.postgres import open_postgres


@pytest.fixture(params=["model", ":memory:", "file", "postgres"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "model":
        storage: Storage = ModelStorage()
    elif request.param == "postgres":
        storage = open_postgres(request.getfixturevalue("postgres_url"))
    else:
        storage = open_storage(tmp_path / "store.db" if request.param == "file" else request.param)
    yield storage
    storage.close()


@every_promise
def test_it_keeps_the_contract(promise: Promise, storage: Storage) -> None:
    promise(storage)
