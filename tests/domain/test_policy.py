from typing import Any

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.policy import Policy, require_no_weaker, validate_execution_request
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import POLICY_FIELDS, PolicyAttachedPayload

FULL = Policy(
    min_approvals=2,
    allowed_modes=("dry_run", "apply"),
    require_adapter_capabilities=("timeout",),
    max_steps=10,
    labels=("prod",),
    approvers=("alice", "bob"),
    allow_requester_approval=False,
    min_assurance="local",
    require_rehearsal={"max_age_seconds": 600},
    required_from={"security": 1, "platform": 1},
)


def test_a_policy_that_says_nothing_wants_one_approval_for_a_dry_run() -> None:
    policy = Policy()
    assert (policy.min_approvals, policy.allowed_modes, policy.max_steps) == (1, ("dry_run",), None)
    assert policy.to_dict() == {
        "min_approvals": 1,
        "allowed_modes": ["dry_run"],
        "require_adapter_capabilities": [],
        "max_steps": None,
        "labels": [],
    }


@pytest.mark.parametrize(
    ("values", "phrase"),
    [
        ({"min_approvals": 0}, "min_approvals must be at least 1"),
        ({"min_approvals": -1}, "min_approvals must be at least 1"),
        ({"min_approvals": "5"}, "min_approvals must be at least 1"),
        ({"min_approvals": True}, "min_approvals must be at least 1"),
        ({"min_approvals": 1.0}, "min_approvals must be at least 1"),
        ({"min_approvals": None}, "min_approvals must be at least 1"),
        ({"allowed_modes": ()}, "allowed_modes cannot be empty"),
        ({"allowed_modes": ("apply", "yolo")}, "Invalid mode"),
        ({"allowed_modes": ("APPLY",)}, "Invalid mode"),
        ({"allowed_modes": "apply"}, "must be a list"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"max_steps": True}, "max_steps must be at least 1"),
        ({"max_steps": 1.5}, "max_steps must be at least 1"),
        ({"approvers": ("bob", "")}, "an approver's id must not be empty"),
        ({"approvers": ("b\u200bob",)}, "an approver's id must not hold control or invisible characters"),
        ({"approvers": "bob"}, "must be a list"),
        ({"labels": "prod"}, "must be a list"),
        ({"require_adapter_capabilities": "timeout"}, "must be a list"),
        ({"min_assurance": "strong"}, "min_assurance must be one of"),
        ({"required_from": ["security"]}, "required_from must be an object"),
        ({"required_from": {"security": 0}}, "required_from must be an object"),
        ({"required_from": {"security": True}}, "required_from must be an object"),
        ({"required_from": {"security": "1"}}, "required_from must be an object"),
        ({"required_from": {"": 1}}, "required_from must be an object"),
        ({"required_from": {"s\u200bec": 1}}, "required_from must be an object"),
        ({"required_from": {"s" * 65: 1}}, "required_from must be an object"),
        ({"required_from": {f"g{n}": 1 for n in range(65)}, "min_approvals": 65}, "at most 64 groups"),
        ({"required_from": {"security": 1, "platform": 1}}, "min_approvals must be at least 2, the sum"),
    ],
)
def test_an_invalid_policy_is_a_value_error_that_says_why(values: dict[str, Any], phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        Policy(**values)


def test_lists_given_to_a_policy_become_its_own() -> None:
    modes: Any = ["dry_run"]
    policy = Policy(allowed_modes=modes)
    modes.append("apply")
    assert policy.allowed_modes == ("dry_run",)


@pytest.mark.parametrize("policy", [Policy(), FULL])
def test_a_policy_is_read_back_as_it_was_written(policy: Policy) -> None:
    assert Policy.from_dict(policy.to_dict()) == policy
    assert Policy.of(PolicyAttachedPayload(**policy.fields())) == policy
    assert set(policy.fields()) == POLICY_FIELDS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_approvals", "5"),
        ("min_approvals", True),
        ("min_approvals", 0),
        ("min_approvals", None),
        ("allowed_modes", []),
        ("allowed_modes", "apply"),
        ("allowed_modes", ["yolo"]),
        ("allowed_modes", None),
        ("max_steps", 0),
        ("max_steps", "1"),
        ("labels", [1]),
        ("labels", None),
        ("approvers", [" bob"]),
        ("allow_requester_approval", 1),
        ("allow_requester_approval", None),
        ("min_assurance", "strong"),
        ("quorum", 3),
        (5, 3),
    ],
)
def test_a_wrong_type_or_an_unknown_key_is_an_error_never_a_default(field: Any, value: object) -> None:
    with pytest.raises(NexusControlError) as refused:
        Policy.from_dict(FULL.to_dict() | {field: value})
    assert refused.value.code == ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("data", [None, [], "policy", 5])
def test_what_is_no_mapping_is_no_policy(data: Any) -> None:
    with pytest.raises(NexusControlError) as refused:
        Policy.from_dict(data)
    assert refused.value.code == ErrorCode.INVALID_ARGUMENT


BASE = Policy(
    min_approvals=2, allowed_modes=("dry_run",), require_adapter_capabilities=("timeout",), max_steps=5
)
WEAKER: list[tuple[str, Policy, dict[str, Any]]] = [
    ("min_approvals", BASE, {"min_approvals": 1}),
    ("allowed_modes", BASE, {"allowed_modes": ("dry_run", "apply")}),
    ("allowed_modes", BASE, {"allowed_modes": ("apply",)}),
    ("require_adapter_capabilities", BASE, {"require_adapter_capabilities": ()}),
    ("require_adapter_capabilities", BASE, {"require_adapter_capabilities": ("apply",)}),
    ("max_steps", BASE, {"max_steps": 6}),
    ("max_steps", BASE, {"max_steps": None}),
    ("approvers", FULL, {"approvers": ()}),
    ("approvers", FULL, {"approvers": ("alice", "bob", "carol")}),
    ("approvers", FULL, {"approvers": ("carol",)}),
    ("allow_requester_approval", FULL, {"allow_requester_approval": True}),
    ("min_assurance", FULL, {"min_assurance": "elicited"}),
    ("min_assurance", FULL, {"min_assurance": "declared"}),
    ("min_assurance", FULL, {"min_assurance": None}),
    ("require_rehearsal", FULL, {"require_rehearsal": {"max_age_seconds": 601}}),
    ("require_rehearsal", FULL, {"require_rehearsal": None}),
    ("require_rehearsal", BASE, {"require_rehearsal": {"max_age_seconds": 1}}),
    ("required_from", FULL, {"required_from": None}),
    ("required_from", FULL, {"required_from": {}}),
    ("required_from", FULL, {"required_from": {"security": 2}}),
    ("required_from", FULL, {"required_from": {"security": 1, "Platform": 1}}),
    (
        "required_from",
        FULL.overridden({"min_approvals": 4, "required_from": {"security": 3}}),
        {"required_from": {"security": 2, "platform": 2}},
    ),
]
NO_WEAKER: list[tuple[Policy, dict[str, Any]]] = [
    (BASE, {}),
    (FULL, {}),
    (BASE, {"min_approvals": 3}),
    (FULL, {"allowed_modes": ("apply",)}),
    (FULL, {"allowed_modes": ("apply", "dry_run")}),
    (BASE, {"require_adapter_capabilities": ("apply", "timeout")}),
    (BASE, {"max_steps": 5}),
    (BASE, {"max_steps": 1}),
    (Policy(), {"max_steps": 1}),
    (Policy(), {"approvers": ("alice",)}),
    (FULL, {"approvers": ("ALICE",)}),
    (FULL, {"approvers": ("bob", "alice")}),
    (Policy(), {"allow_requester_approval": False}),
    (FULL, {"min_assurance": "signed"}),
    (Policy(), {"min_assurance": "declared"}),
    (FULL, {"require_rehearsal": {"max_age_seconds": 599}}),
    (BASE, {"required_from": {"security": 1}}),
    (FULL, {"required_from": {"platform": 1, "security": 1}}),
    (FULL, {"min_approvals": 3, "required_from": {"platform": 1, "security": 2}}),
    (FULL, {"min_approvals": 3, "required_from": {"platform": 1, "security": 1, "legal": 1}}),
    (BASE, {"labels": ("anything",)}),
]


@pytest.mark.parametrize(("field", "template", "changes"), WEAKER)
def test_a_policy_that_demands_less_in_a_field_is_weaker_there(
    field: str, template: Policy, changes: dict[str, Any]
) -> None:
    with pytest.raises(NexusControlError) as refused:
        require_no_weaker(template, template.overridden(changes))
    assert refused.value.code == ErrorCode.TEMPLATE_WEAKENED
    assert refused.value.details == {"fields": [field]}


@pytest.mark.parametrize(("template", "changes"), NO_WEAKER)
def test_a_policy_that_demands_as_much_or_more_is_not_weaker(
    template: Policy, changes: dict[str, Any]
) -> None:
    require_no_weaker(template, template.overridden(changes))


def test_every_field_that_can_be_weakened_is_in_the_table_and_all_are_named_at_once() -> None:
    assert {field for field, _, _ in WEAKER} == POLICY_FIELDS - {"labels"}
    with pytest.raises(NexusControlError) as refused:
        require_no_weaker(FULL, Policy(allowed_modes=("dry_run", "apply")))
    assert refused.value.details == {
        "fields": [field for field in dict.fromkeys(f for f, _, _ in WEAKER) if field != "allowed_modes"]
    }


@pytest.mark.parametrize(
    ("mode", "count", "capabilities", "phrases"),
    [
        ("apply", 2, {"timeout"}, []),
        ("apply", 3, {"timeout", "more"}, []),
        ("yolo", 2, {"timeout"}, ["not allowed"]),
        ("apply", 1, {"timeout"}, ["Insufficient approvals"]),
        ("apply", 2, set[str](), ["missing required capabilities"]),
        ("apply", 2, None, ["missing required capabilities"]),
        ("yolo", 0, None, ["not allowed", "Insufficient approvals", "missing required capabilities"]),
    ],
)
def test_an_execution_request_is_judged_with_every_reason(
    mode: str, count: int, capabilities: set[str] | None, phrases: list[str]
) -> None:
    result = validate_execution_request(FULL, mode, count, capabilities, groups_missing={})
    assert bool(result) == result.valid == (not phrases)
    assert len(result.errors) == len(phrases)
    assert all(phrase in error for phrase, error in zip(phrases, result.errors, strict=True))


@pytest.mark.parametrize(
    ("groups_missing", "errors"),
    [
        (None, ["Approvals of groups are missing: 1 of security, 1 of platform"]),
        ({"security": 1}, ["Approvals of groups are missing: 1 of security"]),
        ({}, []),
    ],
)
def test_an_execution_is_judged_by_its_groups_and_unknown_ones_satisfy_nothing(
    groups_missing: dict[str, int] | None, errors: list[str]
) -> None:
    result = validate_execution_request(FULL, "apply", 5, {"timeout"}, groups_missing=groups_missing)
    assert list(result.errors) == errors
    assert validate_execution_request(Policy(), "dry_run", 1, groups_missing=groups_missing)


def test_who_may_still_approve_looks_like_nobody_who_has_a_part_already() -> None:
    requester, people = Actor("human", "Yilmaz"), ["Y\u0131lmaz", "alice", "bob", "erin"]
    policy = Policy(approvers=people[:3], allow_requester_approval=False)
    assert policy.able(people, requester) == ("alice", "bob")
    assert policy.able(people, requester, ["BOB"]) == ("alice",)
    assert Policy().able(people, requester, ["yilmaz"]) == ("alice", "bob", "erin")


def test_unknown_capabilities_satisfy_a_policy_that_requires_none() -> None:
    assert validate_execution_request(Policy(), "dry_run", 1)


def test_the_router_is_asked_only_for_what_is_set() -> None:
    assert Policy(labels=("prod",)).compile_to_router_request("g", None, "a", True) == {
        "goal": "g",
        "adapter_id": "a",
        "dry_run": True,
    }
    assert FULL.compile_to_router_request("g", "", "a", False) == {
        "goal": "g",
        "adapter_id": "a",
        "dry_run": False,
        "plan": "",
        "max_steps": 10,
        "require_capabilities": ["timeout"],
    }


@pytest.mark.parametrize(
    ("given", "needed", "accepted"),
    [
        (None, None, True),
        (None, "declared", True),
        ("declared", "elicited", False),
        ("elicited", "elicited", True),
        ("local", "elicited", True),
        ("local", "signed", False),
        ("signed", "signed", True),
        (None, "signed", False),
    ],
)
def test_an_approver_must_be_known_well_enough(given: Any, needed: Any, accepted: bool) -> None:
    assert Policy(min_assurance=needed).accepts_assurance(given) is accepted


def test_eligible_approvers_are_known_by_their_folded_id_alone() -> None:
    policy = Policy(approvers=("Bob",))
    assert policy.is_eligible(Actor(type="system", id="BOB"))
    assert not policy.is_eligible(Actor(type="human", id="alice"))
    assert Policy().is_eligible(Actor(type="human", id="anyone"))
