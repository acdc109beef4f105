"""What a signed statement says, in the same words on the page that has it signed and by the command `statement`."""

from collections.abc import Iterator

from nexus_control.evidence.statement import ApprovalStatement
from nexus_control.integrity import prefixed

OTHER_EACH_TIME = "Made"
"""The name of the only value that two statements of the same verdict do not share."""


def statement_facts(stated: ApprovalStatement) -> Iterator[tuple[str, str]]:
    """Everything that the statement binds, each with its name; not yet escaped."""
    request, plan = stated.request, stated.request.plan_sha256
    yield "Verdict", stated.verdict
    yield "Approver", stated.approver
    yield "Request", stated.decision_id
    yield "Goal", request.goal
    yield "Mode", request.mode
    yield "Plan", "(none)" if plan is None else prefixed(plan)
    yield "Basis", stated.basis.chain
    if stated.rehearsal_digest is not None:
        yield "Rehearsal", stated.rehearsal_digest
    if stated.expires_at is not None:
        yield "Runs out", stated.expires_at
    yield "Log", stated.log
    yield OTHER_EACH_TIME, f"{stated.issued_at}, nonce {stated.nonce}"
