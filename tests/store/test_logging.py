"""The logger `nexus_control` gets one INFO line for each event of a decision, with ids and codes and no content."""

import logging

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.values.payloads import DecisionCreatedPayload
from tests.support.governed import ALICE, BOB, approved, data_of


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "nexus_control"]


def test_each_event_is_one_line_of_ids_and_codes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "nexus_control"), NexusControlTools() as tools:
        request_id = approved(
            tools, goal="a secret goal", plan="a secret plan", metadata={"ticket": "secret"}
        )
        data_of(tools.deny(request_id, BOB, "a secret reason"))
    assert lines(caplog) == [
        f"DECISION_CREATED {request_id} #0 by {ALICE}",
        f"POLICY_ATTACHED {request_id} #1 by {ALICE}",
        f"APPROVAL_GRANTED {request_id} #2 by {BOB}",
        f"APPROVAL_DENIED {request_id} #3 by {BOB}",
    ]
    assert [(vars(each)["event_type"], vars(each)["seq"]) for each in caplog.records][-1] == (
        "APPROVAL_DENIED",
        3,
    )
    assert "secret" not in caplog.text


def test_what_was_not_committed_is_not_said(caplog: pytest.LogCaptureFixture) -> None:
    def begin_and_break_off(store: DecisionStore) -> None:
        with store.writing() as session:
            created = DecisionCreatedPayload(goal="g", requested_mode="apply")
            raise KeyError(session.create(ALICE, (created,)).decision_id)

    with caplog.at_level(logging.INFO, "nexus_control"), DecisionStore() as store:
        with pytest.raises(KeyError):
            begin_and_break_off(store)
        assert NexusControlTools(store).request("", ALICE).error_code == "INVALID_ARGUMENT"
    assert lines(caplog) == []
