"""A store and a run log that an earlier commit of this version wrote (`tests/vectors/stores`) open and go on."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus_control import Actor, LocalRouter, NexusControlTools, PythonAdapter, verify_evidence
from nexus_control.log.upkeep import find_faults
from tests.support.governed import data_of
from tests.support.places import REPOSITORY

FILES = REPOSITORY / "tests" / "vectors" / "stores"
EXECUTED, PENDING = "2c65aeb2-d5d5-4136-b92a-621a02f98258", "35b7ee9c-761a-4eb1-86f5-5d9cf7136087"


def rotated(service: str) -> str:
    return f"new keys for {service}"


@pytest.fixture
def router(tmp_path: Path) -> Iterator[LocalRouter]:
    shutil.copy(FILES / "runs.db", tmp_path)
    router = LocalRouter([PythonAdapter("keys", {"rotate": rotated})], tmp_path / "runs.db")
    yield router
    router.close()


@pytest.fixture
def tools(tmp_path: Path, router: LocalRouter) -> Iterator[NexusControlTools]:
    shutil.copy(FILES / "store.db", tmp_path)
    with NexusControlTools(tmp_path / "store.db", plan_checker=router) as tools:
        yield tools


def test_an_earlier_store_is_whole(tools: NexusControlTools) -> None:
    assert find_faults(tools.store) == []
    assert data_of(tools.status(EXECUTED))["state"] == "completed"


def test_an_earlier_request_is_approved_and_executed(tools: NexusControlTools, router: LocalRouter) -> None:
    data_of(tools.approve(PENDING, Actor("human", "bob")))
    data_of(tools.execute(PENDING, "python:keys", Actor("system", "agent"), router))
    assert find_faults(tools.store) == []


def test_an_earlier_run_is_exported_with_its_decision(tools: NexusControlTools, router: LocalRouter) -> None:
    linked = data_of(tools.status(EXECUTED))["run"]
    run = router.export_run(linked["run_id"])
    exported = tools.export_audit_package(EXECUTED, embed_router_bundle=True, router_bundle=run)
    assert verify_evidence(data_of(exported)["package"], require="L2").ok
