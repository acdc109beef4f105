"""What a real browser does with the pages' script: keys alone suffice, failures are explained, no other page signs."""

import json
from typing import Any

import pytest

from tests.render.browser import needs_chromium
from tests.web.chromium import PHONE, Chromium, Page
from tests.web.elsewhere import FRAME, elsewhere
from tests.web.house import House
from tests.web.people import ANSWERED, decide, enrol, enrolled, look_at, said

pytestmark = needs_chromium
ADA = "ada@example.com"


@pytest.fixture(scope="module")
def ada(chromium: Chromium, house: House) -> Page:
    """The window of a person who is enrolled."""
    page = chromium.page()
    enrolled(house, page, ADA)
    return page


def written(house: House, request_id: str) -> int:
    return house.office.written_to(request_id)


def test_all_of_it_is_done_with_keys_alone(chromium: Chromium, house: House) -> None:
    page = chromium.page(width=PHONE)
    page.open(house.address("/enrol"))
    page.tab_to("#person")
    page.write("kay@example.com")
    page.tab_to("form[data-passkey] button")
    page.press("Enter")
    page.until(ANSWERED)
    assert page.run("document.activeElement.textContent") == "Your passkey is made, and does not count yet"
    house.trust("kay@example.com", said(page, "#line").partition(" ")[2].partition(" ")[2])

    request_id = house.office.requested()
    page.open(house.address(f"/requests/{request_id}"))
    page.tab_to("#person")
    page.write("kay@example.com")
    page.press("Enter")
    page.until("document.readyState === 'complete' && document.querySelector('#approve-text') !== null")
    page.tab_to(".choice.approve summary")
    page.press("Enter")
    assert page.run("document.querySelector('.choice.approve details').open")
    page.tab_to(".choice.approve button")
    page.press("Space")
    page.until(ANSWERED)
    assert page.run("document.activeElement.textContent") == "Your approval is recorded."

    page.tab_to(".choice.revoke textarea")
    page.write("on second thoughts")
    page.tab_to(".choice.revoke button")
    page.press("Enter")
    page.until("document.querySelector('[data-said=revoke]') !== null")
    assert written(house, request_id) == 2
    page.close()


def test_a_denial_without_a_reason_is_not_sent(house: House, ada: Page) -> None:
    request_id = house.office.requested()
    look_at(house, ada, request_id, ADA)
    ada.click(".choice.deny button")
    assert ada.run("document.activeElement.id") == "deny-text"
    assert ada.run("document.activeElement.validity.valueMissing")
    assert decide(ada, "deny", "not during the freeze") is None
    assert house.office.events(request_id)[-1]["payload"]["reason"] == "not during the freeze"


def problem(page: Page, form: str) -> str:
    """What the form tells of a failure, which a screen reader says, too; the focus stays where it was."""
    found = page.until(f"document.querySelector('{form} [role=alert]').textContent")
    assert page.run("document.activeElement.type") == "submit"
    assert said(page, f"{form} [role=status]") == ""
    return found


def test_who_has_no_passkey_here_is_told_so(chromium: Chromium, house: House, ada: Page) -> None:
    request_id = house.office.requested()
    page = chromium.page()
    look_at(house, page, request_id, ADA)
    page.click(".choice.approve button")
    assert problem(page, ".choice.approve").startswith("No passkey signed.")
    assert written(house, request_id) == 0
    page.close()


def test_an_authenticator_that_does_not_verify_its_user_signs_nothing(house: House, ada: Page) -> None:
    request_id = house.office.requested()
    look_at(house, ada, request_id, ADA)
    ada.call("WebAuthn.setUserVerified", authenticatorId=ada.authenticator, isUserVerified=False)
    ada.run("document.querySelector('.choice.approve form').dataset.seconds = 0.5")
    try:
        ada.click(".choice.approve button")
        problem(ada, ".choice.approve")  # at once, or when the time is over: browsers differ
    finally:
        ada.call("WebAuthn.setUserVerified", authenticatorId=ada.authenticator, isUserVerified=True)
    assert written(house, request_id) == 0


def test_a_question_that_nobody_answers_ends(house: House, ada: Page) -> None:
    request_id = house.office.requested()
    look_at(house, ada, request_id, ADA)
    touching = {"authenticatorId": ada.authenticator}
    ada.call("WebAuthn.setAutomaticPresenceSimulation", **touching, enabled=False)
    try:
        ada.run("document.querySelector('.choice.approve form').dataset.seconds = 0.2")
        ada.click(".choice.approve button")
        assert "in time" in problem(ada, ".choice.approve")
    finally:
        ada.call("WebAuthn.setAutomaticPresenceSimulation", **touching, enabled=True)
    assert written(house, request_id) == 0


def test_a_device_that_is_enrolled_already_makes_no_second_passkey(house: House, ada: Page) -> None:
    ada.open(house.address("/enrol", ADA))
    ada.click("form[data-passkey] button")
    assert problem(ada, "form[data-passkey]").startswith("This device has a passkey of yours")
    assert passkeys(ada) == 1


def test_an_id_that_cannot_be_enrolled_is_refused_before_a_passkey_is_made(
    chromium: Chromium, house: House
) -> None:
    page = chromium.page(width=PHONE)
    page.open(house.address("/enrol", ADA))
    page.fill("#person", "ada,ben")
    page.click("form[data-passkey] button")
    page.until("document.querySelector('main [role=alert][data-code]') !== null")
    assert page.run("document.activeElement.dataset.code") == "INVALID_ARGUMENT"
    assert page.run("document.getElementById('person').value") == "ada,ben"
    assert passkeys(page) == 0
    page.close()


def passkeys(page: Page) -> int:
    return len(page.call("WebAuthn.getCredentials", authenticatorId=page.authenticator)["credentials"])


def test_a_browser_that_is_too_old_to_enrol_makes_no_passkey_and_says_so(
    chromium: Chromium, house: House
) -> None:
    page = chromium.page()
    page.open(house.address("/enrol", "old@example.com"))
    page.run("delete AuthenticatorAttestationResponse.prototype.getPublicKey")
    page.click("form[data-passkey] button")
    assert problem(page, "form[data-passkey]").startswith("This browser is too old")
    assert passkeys(page) == 0
    page.close()


def test_an_error_of_any_other_kind_is_told(house: House, ada: Page) -> None:
    request_id = house.office.requested()
    look_at(house, ada, request_id, ADA)
    ada.run("navigator.credentials.get = () => Promise.reject(new TypeError('half a browser'))")
    ada.click(".choice.approve button")
    assert "TypeError: half a browser" in problem(ada, ".choice.approve")
    assert written(house, request_id) == 0


def test_a_goal_with_hidden_characters_is_decided(house: House, ada: Page) -> None:
    text = f"Rotate\u200d\u202e\u2028\u0085\ufeff{' ' * 300}the keys"
    policy = ("--mode", "apply", "--min-assurance", "signed", "--as", "human:alice@example.com")
    request_id = house.office.answer("request", text, *policy)["request_id"]
    look_at(house, ada, request_id, ADA)
    assert decide(ada, "approve") is None


def test_a_refused_verdict_keeps_what_was_typed(house: House, ada: Page) -> None:
    request_id = house.office.requested()
    look_at(house, ada, request_id, ADA)
    ada.call("WebAuthn.setResponseOverrideBits", authenticatorId=ada.authenticator, isBadUV=True)
    try:
        assert decide(ada, "deny", "not now\nask again") == "SIGNATURE_INVALID"
    finally:
        ada.call("WebAuthn.setResponseOverrideBits", authenticatorId=ada.authenticator)
    assert ada.run("document.getElementById('deny-text').value") == "not now\nask again"


@pytest.mark.parametrize(
    ("host", "words"),
    [("insecure.test", "cannot use passkeys"), ("127.0.0.1", "never an IP address")],
)
def test_an_address_where_browsers_use_no_passkeys_is_named(
    chromium: Chromium, house: House, host: str, words: str
) -> None:
    page = chromium.page()
    with elsewhere(house) as port:
        page.open(house.address("/enrol", ADA).replace(house.origin, f"http://{host}:{port}"))
        page.click("form[data-passkey] button")
        page.until("document.querySelector('form [role=alert]').textContent")
        assert words in said(page, "form [role=alert]")
    page.close()


def test_an_address_of_the_machine_leads_to_localhost(chromium: Chromium, house: House) -> None:
    page = chromium.page()
    page.open(house.address("/enrol").replace("localhost", "127.0.0.1"))
    assert page.run("location.origin") == house.origin
    page.close()


@pytest.mark.parametrize("bits", [{"isBogusSignature": True}, {"isBadUV": True}, {"isBadUP": True}], ids=str)
def test_an_authenticator_that_states_something_wrong_is_refused(
    house: House, ada: Page, bits: dict[str, bool]
) -> None:
    request_id = house.office.requested()
    look_at(house, ada, request_id, ADA)
    ada.call("WebAuthn.setResponseOverrideBits", authenticatorId=ada.authenticator, **bits)
    try:
        assert decide(ada, "approve") == "SIGNATURE_INVALID"
    finally:
        ada.call("WebAuthn.setResponseOverrideBits", authenticatorId=ada.authenticator)
    assert written(house, request_id) == 0
    assert decide(ada, "approve") is None


def test_a_page_is_not_shown_in_a_frame_of_another_origin(chromium: Chromium, house: House) -> None:
    request_id = house.office.requested()
    address = house.address(f"/requests/{request_id}", ADA)
    page = chromium.page()
    with elsewhere(house) as port:
        page.open(f"http://localhost:{port}{FRAME}{address.removeprefix(house.origin)}")
        (framed,) = page.call("Page.getFrameTree")["frameTree"]["childFrames"]
    assert framed["frame"]["unreachableUrl"] == address
    assert any("frame-ancestors" in each for each in page.complaints())
    page.close()


SIGN_HERE = """(async () => {
    const form = document.querySelector(".choice.approve form");
    let asked;
    const get = navigator.credentials.get.bind(navigator.credentials);
    const answered = new Promise((given) => {
        window.fetch = (_, options) => { given(options.body); return new Promise(() => {}); };
    });
    form.querySelector("button").click();
    return await answered;
})()"""


def test_what_a_page_of_another_port_got_signed_is_refused(house: House, ada: Page) -> None:
    """The passkeys of localhost serve each port of the machine. Only the list of origins tells them apart."""
    request_id = house.office.requested()
    with elsewhere(house) as port:
        look = house.address(f"/requests/{request_id}", ADA).replace(house.origin, f"http://localhost:{port}")
        ada.open(look)
        body: dict[str, Any] = json.loads(ada.run(SIGN_HERE))
    answer = house.post(f"/requests/{request_id}/approve", body)
    assert answer.error["code"] == "SIGNATURE_INVALID"
    assert f"http://localhost:{port}" in answer.error["message"]
    assert written(house, request_id) == 0


def test_two_people_may_share_a_browser(house: House, ada: Page) -> None:
    request_id = house.office.requested(approvals=2)
    line, _ = enrol(house, ada, "bea@example.com")
    house.trust("bea@example.com", line.partition(" ")[2].partition(" ")[2])
    for person in ("bea@example.com", ADA):
        look_at(house, ada, request_id, person)
        assert decide(ada, "approve") is None
    assert written(house, request_id) == 2


def test_a_page_with_a_verdict_on_it_does_not_change_by_itself(house: House, ada: Page) -> None:
    request_id = house.office.requested()
    look_at(house, ada, request_id, ADA)
    house.office.run(
        "withdraw", request_id, "--reason", "no longer needed", "--yes", "--as", "human:alice@example.com"
    )
    ada.until("document.getElementById('changed') !== null")
    assert decide(ada, "approve") == "INVALID_STATE"
    assert ada.run("document.getElementById('changed')") is None
    assert "withdrawn" in said(ada, "main > header")
