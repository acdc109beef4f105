"""Where a decision may stand for a person who looks at it, and what every view has to say of it then.

Each is built on two stores of one clock: `here`, which is looked at, and `elsewhere`, from which histories come.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools
from tests.facade.flow import CAROL, DAVE, asked, bundle_of
from tests.facade.routers import FakeRouter
from tests.support.clock import FakeClock
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of


class Two:
    """Two stores. Their identifiers do not meet."""

    def __init__(self, here: DecisionStore, clock: FakeClock) -> None:
        others = FakeClock()
        others.instant = clock.instant
        for _ in range(500):
            others.new_id()
        self._clocks = (clock, others)
        self.here = NexusControlTools(here)
        self.elsewhere = NexusControlTools(DecisionStore(":memory:", clock=others))

    def later(self, **span: float) -> None:
        for clock in self._clocks:
            clock.advance(**span)

    def after(self, **span: float) -> str:
        return (self._clocks[0].instant + timedelta(**span)).isoformat()

    def approved_for_an_hour(self, tools: NexusControlTools) -> str:
        request_id = asked(tools)
        data_of(tools.approve(request_id, BOB, expires_at=self.after(hours=1)))
        return request_id

    def imported(self, request_id: str, **options: Any) -> str:
        taken = data_of(self.here.import_bundle(bundle_of(self.elsewhere, request_id), **options))
        return taken["imported"]["decision_id"]

    def approved_elsewhere(self, **request: Any) -> str:
        """Imported, with bob's approval."""
        return self.imported(approved(self.elsewhere, **request))

    def rolled_back_over_a_run(self) -> str:
        """Executed here; then an older export of it, in which bob has approved, was put over it."""
        request_id = approved(self.here)
        older = bundle_of(self.here, request_id)
        data_of(self.here.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()))
        data_of(self.here.import_bundle(older, conflict_mode="overwrite", allow_rollback=True))
        return request_id

    def rolled_back_over_a_revocation(self) -> str:
        request_id = approved(self.here)
        older = bundle_of(self.here, request_id)
        data_of(self.here.revoke_approval(request_id, BOB, "wrong window"))
        data_of(self.here.import_bundle(older, conflict_mode="overwrite", allow_rollback=True))
        return request_id

    def forensic(self) -> str:
        return self.imported(approved(self.elsewhere), verify_digest=False)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """`said` are the approvals of the reviewer's page that do not count, each with why; `verdict` begins it; `advice`
    is in what an agent is told to do, and `waits` whether it can wait for something.
    """

    build: Callable[[Two], str]
    state: str
    approvals: tuple[int, int] = (0, 1)
    total: int = 1
    reasons: tuple[str, ...] = ()
    verdict: str = "✗ Decision not executable"
    said: tuple[str, ...] = ()
    advice: str = "Make a new request"
    waits: bool = False

    @property
    def is_approved(self) -> bool:
        current, required = self.approvals
        return current >= required > 0

    @property
    def executable(self) -> bool:
        return not self.reasons


def then(build: Callable[[Two], str], step: Callable[[Two, str], object]) -> Callable[[Two], str]:
    """A situation, and one step further."""

    def built(two: Two) -> str:
        request_id = build(two)
        step(two, request_id)
        return request_id

    return built


def an_hour_later(two: Two, _request_id: str) -> None:
    two.later(hours=1)


def carol_approves(two: Two, request_id: str) -> None:
    data_of(two.here.approve(request_id, CAROL))


def asked_for_an_hour(two: Two) -> str:
    return asked(two.here, expires_at=two.after(hours=1))


def approved_for_an_hour(two: Two) -> str:
    return approved(two.here, expires_at=two.after(hours=1))


IMPORTED = ("imported, as evidence",)
OF_EXPIRED = ("of an expired request",)
SITUATIONS: dict[str, Situation] = {
    "just asked": Situation(
        build=lambda two: asked(two.here),
        state="pending_approval",
        total=0,
        reasons=("MISSING_APPROVALS",),
        advice="approve",
        waits=True,
    ),
    "approved": Situation(
        build=lambda two: approved(two.here),
        state="approved",
        approvals=(1, 1),
        verdict="✓ Decision approved (ready to execute)",
        advice="execute",
    ),
    "an approval that expired": Situation(
        build=then(lambda two: two.approved_for_an_hour(two.here), an_hour_later),
        state="pending_approval",
        reasons=("APPROVAL_EXPIRED", "MISSING_APPROVALS"),
        said=("expired",),
        advice="approve",
        waits=True,
    ),
    "a request that expired before anybody approved": Situation(
        build=then(asked_for_an_hour, an_hour_later),
        state="expired",
        total=0,
        reasons=("EXPIRED", "MISSING_APPROVALS"),
        verdict="✗ Decision not executable (the request expired",
    ),
    "a request that expired approved": Situation(
        build=then(approved_for_an_hour, an_hour_later),
        state="expired",
        reasons=("EXPIRED",),
        verdict="✗ Decision not executable (the request expired",
        said=OF_EXPIRED,
    ),
    "a request that expired approved, revoked then": Situation(
        build=then(
            then(approved_for_an_hour, an_hour_later),
            lambda two, each: data_of(two.here.revoke_approval(each, BOB)),
        ),
        state="expired",
        reasons=("EXPIRED", "MISSING_APPROVALS"),
        verdict="✗ Decision not executable (the request expired",
    ),
    "a request that expired and was denied": Situation(
        build=then(
            then(asked_for_an_hour, an_hour_later),
            lambda two, each: data_of(two.here.deny(each, BOB, "too late")),
        ),
        state="denied",
        total=0,
        reasons=("DENIED",),
        verdict="✗ Decision denied",
    ),
    "a request that expired and was withdrawn": Situation(
        build=then(
            then(asked_for_an_hour, an_hour_later),
            lambda two, each: data_of(two.here.withdraw(each, ALICE, "too late")),
        ),
        state="withdrawn",
        total=0,
        reasons=("WITHDRAWN",),
        verdict="✗ Decision withdrawn",
    ),
    "executed, and past its end": Situation(
        build=then(
            then(
                approved_for_an_hour,
                lambda two, each: data_of(two.here.execute(each, ADAPTER, SCHEDULER, FakeRouter())),
            ),
            an_hour_later,
        ),
        state="completed",
        approvals=(1, 1),
        reasons=("ALREADY_EXECUTED",),
        verdict="✓ Decision executed (run run-1)",
        advice="proof",
    ),
    "approved elsewhere": Situation(
        build=Two.approved_elsewhere,
        state="pending_approval",
        reasons=("IMPORTED_APPROVALS",),
        said=IMPORTED,
        advice="evidence and not authority",
        waits=True,
    ),
    "approved elsewhere, copied under a new id": Situation(
        build=lambda two: two.imported(approved(two.elsewhere), conflict_mode="new_decision_id"),
        state="pending_approval",
        reasons=("IMPORTED_APPROVALS",),
        said=IMPORTED,
        advice="evidence and not authority",
        waits=True,
    ),
    "approved elsewhere, and here": Situation(
        build=then(Two.approved_elsewhere, carol_approves),
        state="approved",
        approvals=(1, 1),
        total=2,
        verdict="✓ Decision approved (ready to execute)",
        said=IMPORTED,
        advice="execute",
    ),
    "approved elsewhere by one of two": Situation(
        build=lambda two: two.approved_elsewhere(min_approvals=2),
        state="pending_approval",
        approvals=(0, 2),
        reasons=("MISSING_APPROVALS", "IMPORTED_APPROVALS"),
        verdict="✗ Decision not executable (missing 2 approvals)",
        said=IMPORTED,
        advice="evidence and not authority",
        waits=True,
    ),
    "approved elsewhere by one and here by one of two": Situation(
        build=then(lambda two: two.approved_elsewhere(min_approvals=2), carol_approves),
        state="pending_approval",
        approvals=(1, 2),
        total=2,
        reasons=("IMPORTED_APPROVALS",),
        said=IMPORTED,
        advice="evidence and not authority",
        waits=True,
    ),
    "approved elsewhere for an hour that is over": Situation(
        build=then(
            lambda two: two.imported(two.approved_for_an_hour(two.elsewhere)),
            an_hour_later,
        ),
        state="pending_approval",
        reasons=("APPROVAL_EXPIRED", "MISSING_APPROVALS"),
        said=("expired",),
        advice="approve",
        waits=True,
    ),
    "approved elsewhere, and the request expired": Situation(
        build=then(lambda two: two.approved_elsewhere(expires_at=two.after(hours=1)), an_hour_later),
        state="expired",
        reasons=("EXPIRED", "IMPORTED_APPROVALS"),
        verdict="✗ Decision not executable (the request expired",
        said=IMPORTED,
    ),
    "approved elsewhere, and here, and the request expired": Situation(
        build=then(
            then(lambda two: two.approved_elsewhere(expires_at=two.after(hours=1)), carol_approves),
            an_hour_later,
        ),
        state="expired",
        total=2,
        reasons=("EXPIRED",),
        verdict="✗ Decision not executable (the request expired",
        said=(*IMPORTED, *OF_EXPIRED),
    ),
    "executed elsewhere": Situation(
        build=then(
            lambda two: approved(two.elsewhere),
            lambda two, each: (
                data_of(two.elsewhere.execute(each, ADAPTER, SCHEDULER, FakeRouter())),
                two.imported(each),
            ),
        ),
        state="completed",
        reasons=("ALREADY_EXECUTED",),
        verdict="✓ Decision executed (run run-1)",
        said=IMPORTED,
        advice="proof",
    ),
    "brought back before its revocation": Situation(
        build=Two.rolled_back_over_a_revocation,
        state="pending_approval",
        reasons=("IMPORTED_APPROVALS",),
        said=IMPORTED,
        advice="evidence and not authority",
        waits=True,
    ),
    "brought back before its run": Situation(
        build=Two.rolled_back_over_a_run,
        state="pending_approval",
        reasons=("ALREADY_EXECUTED", "IMPORTED_APPROVALS"),
        verdict="✗ Decision not executable (An earlier history",
        said=IMPORTED,
    ),
    "brought back before its run, and approved again": Situation(
        build=then(Two.rolled_back_over_a_run, carol_approves),
        state="approved",
        approvals=(1, 1),
        total=2,
        reasons=("ALREADY_EXECUTED",),
        verdict="✗ Decision not executable (An earlier history",
        said=IMPORTED,
    ),
    "imported unchecked": Situation(
        build=Two.forensic,
        state="pending_approval",
        reasons=("FORENSIC_IMPORT", "IMPORTED_APPROVALS"),
        verdict="✗ Decision not executable (This history was imported unchecked",
        said=IMPORTED,
    ),
    "imported unchecked, and approved here": Situation(
        build=then(Two.forensic, lambda two, each: data_of(two.here.approve(each, DAVE))),
        state="approved",
        approvals=(1, 1),
        total=2,
        reasons=("FORENSIC_IMPORT",),
        verdict="✗ Decision not executable (This history was imported unchecked",
        said=IMPORTED,
    ),
    "without a policy": Situation(
        build=lambda two: two.here.store.create_decision(),
        state="draft",
        approvals=(0, 0),
        total=0,
        reasons=("NO_POLICY",),
    ),
}
