"""What a page may post: everything but the one good verdict is refused with its code, and changes nothing."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from nexus_control import DecisionStore, ErrorCode, NexusControlError
from nexus_control.render.stated import OTHER_EACH_TIME
from nexus_control.usecases import requesting
from nexus_control.usecases.arguments import RequestArguments, StatementArguments, validated
from nexus_control.usecases.signing import approval_statement
from nexus_control.web import create_app
from nexus_control.web.deciding import require_ours, token_of
from tests.cli.running import environment
from tests.evidence.ssh import to_sign
from tests.support.clock import FakeClock
from tests.support.passkey import Passkey, client_data
from tests.support.swapping import Swap
from tests.web.house import House, spelled

ADA, BEN = "ada@example.com", "ben@example.com"
PASSKEYS = {ADA: Passkey(11), BEN: Passkey(12)}
Body = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def enrolled(house: House) -> None:
    for person, passkey in PASSKEYS.items():
        house.trust(person, passkey.line)


def body_of(
    house: House, request_id: str, person: str = ADA, verdict: str = "approve", **options: Any
) -> Body:
    return house.signed(house.form(request_id, person, verdict), PASSKEYS[person], **options)


def decided(house: House, request_id: str, body: object, verdict: str = "approve") -> str | None:
    """The code of the refusal, which has written nothing; None when the verdict is recorded."""
    before = house.office.events(request_id)
    answer = house.post(f"/requests/{request_id}/{verdict}", body)
    if answer.status == 200:
        assert len(house.office.events(request_id)) == len(before) + 1
        return None
    assert house.office.events(request_id) == before
    assert answer.error["next"]
    return answer.error["code"]


def test_a_signed_verdict_is_recorded_with_its_signature(house: House) -> None:
    request_id = house.office.requested()
    assert decided(house, request_id, body_of(house, request_id)) is None
    assert (
        decided(house, request_id, body_of(house, request_id, verdict="revoke") | {"reason": "no"}, "revoke")
        is None
    )
    assert (
        decided(house, request_id, body_of(house, request_id, BEN, "deny") | {"reason": "no"}, "deny") is None
    )
    payloads = [event["payload"] for event in house.office.events(request_id)[2:]]
    assert all(payload["signed"]["signature"].startswith("-----BEGIN SSH") for payload in payloads)
    assert [payload.get("reason") for payload in payloads] == [None, "no", "no"]


def test_an_assertion_counts_once(house: House) -> None:
    request_id = house.office.requested()
    body = body_of(house, request_id)
    assert decided(house, request_id, body) is None
    assert decided(house, request_id, body) == ErrorCode.ALREADY_APPROVED
    taken_back = body_of(house, request_id, verdict="revoke") | {"reason": "wrong window"}
    assert decided(house, request_id, taken_back, "revoke") is None
    assert decided(house, request_id, body) == ErrorCode.SIGNATURE_INVALID
    assert decided(house, request_id, body_of(house, request_id)) is None


@pytest.mark.parametrize(
    "options",
    [
        {"origin": "http://localhost:1"},
        {"origin": "https://approve.example.org"},
        {"flags": 0x01},
        {"flags": 0x04},
        {"flags": 0x45},
        {"flags": 0x85},
        {"content": b"{}"},
        {"content": b"\xff"},
    ],
    ids=str,
)
def test_what_another_page_or_no_user_signed_is_refused(house: House, options: dict[str, Any]) -> None:
    request_id = house.office.requested()
    assert decided(house, request_id, body_of(house, request_id, **options)) == ErrorCode.SIGNATURE_INVALID


def test_what_a_page_in_a_frame_signed_is_refused(house: House) -> None:
    request_id = house.office.requested()
    form = house.form(request_id, ADA, "approve")
    content = client_data(to_sign(form["statement"].encode()), house.origin)
    content = content.replace(b'"crossOrigin":false', b'"crossOrigin":true')
    body = house.signed(form, PASSKEYS[ADA], content=content)
    assert decided(house, request_id, body) == ErrorCode.SIGNATURE_INVALID


def test_what_a_passkey_of_another_site_or_person_signed_is_refused(house: House) -> None:
    request_id = house.office.requested()
    form = house.form(request_id, ADA, "approve")
    for passkey in (Passkey(11, "approve.example.org"), PASSKEYS[BEN], Passkey(13)):
        assert decided(house, request_id, house.signed(form, passkey)) == ErrorCode.SIGNATURE_INVALID


def test_what_was_signed_for_another_decision_or_verdict_is_refused(house: House) -> None:
    one, other = house.office.requested(), house.office.requested()
    of_one, of_other = body_of(house, one), body_of(house, other)
    assert decided(house, other, of_one) == ErrorCode.BASIS_CHANGED
    assert decided(house, other, of_other | {"assertion": of_one["assertion"]}) == ErrorCode.SIGNATURE_INVALID
    assert decided(house, one, of_one | {"reason": "no"}, "deny") == ErrorCode.SIGNATURE_INVALID
    assert decided(house, one, of_one, "revoke") == ErrorCode.NO_ACTIVE_APPROVAL


def test_a_statement_that_this_inbox_did_not_make_is_refused(house: House) -> None:
    request_id = house.office.requested()
    form = house.form(request_id, ADA, "approve")
    for changed in (
        form | {"token": "0" * 64},
        form | {"token": "é"},
        form | {"statement": form["statement"].replace("ada@", "eve@")},
        form | {"statement": "{}"},
    ):
        assert decided(house, request_id, house.signed(changed, PASSKEYS[ADA])) == ErrorCode.PAGE_OUTDATED


def test_a_page_is_too_old_after_an_hour(tmp_path: Path) -> None:
    clock = FakeClock()
    origins = ["http://localhost:8737"]
    store = DecisionStore(tmp_path / "store.db", clock=clock, passkey_origins=origins)
    app = create_app(store, origins=origins, rp_id="localhost", reader_token="t" * 32)
    created = {"goal": "Rotate the keys", "actor": {"type": "human", "id": "alice"}}
    request_id = requesting.request(store, validated(RequestArguments, created), None)["request_id"]
    asked = validated(StatementArguments, {"request_id": request_id, "approver": ADA})
    statement = approval_statement(store, asked)["statement"]
    token = token_of(app.state.inbox, statement)
    clock.advance(hours=1)
    assert require_ours(app.state.inbox, statement, token).approver == ADA
    clock.advance(microseconds=1)
    with pytest.raises(NexusControlError) as refused:
        require_ours(app.state.inbox, statement, token)
    assert refused.value.code is ErrorCode.PAGE_OUTDATED


def test_who_is_not_among_the_allowed_signers_gets_no_form_and_is_told_to_enrol(house: House) -> None:
    request_id = house.office.requested()
    page = house.get(f"/requests/{request_id}", "eve@example.com").text
    assert 'data-code="SIGNATURE_INVALID"' in page
    assert "Enrol a passkey" in page
    assert 'name="statement"' not in page


def test_what_takes_the_place_of_a_request_behind_its_page_is_not_decided(house: House) -> None:
    request_id = house.office.requested()
    swap = Swap.of(house.tools, request_id)
    body = body_of(house, request_id)
    swap.to_other()
    assert decided(house, request_id, body) == ErrorCode.BASIS_CHANGED


SMUGGLED: dict[str, tuple[Callable[[Body], object], ErrorCode]] = {
    "an object in a list": (lambda body: [body], ErrorCode.JSON_INVALID),
    "a text": (lambda body: "text", ErrorCode.JSON_INVALID),
    "a brace too many": (lambda body: json.dumps(body).encode() + b"}", ErrorCode.JSON_INVALID),
    "a member twice": (
        lambda body: json.dumps(body).replace("{", '{"token": "", ', 1).encode(),
        ErrorCode.JSON_INVALID,
    ),
    "thousands of levels": (lambda body: b'{"token": ' + b"[" * 30_000, ErrorCode.JSON_INVALID),
    "not a number": (lambda body: b'{"token": NaN}', ErrorCode.JSON_INVALID),
    "UTF-16": (lambda body: json.dumps(body).encode("utf-16"), ErrorCode.JSON_INVALID),
    "a form of HTML": (lambda body: b"token=1", ErrorCode.JSON_INVALID),
    "nothing": (lambda body: {}, ErrorCode.INVALID_ARGUMENT),
    "a number for the token": (lambda body: body | {"token": 5}, ErrorCode.INVALID_ARGUMENT),
    "null for the token": (lambda body: body | {"token": None}, ErrorCode.INVALID_ARGUMENT),
    "a list for the statement": (
        lambda body: body | {"statement": [body["statement"]]},
        ErrorCode.INVALID_ARGUMENT,
    ),
    "text for the assertion": (lambda body: body | {"assertion": "AAAA"}, ErrorCode.INVALID_ARGUMENT),
    "an object for the comment": (lambda body: body | {"comment": {"text": "c"}}, ErrorCode.INVALID_ARGUMENT),
    "a long comment": (lambda body: body | {"comment": "c" * 20_000}, ErrorCode.INVALID_ARGUMENT),
    "somebody else": (
        lambda body: body | {"actor": {"type": "human", "id": BEN}},
        ErrorCode.INVALID_ARGUMENT,
    ),
    "a reason of no denial": (lambda body: body | {"reason": "of no denial"}, ErrorCode.INVALID_ARGUMENT),
    "a member of JavaScript": (lambda body: body | {"__proto__": {"token": ""}}, ErrorCode.INVALID_ARGUMENT),
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_a_body_of_another_form_is_refused(house: House, name: str) -> None:
    (change, code), request_id = SMUGGLED[name], house.office.requested()
    assert decided(house, request_id, change(body_of(house, request_id))) == code


@pytest.mark.parametrize("name", ["authenticator_data", "client_data", "signature"])
@pytest.mark.parametrize(
    "text", ["", "A", "AB==", "A+/A", "AAA\n", "\u00e9", "A" * 20_000], ids=lambda text: text[:9]
)
def test_bytes_that_are_spelled_otherwise_or_are_no_statement_of_a_browser_are_refused(
    house: House, name: str, text: str
) -> None:
    request_id = house.office.requested()
    body = body_of(house, request_id)
    body["assertion"][name] = text
    assert decided(house, request_id, body) in (ErrorCode.SIGNATURE_INVALID, ErrorCode.INVALID_ARGUMENT)


@pytest.mark.parametrize(
    "der", [b"", b"\0" * 70, b"\x30\x06\x02\x01\x00\x02\x01\x00", b"\x30\x80\0\0", bytes(range(72))]
)
def test_a_signature_that_is_no_der_is_refused(house: House, der: bytes) -> None:
    request_id = house.office.requested()
    form = house.form(request_id, ADA, "approve")
    made = PASSKEYS[ADA].asserted(to_sign(form["statement"].encode()), origin=house.origin)
    body = form | {"assertion": spelled(replace(made, signature=der))}
    assert decided(house, request_id, body) == ErrorCode.SIGNATURE_INVALID


def test_a_denial_needs_a_reason(house: House) -> None:
    request_id = house.office.requested()
    body = body_of(house, request_id, verdict="deny")
    for reason in ({}, {"reason": ""}, {"reason": " "}):
        assert decided(house, request_id, body | reason, "deny") == ErrorCode.INVALID_ARGUMENT


def test_a_request_that_is_nowhere_is_not_decided(house: House) -> None:
    request_id = house.office.requested()
    body = body_of(house, request_id)
    answer = house.post("/requests/nowhere/approve", body)
    assert (answer.status, answer.error["code"]) == (404, ErrorCode.DECISION_NOT_FOUND)


@pytest.mark.parametrize("origin", ["http://localhost:1", "null", "https://evil.example"])
def test_a_verdict_that_another_origin_posts_is_refused(house: House, origin: str) -> None:
    request_id = house.office.requested()
    before = house.office.events(request_id)
    answer = house.post(f"/requests/{request_id}/approve", body_of(house, request_id), Origin=origin)
    assert answer.status == 403
    assert house.office.events(request_id) == before


def test_a_refused_verdict_shows_the_request_as_it_is_now_with_the_code(house: House) -> None:
    request_id = house.office.requested()
    swap = Swap.of(house.tools, request_id)
    body = body_of(house, request_id)
    swap.to_other()
    answer = house.post(f"/requests/{request_id}/approve", body, person=ADA, accept="text/html")
    assert answer.status == 409
    assert 'data-code="BASIS_CHANGED"' in answer.text
    assert "Delete everything" in answer.text
    assert "rm -rf /srv" in answer.text


def test_an_assertion_of_an_enrolment_is_no_approval(house: House) -> None:
    request_id = house.office.requested()
    form = house.form(request_id, ADA, "approve")
    challenge = to_sign(form["statement"].encode(), "nexus-control.enrolment.v1")
    made = PASSKEYS[ADA].asserted(challenge, origin=house.origin)
    assert decided(house, request_id, form | {"assertion": spelled(made)}) == ErrorCode.SIGNATURE_INVALID


HIDDEN = [
    "\u200d", "\u200c", "\ufe0f", "\u00ad", "\ufeff", "\u2028", "\u202e", "\u0085", "\U000e0041", "\u00a0", " " * 300,
    "\n" * 30, "\t", "&amp;<>\"'",
]  # fmt: skip


@pytest.mark.parametrize("text", HIDDEN, ids=ascii)
@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_a_goal_with_hidden_characters_is_decided(house: House, text: str, verdict: str) -> None:
    """People read such a text spelled out; the form sends back the exact one."""
    policy = ("--mode", "apply", "--min-assurance", "signed", "--as", "human:alice@example.com")
    request_id = house.office.answer("request", f"Rotate{text}the keys", *policy)["request_id"]
    body = body_of(house, request_id, verdict=verdict) | ({"reason": "no"} if verdict == "deny" else {})
    assert decided(house, request_id, body, verdict) is None


def test_what_was_typed_for_a_refused_verdict_is_in_its_form_again(house: House) -> None:
    request_id = house.office.requested()
    typed = '\n the <plan> is\u200d "right" '
    body = body_of(house, request_id, flags=0x01) | {"comment": typed}
    answer = house.post(f"/requests/{request_id}/approve", body, person=ADA, accept="text/html")
    kept = dict(re.findall(r'<textarea id="(\w+)-text"[^>]*>\n(.*?)</textarea>', answer.text, re.DOTALL))
    assert {verdict: unescape(text) for verdict, text in kept.items()} == {"approve": typed, "deny": ""}


def test_a_refusal_advises_a_person_and_no_program(house: House) -> None:
    request_id = house.office.requested()
    body = body_of(house, request_id, verdict="deny") | {"reason": " "}
    answer = house.post(f"/requests/{request_id}/deny", body, person=ADA, accept="text/html")
    assert "Correct it on this page" in answer.text
    assert "call again" not in answer.text


def test_a_comment_with_a_character_that_does_not_print_is_shown_spelled_out(house: House) -> None:
    request_id = house.office.requested()
    assert decided(house, request_id, body_of(house, request_id) | {"comment": "a\0b"}) is None
    assert "a\\u0000b" in house.get(f"/requests/{request_id}").text


def test_who_has_approved_what_is_approved_already_is_asked_for_nothing_more(house: House) -> None:
    request_id = house.office.requested()
    assert decided(house, request_id, body_of(house, request_id)) is None
    page = house.get(f"/requests/{request_id}", ADA).text
    assert "You have approved this request." in page
    assert "Somebody else must approve" not in page
    assert "Can still approve" not in page


@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_the_command_on_the_page_prints_what_the_page_says_is_signed(house: House, verdict: str) -> None:
    request_id = house.office.requested()
    page = house.get(f"/requests/{request_id}", ADA).text
    form = re.search(rf'<form [^>]*action="[^"]*/{verdict}\?.*?</form>', page, re.DOTALL)
    assert form is not None
    rows = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", form[0])
    shown = [f"{name}: {unescape(text)}" for name, text in rows]
    line = re.search(r'<pre [^>]*aria-label="The command to compare[^>]*>(.*?)</pre>', form[0])
    assert line is not None
    wide = environment() | {"COLUMNS": "500"}
    command = ["sh", "-c", unescape(line[1])]
    ran = subprocess.run(command, env=wide, capture_output=True, text=True, check=True)
    printed = list(map(str.strip, ran.stderr.splitlines()))
    assert {each.partition(":")[0] for each in shown} >= {
        "Verdict",
        "Approver",
        "Request",
        "Goal",
        "Plan",
        "Basis",
        "Log",
    }
    assert [each for each in shown if each not in printed] == [shown[-1]]
    assert shown[-1].startswith(OTHER_EACH_TIME)
