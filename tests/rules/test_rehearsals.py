"""A book with a template for the dry run and another for applying: which rehearsals run before anybody approves."""

from typing import Any

import pytest

from nexus_control import NexusControlTools
from tests.rules.books import book
from tests.rules.demands import AGENT, BOTH, LIST, ROTATE
from tests.support.contents import contents
from tests.support.governed import BOB, data_of

HOUR = {"max_age_seconds": 3600}
DRY: dict[str, Any] = {"min_approvals": 1, "allowed_modes": ["dry_run"]}
LETS_REHEARSE: dict[str, Any] = {**DRY, "require_rehearsal": {"max_age_seconds": 60}}
APPLIED: dict[str, Any] = {"min_approvals": 2, "allowed_modes": BOTH}
REHEARSED: dict[str, Any] = {**APPLIED, "require_rehearsal": HOUR}
IN_TWO = """
default = "deny"
[[rules]]
tool = "keys"
mode = "dry_run"
template = "dry"
[[rules]]
tool = "keys"
mode = "apply"
template = "applied"
"""
UNDER_ONE = 'default = "deny"\n[[rules]]\ntool = "keys"\ntemplate = "applied"\n'
ALLOWED = IN_TWO.replace('template = "dry"', 'verdict = "allow"')
DENIED = IN_TWO.replace('template = "dry"', 'verdict = "deny"')


def made(text: str, dry: dict[str, Any], applied: dict[str, Any]) -> NexusControlTools:
    tools = NexusControlTools(rules=book(text))
    data_of(tools.template_create("dry", BOB, **dry))
    data_of(tools.template_create("applied", BOB, **applied))
    return tools


@pytest.mark.parametrize(
    ("text", "dry", "applied", "fields"),
    [
        (IN_TWO, DRY, APPLIED, {}),  # the template of the dry run need not allow apply
        (IN_TWO, LETS_REHEARSE, REHEARSED, {}),
        (IN_TWO, LETS_REHEARSE, APPLIED, {}),  # its dry run is held back until people approve
        (ALLOWED, DRY, REHEARSED, {}),
        (UNDER_ONE, DRY, REHEARSED, {}),
    ],
    ids=["none", "both agree", "the dry run alone", "an allowed dry run", "one template"],
)
def test_a_request_to_apply_gets_the_template_for_that(
    text: str, dry: dict[str, Any], applied: dict[str, Any], fields: dict[str, Any]
) -> None:
    with made(text, dry, applied) as tools:
        request_id = data_of(tools.request("Do it", AGENT, "apply", ROTATE, **fields))["request_id"]
        status = data_of(tools.status(request_id))
        assert status["template_name"] == "applied"
        assert status["policy"].get("require_rehearsal") == applied.get("require_rehearsal")


@pytest.mark.parametrize(
    ("text", "dry", "applied", "fields", "code", "advice"),
    [
        (IN_TWO, DRY, REHEARSED, {}, "RULES_DISAGREE", "Tell the owner of the rules"),
        (IN_TWO, DRY, APPLIED, {"require_rehearsal": HOUR}, "TEMPLATE_WEAKENED", "without these fields"),
        (
            IN_TWO.replace('template = "applied"', 'verdict = "allow"'),
            DRY,
            APPLIED,
            {"require_rehearsal": HOUR, "allowed_modes": BOTH},
            "TEMPLATE_WEAKENED",
            "without these fields",
        ),
        (
            IN_TWO,
            {**LETS_REHEARSE, "min_approvals": 3},
            REHEARSED,
            {},
            "TEMPLATE_WEAKENED",
            "no weaker than the template's",
        ),
        (DENIED, DRY, REHEARSED, {}, "DENIED_BY_RULE", "tell their owner"),
        (DENIED, DRY, APPLIED, {}, "DENIED_BY_RULE", 'ask with allowed_modes ["apply"]'),
    ],
)
def test_no_rehearsal_runs_that_the_template_of_the_dry_run_holds_back(
    text: str, dry: dict[str, Any], applied: dict[str, Any], fields: dict[str, Any], code: str, advice: str
) -> None:
    with made(text, dry, applied) as tools:
        before = contents(tools.store)
        asked = tools.request("Do it", AGENT, "apply", ROTATE, **fields)
        assert asked.error_code == code, asked.error
        assert advice in str(asked.next)
        assert contents(tools.store) == before


@pytest.mark.parametrize("dry", [DRY, LETS_REHEARSE])
def test_a_dry_run_alone_waits_for_the_approvals_of_its_template(dry: dict[str, Any]) -> None:
    with made(IN_TWO, dry, REHEARSED) as tools:
        request_id = data_of(tools.request("Do it", AGENT, "dry_run", LIST))["request_id"]
        status = data_of(tools.status(request_id))
        assert (status["template_name"], status["state"]) == ("dry", "pending_approval")
