import copy
import pickle

import pytest

from nexus_control.errors import ErrorCode, NexusControlError, next_step

PUBLISHED_CODES = """
    INVALID_ARGUMENT DECISION_NOT_FOUND TEMPLATE_NOT_FOUND TEMPLATE_ALREADY_EXISTS TEMPLATE_WEAKENED INVALID_STATE
    ALREADY_APPROVED NOT_ELIGIBLE REQUESTER_MAY_NOT_APPROVE NO_ACTIVE_APPROVAL NOT_REQUESTER ASSURANCE_TOO_LOW
    SIGNATURE_INVALID POLICY_NOT_SATISFIED PLAN_INVALID ROUTER_ERROR OUTCOME_UNKNOWN BUNDLE_INVALID_SCHEMA
    INTEGRITY_MISMATCH DECISION_EXISTS CONFLICT_MODE_INVALID REPLAY_INVALID ROLLBACK_REFUSED NO_ROUTER_LINK
    ROUTER_DIGEST_MISMATCH IMPORTED_COPY ACTOR_MISMATCH APPROVAL_NEEDS_A_PERSON STORE_UNAVAILABLE INTERNAL
"""


def test_no_published_code_goes_away() -> None:
    assert set(PUBLISHED_CODES.split()) <= {code.value for code in ErrorCode}


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_is_spelled_as_it_is_named_and_says_what_to_do_next(code: ErrorCode) -> None:
    assert code.value == code.name
    assert next_step(code).endswith(".")


def test_an_error_reads_as_its_code_and_its_message() -> None:
    error = NexusControlError(ErrorCode.NOT_ELIGIBLE, "carol may not approve", {"approver": "carol"})
    assert str(error) == "NOT_ELIGIBLE: carol may not approve"
    assert (error.code, error.message, error.details) == (
        ErrorCode.NOT_ELIGIBLE,
        "carol may not approve",
        {"approver": "carol"},
    )


def test_an_error_is_a_value_error_for_callers_of_1_0() -> None:
    assert issubclass(NexusControlError, ValueError)


def test_the_details_of_an_error_are_its_own() -> None:
    details: dict[str, object] = {"limit": 5}
    error = NexusControlError(ErrorCode.INVALID_ARGUMENT, "too long", details)
    details["limit"] = 6
    assert error.details == {"limit": 5}
    assert NexusControlError(ErrorCode.INTERNAL, "no details").details == {}


def test_an_error_crosses_to_another_process_unchanged() -> None:
    error = NexusControlError(ErrorCode.CLAIM_HELD, "held", {"owner": "host"})
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is NexusControlError
        assert (twin.code, twin.message, twin.details) == (error.code, error.message, error.details)
