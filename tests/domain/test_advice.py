import pytest

from nexus_control.advice import advice_on, after_failure
from nexus_control.blocking import ORDER, BlockingReason
from nexus_control.values.payloads import Effect

NEVER = (
    "ALREADY_EXECUTED",
    "EXECUTION_FAILED",
    "DENIED",
    "WITHDRAWN",
    "EXPIRED",
    "ADAPTER_CHANGED",
    "NO_POLICY",
)
WAITING = ("EXECUTING", "OUTCOME_UNKNOWN", "DISPATCH_BY_WORKER")


def reason(code: str) -> BlockingReason:
    return BlockingReason(code, code, {"effect": "unknown"} if code == "EXECUTION_FAILED" else {})


@pytest.mark.parametrize("code", ORDER)
def test_only_what_can_pass_is_answered_with_call_execute_again(code: str) -> None:
    advice = advice_on([reason(code)])
    assert advice.endswith(".")
    assert ("all execute" in advice and "not call execute" not in advice) == (code not in NEVER + WAITING)


@pytest.mark.parametrize("code", [*NEVER, *WAITING, "MODE_NOT_ALLOWED", "FORENSIC_IMPORT", "CLOCK_BEHIND"])
def test_what_no_approval_mends_is_advised_on_before_what_one_does(code: str) -> None:
    reasons = [reason("MISSING_APPROVALS"), reason("CAPABILITIES_MISSING"), reason(code)]
    assert advice_on(reasons) == advice_on([reason(code)])


@pytest.mark.parametrize(("effect", "asks_again"), [("none", True), ("done", False), ("unknown", False)])
def test_a_failure_is_asked_for_again_only_where_nothing_was_done(effect: Effect, asks_again: bool) -> None:
    assert ("make a new request to try again" in after_failure(effect)) == asks_again
    assert ("Find out first" in after_failure(effect)) != asks_again
