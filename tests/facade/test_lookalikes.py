"""Who cannot be told apart counts once towards a quorum."""

from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.values.actors import Actor
from tests.evidence.ssh import ed25519, public_line, signed
from tests.facade.flow import asked, require_refused, state_of
from tests.support.governed import ALICE, data_of

DIGNA = "digna-o'neill"
NEAR = [
    "d\u0131gna-o'neill",
    "digna\u2010o'neill",
    "digna-o\u2019neill",
    "digna-o\u02bcneill",
    "d\u0131gna\u2010o\u2018neill",
    "DIGNA-O\u2019NEILL",
    "di\u0261na-o'neill",
    "dign\u0251-o'neill",
    "digna-o'nei\u01c0l",
]
PAIRS = [
    *(
        ("bob", f"bo{drawn_as_nothing}b")
        for drawn_as_nothing in "\ufffc\U0001d159\U00016fe4\u2800\u200b\ue000\U0005fffe\U00013441"
    ),
    *(("bob", f"bob{mark_of_another_script}") for mark_of_another_script in "\u2d7f\u1039\u17d2\u1a60"),
    *(
        ("anna-maria", f"anna{dash}maria")
        for dash in "\u2010\u2012\u2013\u2014\u2015\u4e00\u30fc\u05be\u058a\u2500\u2212"
    ),
    *(("anna.maria", f"anna{dot}maria") for dot in "\u00b7\u30fb\u2022\u2027\u22c5\u1427"),
    ("bill@x.com", "bi\u0307ll@x.com"),
    ("bill@x.com", "bill\U0001d159@x.com"),
    ("bill@x.com", "bill\ufffc@x.com"),
    ("bill@x.com", "bill\U00016fe4@x.com"),
    ("bill@x.com", "bi\u0307\u0307ll@x.com"),
    ("b\u00ecll@x.com", "b\u00ec\u0300ll@x.com"),
    ("ajay", "aj\u0307ay"),
    ("bob smith", "bob  smith"),
    ("bob", "b\u25cbb"),
]


def person(actor_id: str) -> Actor:
    return Actor(type="human", id=actor_id)


@pytest.fixture
def tools() -> NexusControlTools:
    return NexusControlTools()


def test_ten_people_who_cannot_be_told_apart_are_one_approval(tools: NexusControlTools) -> None:
    request_id = asked(tools, min_approvals=10)
    assert tools.approve(request_id, person(DIGNA)).success
    for near in NEAR:
        require_refused(tools.approve(request_id, person(near)), ErrorCode.INVALID_ARGUMENT)
    assert data_of(tools.status(request_id))["active_approvals"] == 1


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=ascii)
def test_two_of_one_look_are_no_quorum(tools: NexusControlTools, one: str, other: str) -> None:
    request_id = asked(tools, min_approvals=2)
    assert tools.approve(request_id, person(one)).success
    try:
        near = person(other)
    except NexusControlError as refused:
        assert refused.code is ErrorCode.INVALID_ARGUMENT
        return
    require_refused(tools.approve(request_id, near), ErrorCode.INVALID_ARGUMENT)
    assert data_of(tools.status(request_id))["active_approvals"] == 1


def test_the_refusal_names_who_looks_like_whom(tools: NexusControlTools) -> None:
    request_id = asked(tools, min_approvals=2)
    tools.approve(request_id, person("Y\u0131lmaz"))
    refused = tools.approve(request_id, person("Yilmaz"))
    assert refused.details == {
        "fields": [
            {
                "field": "actor.id",
                "problem": "looks like 'Y\\u0131lmaz', who already has a part in this decision: use another id",
            }
        ]
    }


def test_each_of_two_lookalikes_may_approve_what_the_other_does_not(tools: NexusControlTools) -> None:
    for name in ("Y\u0131lmaz", "Yilmaz"):
        assert data_of(tools.approve(asked(tools), person(name)))["is_approved"]


def test_what_was_revoked_keeps_nobody_from_approving(tools: NexusControlTools) -> None:
    request_id = asked(tools, min_approvals=2)
    tools.approve(request_id, person("Y\u0131lmaz"))
    tools.revoke_approval(request_id, person("Y\u0131lmaz"), "by mistake")
    assert tools.approve(request_id, person("Yilmaz")).success


def test_a_lookalike_of_a_requester_who_may_not_approve_may_not_either(tools: NexusControlTools) -> None:
    strict = asked(tools, actor=person("Yilmaz"), allow_requester_approval=False)
    require_refused(tools.approve(strict, person("Y\u0131lmaz")), ErrorCode.INVALID_ARGUMENT)
    mild = asked(tools, actor=person("Yilmaz"))
    assert tools.approve(mild, person("Y\u0131lmaz")).success


def test_a_lookalike_may_deny(tools: NexusControlTools) -> None:
    request_id = asked(tools, min_approvals=2)
    tools.approve(request_id, person("Y\u0131lmaz"))
    assert tools.deny(request_id, person("Yilmaz"), "not today").success
    assert state_of(tools, request_id) == "denied"


def test_a_signature_makes_nobody_look_different(tmp_path: Path) -> None:
    signers = tmp_path / "allowed_signers"
    line = public_line(ed25519(1)[0])
    signers.write_text(f"Yilmaz {line}\nY\u0131lmaz {line}\n", encoding="utf-8")
    tools = NexusControlTools(allowed_signers=signers)
    request_id = asked(tools, min_approvals=2)
    assert tools.approve(request_id, person("Y\u0131lmaz")).success
    text = data_of(tools.approval_statement(request_id, "Yilmaz"))["statement"]
    given = {"statement": text, "signature": signed(1, text.encode())}
    require_refused(tools.approve(request_id, person("Yilmaz"), **given), ErrorCode.INVALID_ARGUMENT)


def test_a_list_of_approvers_counts_each_look_once(tools: NexusControlTools) -> None:
    both = ["Yilmaz", "Y\u0131lmaz"]
    refused = tools.request("g", ALICE, min_approvals=2, approvers=both)
    require_refused(refused, ErrorCode.INVALID_ARGUMENT)
    assert tools.request("g", ALICE, min_approvals=2, approvers=[*both, "bob"]).success
    alone = tools.request("g", person("Yilmaz"), approvers=["Y\u0131lmaz"], allow_requester_approval=False)
    require_refused(alone, ErrorCode.INVALID_ARGUMENT)


def test_a_lookalike_of_a_signer_who_is_not_trusted_at_the_moment_may_not_approve(tmp_path: Path) -> None:
    signers = tmp_path / "allowed_signers"
    signers.write_text(f"Y\u0131lmaz {public_line(ed25519(1)[0])}\n", encoding="utf-8")
    tools = NexusControlTools(allowed_signers=signers)
    request_id = asked(tools, min_approvals=2)
    text = data_of(tools.approval_statement(request_id, "Y\u0131lmaz"))["statement"]
    given = {"statement": text, "signature": signed(1, text.encode())}
    data_of(tools.approve(request_id, person("Y\u0131lmaz"), **given))
    signers.write_text("# nobody\n")
    require_refused(tools.approve(request_id, person("Yilmaz")), ErrorCode.INVALID_ARGUMENT)
