"""The routers of this package keep the contract, and a router that breaks a promise is found out by that promise."""

import doctest
import inspect
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nexus_control import LocalRouter, NexusControlTools, PythonAdapter
from nexus_control.evidence.run_bundle import make_run_bundle
from nexus_control.execution.contract import PROMISES, Promise, Trial, check_router
from nexus_control.execution.nexus_router import NexusRouterBridge
from nexus_control.execution.router import RouterProtocol
from tests.execution.broken_routers import BROKEN, Break
from tests.execution.honest_router import ADAPTER, HonestRouter, Shop
from tests.execution.support import plan, step

PROMISED = {promise.__name__ for promise in PROMISES}
NOT_OFFERED_BY_THE_BRIDGE = {
    "a_description_has_every_step",
    "a_prepared_run_does_what_a_run_does",
    "what_is_not_ready_is_not_prepared",
    "a_lost_decision_waits_for_a_person",
    "a_lost_run_is_found_by_its_request",
    "a_lost_run_is_told_as_unknown",
    "a_run_is_found_by_its_request",
    "an_execution_is_not_run_twice",
    "another_declaration_has_another_digest",
}


@dataclass
class Till:
    """What the functions of an adapter do, and how often."""

    paid: list[int] = field(default_factory=list[int])

    def look(self) -> int:
        return len(self.paid)

    def pay(self, cents: int) -> int:
        self.paid.append(cents)
        return cents

    def overdraw(self) -> None:
        raise ValueError("there is not enough money")

    def lose(self) -> None:
        self.paid.append(0)
        raise TimeoutError("the bank did not answer")


def a_plan(*methods: str) -> str:
    named = ((method, {"cents": 5} if method == "pay" else {}) for method in methods)
    return plan(*(step(method, f"s{n}", "till", **args) for n, (method, args) in enumerate(named)))


WORKS, FAILS = a_plan("look", "pay"), a_plan("overdraw")


def local(folder: Path, open_: ExitStack) -> Trial:
    till = Till()
    functions: dict[str, Callable[..., object]] = {
        "look": till.look, "pay": till.pay, "overdraw": till.overdraw, "lose": till.lose
    }  # fmt: skip

    def make(declared: Mapping[str, Callable[..., object]]) -> RouterProtocol:
        return open_.enter_context(LocalRouter([PythonAdapter("till", declared)], folder / "runs.db"))

    return Trial(
        make_router=lambda: make(functions),
        make_tools=NexusControlTools,
        adapter_id="python:till",
        works=WORKS,
        fails=FAILS,
        effects=lambda: len(till.paid),
        loses=a_plan("lose"),
        refuses=a_plan("steal"),
        make_changed_router=lambda: make({"look": till.look}),
    )


class FakeNexusRouter(ModuleType):
    """`nexus_router.tool` in memory: its answers have the shape of the recorded ones (tests/vectors/router)."""

    def __init__(self, till: Till) -> None:
        super().__init__("nexus_router.tool")
        self.till = till
        self.bundles: dict[str, dict[str, object]] = {}
        self.ids = itertools.count()

    def run(self, request: dict[str, Any], *, db_path: str, adapters: Mapping[str, object]) -> dict[str, Any]:
        run_id = f"nexus-{next(self.ids)}"
        steps: list[dict[str, Any]] = request["plan_override"]
        error: dict[str, str] | None = None
        if request["dispatch"]["adapter_id"] not in adapters:
            error, steps = {"code": "UNKNOWN_ADAPTER", "message": "Unknown adapter"}, []
        elif any(each["call"]["method"] == "overdraw" for each in steps):
            error = {"code": "TOOL_FAILED", "message": "there is not enough money"}
        elif request["mode"] == "apply":
            self.till.paid += [5 for each in steps if each["call"]["method"] == "pay"]
        status = "FAILED" if error else "COMPLETED"
        self.bundles[run_id] = make_run_bundle(
            {"run_id": run_id, "mode": request["mode"], "goal": request["goal"], "status": status},
            [],
            exported_at="2026-01-01T00:00:00Z",
            export_method="test",
        )
        results: list[dict[str, Any]] = [
            {
                "step_id": each["step_id"],
                "status": "error" if error else "ok",
                "simulated": request["mode"] != "apply",
                "output": {},
            }
            for each in steps
        ]
        told: dict[str, Any] = {
            "run": {"run_id": run_id},
            "summary": {"steps": len(steps)},
            "results": results,
        }
        return told | ({"error": error} if error else {})

    def export(self, request: dict[str, str]) -> dict[str, Any]:
        found = self.bundles.get(request["run_id"])
        return {"ok": found is not None, "artifact": found, "error": None if found else "no such run"}


def bridge(folder: Path, patch: pytest.MonkeyPatch) -> Trial:
    till = Till()
    patch.setitem(sys.modules, "nexus_router", ModuleType("nexus_router"))
    patch.setitem(sys.modules, "nexus_router.tool", FakeNexusRouter(till))
    adapters = {"fake:till": SimpleNamespace(capabilities=frozenset({"apply", "dry_run"}))}
    return Trial(
        make_router=lambda: NexusRouterBridge(adapters=adapters, db_path=str(folder / "router.db")),
        make_tools=NexusControlTools,
        adapter_id="fake:till",
        works=WORKS,
        fails=FAILS,
        effects=lambda: len(till.paid),
        refuses=json.dumps("pay"),
    )


def shop_trial(kind: Callable[..., Any] = HonestRouter) -> Trial:
    shop = Shop()
    return Trial(
        make_router=lambda: kind(shop),
        make_tools=NexusControlTools,
        adapter_id=ADAPTER,
        works="look pay",
        fails="look break",
        effects=lambda: shop.paid,
        loses="lose",
        refuses="steal",
        make_changed_router=lambda: kind(shop, "gives"),
    )


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    with ExitStack() as stack:
        yield local(tmp_path, stack)


@pytest.mark.parametrize("promise", PROMISES)
def test_the_embedded_router_keeps_the_contract(promise: Promise, trial: Trial) -> None:
    promise(trial)


def test_the_bridge_keeps_the_contract_of_what_it_offers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = check_router(bridge(tmp_path, monkeypatch))
    assert [verdict for verdict in verdicts if verdict.status == "broken"] == []
    assert {each.promise for each in verdicts if each.status == "skipped"} == NOT_OFFERED_BY_THE_BRIDGE


def test_a_router_that_offers_everything_is_put_to_every_promise() -> None:
    verdicts = check_router(shop_trial())
    assert [verdict for verdict in verdicts if verdict.status != "kept"] == []
    assert {verdict.promise for verdict in verdicts} == PROMISED


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.router.__name__)
def test_a_broken_router_is_found_out_by_the_promise_that_it_breaks(broken: Break) -> None:
    verdicts = check_router(shop_trial(broken.router))
    assert {each.promise for each in verdicts if each.status == "broken"} == {*broken.promises}
    for verdict in verdicts:
        if verdict.status == "broken":
            seen, _, mend = verdict.words.partition(". ")
            assert seen, verdict
            assert mend.endswith("."), verdict


def test_each_promise_is_broken_by_a_router_of_the_table() -> None:
    assert {promise for broken in BROKEN for promise in broken.promises} == PROMISED


def test_a_router_of_two_methods_is_put_to_the_promises_of_every_router() -> None:
    class Small:
        def __init__(self, shop: Shop) -> None:
            self.run = HonestRouter(shop).run
            self.get_adapter_capabilities = HonestRouter(shop).get_adapter_capabilities

    small = replace(shop_trial(Small), loses=None, refuses=None, make_changed_router=None)
    verdicts = check_router(small)
    assert {each.status for each in verdicts} == {"kept", "skipped"}
    assert {each.promise for each in verdicts if each.status == "kept"} >= {"an_answer_names_its_run"}


def test_an_exception_of_a_router_breaks_the_promise_that_met_it() -> None:
    class Raising(HonestRouter):
        def get_adapter_capabilities(self, adapter_id: str) -> Any:
            raise KeyError(adapter_id)

    verdicts = {each.promise: each for each in check_router(shop_trial(Raising))}
    told = verdicts["an_unknown_adapter_has_no_capabilities"]
    assert told.status == "broken"
    assert "KeyError" in told.words


def test_the_uses_that_the_suite_shows_are_right() -> None:
    names = {"MyRouter": HonestRouter, "NexusControlTools": NexusControlTools, "Trial": Trial, "shop": Shop()}
    said: list[str] = []
    for shown in (Trial, check_router):
        text, known = (
            inspect.getdoc(shown) or "",
            {**names, "check_router": check_router, "trial": shop_trial()},
        )
        example = doctest.DocTestParser().get_doctest(text, known, shown.__name__, None, None)
        assert example.examples
        doctest.DocTestRunner().run(example, out=said.append)
    assert "".join(said) == ""
