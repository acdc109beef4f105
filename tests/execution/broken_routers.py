"""Routers that each break a promise of the contract, and the promises that find them out.

The first promise of each is the one that is broken; the others follow from it.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.run_bundle import make_run_bundle
from nexus_control.execution.router import KnownRun, RouterOutcomeUnknown, RouterProtocol
from nexus_control.integrity import prefixed, sha256_hex
from tests.execution.honest_router import ADAPTER, NOW, HonestRouter, Shop

ONCE = "a_decision_is_executed_once_and_its_proof_verifies"
ONE_OF_MANY = "of_many_who_execute_one_runs"
FAILED = "a_failed_decision_is_recorded_with_its_run"
LOST = "a_lost_decision_waits_for_a_person"


class Unfinished(HonestRouter):
    def answer(self, run_id: str, status: str, steps: list[str]) -> Any:
        answered = super().answer(run_id, status, steps)
        return answered | ({"status": "running"} if "pay" in steps else {})


class PayingTwice(HonestRouter):
    def apply(self, run_id: str, steps: list[str]) -> None:
        super().apply(run_id, steps * (2 if "pay" in steps else 1))


class Nameless(HonestRouter):
    def answer(self, run_id: str, status: str, steps: list[str]) -> Any:
        answered = super().answer(run_id, status, steps)
        return answered if status == "failed" else answered | {"run_id": None}


class SameName(HonestRouter):
    def answer(self, run_id: str, status: str, steps: list[str]) -> Any:
        return super().answer("run-0", status, steps)


class Uncounted(HonestRouter):
    def answer(self, run_id: str, status: str, steps: list[str]) -> Any:
        return super().answer(run_id, status, steps) | {"steps_executed": "two"}


class NotJson(HonestRouter):
    def answer(self, run_id: str, status: str, steps: list[str]) -> Any:
        return super().answer(run_id, status, steps) | {"raw": b"bytes"}


class ClaimsSuccess(HonestRouter):
    def answer(self, run_id: str, status: str, steps: list[str]) -> Any:
        return super().answer(run_id, "completed", steps)


class RaisesFailure(HonestRouter):
    def answer(self, run_id: str, status: str, steps: list[str]) -> Any:
        if status == "failed":
            raise ValueError("a step broke")
        return super().answer(run_id, status, steps)


class NamelessFailure(HonestRouter):
    def answer(self, run_id: str, status: str, steps: list[str]) -> Any:
        answered = super().answer(run_id, status, steps)
        return answered | {"run_id": ""} if status == "failed" else answered


class ClaimsNoEffect(HonestRouter):
    def apply(self, run_id: str, steps: list[str]) -> None:
        super().apply(run_id, [*steps, "pay"] if "break" in steps else steps)

    def answer(self, run_id: str, status: str, steps: list[str]) -> Any:
        answered = super().answer(run_id, status, steps)
        return answered | ({"effect": "none", "steps_executed": 0} if status == "failed" else {})


class PayingInADryRun(HonestRouter):
    def run(self, goal: str, adapter_id: str, dry_run: bool, *rest: Any, **named: Any) -> Any:
        answered = super().run(goal, adapter_id, dry_run, *rest, **named)
        if dry_run:
            self.apply("", ["pay"])
        return answered


class NoDryRun(HonestRouter):
    def run(self, goal: str, adapter_id: str, dry_run: bool, *rest: Any, **named: Any) -> Any:
        if dry_run:
            raise NexusControlError(ErrorCode.ROUTER_NOT_READY, "there are no dry runs")
        return super().run(goal, adapter_id, dry_run, *rest, **named)


class LosesSilently(HonestRouter):
    def run(self, *given: Any, **named: Any) -> Any:
        try:
            return super().run(*given, **named)
        except RouterOutcomeUnknown as lost:
            if lost.run_id is None:
                raise
            return self.answer(lost.run_id, "completed", ["lose"])


class RaisesAnyError(HonestRouter):
    def run(self, *given: Any, **named: Any) -> Any:
        try:
            return super().run(*given, **named)
        except RouterOutcomeUnknown as lost:
            raise ValueError("no answer") from lost


class RefusesLate(HonestRouter):
    def run(
        self, goal: str, adapter_id: str, dry_run: bool, plan: str | None = None, *rest: Any, **named: Any
    ) -> Any:
        if plan == "steal":
            self.apply("", ["pay"])
        return super().run(goal, adapter_id, dry_run, plan, *rest, **named)


class AnyAdapter(HonestRouter):
    def run(self, goal: str, adapter_id: str, *rest: Any, **named: Any) -> Any:
        return super().run(goal, ADAPTER, *rest, **named)


class ListedCapabilities(HonestRouter):
    def get_adapter_capabilities(self, adapter_id: str) -> Any:
        known = super().get_adapter_capabilities(adapter_id)
        return None if known is None else sorted(known)


class EmptyCapabilities(HonestRouter):
    def get_adapter_capabilities(self, adapter_id: str) -> Any:
        return super().get_adapter_capabilities(adapter_id) or set[str]()


class NoLimit(HonestRouter):
    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None:
        super().check_plan(adapter_id, plan, None)


class OfOneThread(HonestRouter):
    """As a connection of `sqlite3` is."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.thread = threading.get_ident()

    def apply(self, run_id: str, steps: list[str]) -> None:
        if threading.get_ident() != self.thread:
            raise RuntimeError("this is another thread")
        super().apply(run_id, steps)


class ExportsAnother(HonestRouter):
    def export_run(self, run_id: str) -> dict[str, Any]:
        super().export_run(run_id)
        return super().export_run("run-0")


class WrongDigest(HonestRouter):
    def export_run(self, run_id: str) -> dict[str, Any]:
        return super().export_run(run_id) | {"digests": {"sha256": "0" * 64}}


class ExportsSuccess(HonestRouter):
    def export_run(self, run_id: str) -> dict[str, Any]:
        status = self.shop.runs.get(run_id)
        if status is not None and status[1] == "failed":
            self.shop.runs[run_id] = (status[0], "completed")
        return super().export_run(run_id)


class ExportsNothing(HonestRouter):
    def export_run(self, run_id: str) -> dict[str, Any]:
        return super().export_run(run_id) if run_id in self.shop.runs else {}


class UnstableDigest(HonestRouter):
    asked = 0

    def adapter_digest(self, adapter_id: str) -> str | None:
        self.asked += 1
        return prefixed(sha256_hex(f"{self.declaration} {self.asked}"))


class BareDigest(HonestRouter):
    def adapter_digest(self, adapter_id: str) -> str | None:
        digest = super().adapter_digest(adapter_id)
        return digest and digest.removeprefix("sha256:")


class OneDigest(HonestRouter):
    def adapter_digest(self, adapter_id: str) -> str | None:
        return prefixed(sha256_hex("any")) if adapter_id == ADAPTER else None


class NeverReady(HonestRouter):
    def require_ready(self, adapter_id: str, dry_run: bool, plan: str | None) -> None:
        raise NexusControlError(ErrorCode.ROUTER_NOT_READY, "not today")


class RunsWhenAsked(HonestRouter):
    def obstacle_to(self, adapter_id: str, dry_run: bool, plan: str | None) -> None:
        self.apply("", ["pay"])


class ChecksNothing(HonestRouter):
    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None:
        if plan != "steal":
            super().check_plan(adapter_id, plan, max_steps)


class ChecksNothingAndHasNoDigest:
    """The promises of `check_plan` are of every router that has it."""

    def __init__(self, shop: Shop) -> None:
        honest = ChecksNothing(shop)
        self.run, self.check_plan = honest.run, honest.check_plan
        self.get_adapter_capabilities = honest.get_adapter_capabilities


class TakesAnyAdapter(HonestRouter):
    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None:
        super().check_plan(ADAPTER, plan, max_steps)

    def run(self, goal: str, adapter_id: str, *rest: Any, **named: Any) -> Any:
        super().check_plan(adapter_id, None, None)
        return super().run(goal, adapter_id, *rest, **named)


class RefusesWithAnotherCode(HonestRouter):
    def require_ready(self, adapter_id: str, dry_run: bool, plan: str | None) -> None:
        if adapter_id != ADAPTER:
            raise NexusControlError(ErrorCode.INVALID_STATE, "there is no such adapter")


class RunsWhenPrepared(HonestRouter):
    @contextmanager
    def prepared(self, adapter_id: str, dry_run: bool, plan: str | None) -> Generator[None]:
        self.apply("", ["pay"])
        yield


class StaysPrepared(HonestRouter):
    is_prepared = False

    @contextmanager
    def prepared(self, adapter_id: str, dry_run: bool, plan: str | None) -> Generator[None]:
        self.require_ready(adapter_id, dry_run, plan)
        if self.is_prepared:
            raise NexusControlError(ErrorCode.ROUTER_NOT_READY, "the server runs already")
        self.is_prepared = True
        yield


class PreparesAnything(HonestRouter):
    @contextmanager
    def prepared(self, adapter_id: str, dry_run: bool, plan: str | None) -> Generator[None]:
        yield


class DescribesLess(HonestRouter):
    def describe(self, adapter_id: str, plan: str | None) -> Any:
        return super().describe(adapter_id, plan)[:1]


class FindsAll(HonestRouter):
    def runs_of(self, request_id: str) -> tuple[KnownRun, ...]:
        return tuple(run for run, _ in self.shop.runs.values())


class NeverEnds(HonestRouter):
    def runs_of(self, request_id: str) -> tuple[KnownRun, ...]:
        return tuple(replace(run, has_ended=False) for run in super().runs_of(request_id))


class ForgetsLostRuns(HonestRouter):
    def run(self, *given: Any, **named: Any) -> Any:
        try:
            return super().run(*given, **named)
        except RouterOutcomeUnknown as lost:
            if lost.run_id is not None:
                del self.shop.runs[lost.run_id]
            raise


class RunsAgain(HonestRouter):
    def run(self, *given: Any, **named: Any) -> Any:
        try:
            return super().run(*given, **named)
        except RouterOutcomeUnknown as had:
            if had.run_id is None:
                self.apply("", ["pay"])
            raise


class ExportsWithTheHour(HonestRouter):
    hours = 0

    def export_run(self, run_id: str) -> dict[str, Any]:
        self.hours += 1
        run = super().export_run(run_id)["run"] | {"exported_in_hour": self.hours}
        return make_run_bundle(run, [], exported_at=NOW, export_method="test")


@dataclass(frozen=True)
class Break:
    router: type[RouterProtocol]
    promises: tuple[str, ...]


BROKEN = (
    Break(Unfinished, ("a_run_that_went_well_is_told_as_completed", "a_dry_run_that_is_offered_ends_well")),
    Break(PayingTwice, ("a_run_has_its_effect_once", "runs_at_once_are_told_apart", ONCE, ONE_OF_MANY)),
    Break(Nameless, ("an_answer_names_its_run", ONCE)),
    Break(
        SameName,
        (
            "an_answer_names_its_run",
            "runs_at_once_are_told_apart",
            "an_export_tells_how_the_run_ended",
            "a_run_is_found_by_its_request",
            FAILED,
        ),
    ),
    Break(Uncounted, ("an_answer_counts_its_steps", "a_description_has_every_step")),
    Break(NotJson, ("an_answer_is_json",)),
    Break(ClaimsSuccess, ("a_failed_run_is_told_as_failed",)),
    Break(RaisesFailure, ("a_failed_run_is_told_as_failed", FAILED)),
    Break(NamelessFailure, ("a_failed_run_is_named", FAILED)),
    Break(ClaimsNoEffect, ("a_failure_that_claims_no_effect_had_none",)),
    Break(PayingInADryRun, ("a_dry_run_has_no_effect",)),
    Break(NoDryRun, ("a_dry_run_that_is_offered_ends_well",)),
    Break(LosesSilently, ("a_lost_run_is_told_as_unknown", LOST)),
    Break(RaisesAnyError, ("a_lost_run_is_told_as_unknown", LOST)),
    Break(RefusesLate, ("a_refusal_comes_before_any_effect", "a_plan_that_is_refused_is_not_run")),
    Break(AnyAdapter, ("an_unknown_adapter_runs_nothing",)),
    Break(ListedCapabilities, ("capabilities_are_a_set_of_words",)),
    Break(EmptyCapabilities, ("an_unknown_adapter_has_no_capabilities",)),
    Break(NoLimit, ("a_plan_beyond_the_limit_runs_nothing",)),
    Break(OfOneThread, ("runs_at_once_are_told_apart", ONE_OF_MANY)),
    Break(
        ExportsAnother, ("an_export_is_of_the_run_that_is_named", "an_export_tells_how_the_run_ended", ONCE)
    ),
    Break(WrongDigest, ("an_export_matches_its_digest", ONCE)),
    Break(ExportsSuccess, ("an_export_tells_how_the_run_ended", FAILED)),
    Break(ExportsNothing, ("a_run_that_is_not_there_is_not_exported",)),
    Break(ExportsWithTheHour, (ONCE,)),
    Break(UnstableDigest, ("the_digest_of_an_adapter_is_stable",)),
    Break(BareDigest, ("the_digest_of_an_adapter_is_stable",)),
    Break(OneDigest, ("another_declaration_has_another_digest",)),
    Break(
        NeverReady,
        (
            "a_plan_that_works_is_taken_and_not_run",
            "a_prepared_run_does_what_a_run_does",
            ONCE,
            ONE_OF_MANY,
            FAILED,
            LOST,
        ),
    ),
    Break(RunsWhenAsked, ("a_plan_that_works_is_taken_and_not_run",)),
    Break(ChecksNothing, ("a_plan_that_is_refused_is_not_run",)),
    Break(ChecksNothingAndHasNoDigest, ("a_plan_that_is_refused_is_not_run",)),
    Break(TakesAnyAdapter, ("an_unknown_adapter_is_refused_before_the_claim",)),
    Break(RefusesWithAnotherCode, ("a_run_that_cannot_begin_is_refused_with_a_code",)),
    Break(
        RunsWhenPrepared,
        ("a_prepared_run_does_what_a_run_does", "what_is_not_ready_is_not_prepared", ONCE, ONE_OF_MANY),
    ),
    Break(StaysPrepared, ("a_prepared_run_does_what_a_run_does",)),
    Break(PreparesAnything, ("what_is_not_ready_is_not_prepared",)),
    Break(DescribesLess, ("a_description_has_every_step",)),
    Break(FindsAll, ("a_run_is_found_by_its_request", "a_lost_run_is_found_by_its_request")),
    Break(NeverEnds, ("a_run_is_found_by_its_request",)),
    Break(ForgetsLostRuns, ("a_lost_run_is_found_by_its_request",)),
    Break(RunsAgain, ("an_execution_is_not_run_twice",)),
)
