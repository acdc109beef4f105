"""People approve with passkeys in their browsers, a worker executes, and stock ssh-keygen verifies what they signed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cli.office import CONFIG
from tests.cli.running import environment
from tests.evidence.ssh import needs_ssh_keygen, verified_by_ssh_keygen
from tests.render.browser import needs_chromium
from tests.support.swapping import Swap
from tests.web.chromium import DESK, PHONE, Chromium
from tests.web.house import House
from tests.web.people import decide, enrol, enrolled, look_at, said

pytestmark = [needs_chromium, needs_ssh_keygen]
ADA, BEN, EVE = "ada@example.com", "ben@example.com", "eve@example.com"


def executed_by_a_worker(house: House) -> list[dict[str, Any]]:
    """What a worker that looks once says that it did."""
    words = [sys.executable, "-m", "nexus_control", "worker", "--once", "--db", house.office.database]
    ran = subprocess.run(
        [*words, *house.trusted, "--config", "adapters.toml"],
        cwd=house.office.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_two_people_approve_from_a_phone_and_a_desk_a_worker_executes_and_ssh_keygen_agrees(
    chromium: Chromium, house: House, tmp_path: Path
) -> None:
    office = house.office
    (office.folder / "adapters.toml").write_text(CONFIG)
    request_id = office.requested("--adapter", "subprocess:files", "--dispatch", "worker", approvals=2)
    for person, width in ((ADA, PHONE), (BEN, DESK)):
        page = chromium.page(width=width)
        enrolled(house, page, person)
        look_at(house, page, request_id, person)
        assert decide(page, "approve", f"seen by {person}") is None
        assert said(page, "[data-said]") == "Your approval is recorded."
        assert page.complaints() == []
        page.close()

    executed_by_a_worker(house)
    assert (office.folder / "f").read_text() == "new"

    key, package = office.folder / "package.key", office.folder / "package.json"
    office.run("key", "generate", str(key))
    office.run("audit", request_id, "--sign", str(key), "--output", str(package))
    trusted = ("--package-key", f"{key}.pub", "--origin", house.origin)
    assert office.answer("verify", str(package), *trusted, "--require", "L4")["ok"]
    office.run("verify", str(package), *trusted[:2], "--require", "L4", code=3)

    exported = json.loads(package.read_text())["control_bundle"]
    approvals = [each for each in exported["events"] if each["type"] == "APPROVAL_GRANTED"]
    assert [each["payload"]["comment"] for each in approvals] == [f"seen by {each}" for each in (ADA, BEN)]
    for each, person in zip(approvals, (ADA, BEN), strict=True):
        signed = each["payload"]["signed"]
        verdict = office.signers.read_text(), signed["signature"], signed["statement"].encode()
        assert verified_by_ssh_keygen(tmp_path, *verdict, principal=person)
        assert not verified_by_ssh_keygen(tmp_path, *verdict, principal=EVE)


def test_who_enrolled_and_was_not_added_is_refused_and_told_what_to_do(
    chromium: Chromium, house: House
) -> None:
    request_id = house.office.requested()
    page = chromium.page(width=PHONE)
    line, _ = enrol(house, page, EVE)
    look_at(house, page, request_id, EVE)
    assert said(page, "[data-code]").startswith("You cannot decide here")
    assert "once the owner of the inbox has added it" in page.text
    assert page.run("document.querySelectorAll('form[data-passkey]').length") == 0
    assert line.partition(" ")[2] not in house.office.signers.read_text()
    assert house.office.written_to(request_id) == 0
    page.close()


def test_a_request_that_changes_under_a_page_is_not_decided_and_is_shown_again(
    chromium: Chromium, house: House
) -> None:
    page = chromium.page()
    enrolled(house, page, "fay@example.com")
    request_id = house.office.requested()
    swap = Swap.of(house.tools, request_id)
    look_at(house, page, request_id, "fay@example.com")
    swap.to_other()
    assert decide(page, "approve") == "BASIS_CHANGED"
    assert said(page, "main h1") == "Delete everything"
    assert page.run("document.activeElement.dataset.code") == "BASIS_CHANGED"
    assert house.office.written_to(request_id) == 0
    # What is shown now is decided on purpose.
    assert decide(page, "deny", "not this") is None
    page.close()
