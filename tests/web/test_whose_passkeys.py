"""What the inbox says of keys that do not count here, and that it still shows its pages then."""

from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest

from nexus_control import DecisionStore, ErrorCode, NexusControlError, NexusControlTools
from nexus_control.evidence.formats.allowed_signers import parse_allowed_signers
from nexus_control.usecases.passkeys import passkeys_of, why_not
from tests.facade.flow import asked
from tests.support.clock import FakeClock
from tests.support.passkey import Passkey
from tests.web.in_process import ORIGIN, shown

RP_ID = "approve.example.org"


@pytest.fixture
def signers(tmp_path: Path) -> Path:
    return tmp_path / "allowed_signers"


def opened(signers: Path, line: str, *origins: str) -> DecisionStore:
    """A store whose owner has added this line for ada; the time is that of the fake clock."""
    clock = FakeClock()
    clock.instant = datetime(2026, 3, 2, 12, tzinfo=UTC)
    signers.write_text(f"ada {line}\n")
    return DecisionStore(clock=clock, allowed_signers=signers, passkey_origins=origins or [ORIGIN])


OURS, OTHERS = Passkey(11, RP_ID).line, Passkey(11, "other.example").line
NOT_COUNTING = {
    "of another RP ID": (OTHERS, (), "is a passkey of other.example, and the pages of this inbox are"),
    "of no allowed origin": (OURS, ("https://other.example",), "of which no origin is allowed here"),
    "ended": (f'valid-before="20260301Z" {OURS}', (), "ended at 2026-03-01T00:00:00"),
    "not begun": (f'valid-after="20260303Z" {OURS}', (), "counts only from 2026-03-03T00:00:00"),
}


@pytest.mark.parametrize("name", NOT_COUNTING)
def test_a_passkey_that_does_not_count_is_shown_as_such_and_named_in_the_refusal(
    signers: Path, name: str
) -> None:
    line, origins, why = NOT_COUNTING[name]
    with opened(signers, line, *origins) as store:
        page = unescape(shown(store, "me", query="as=ada"))
        assert why in page
        assert ">yes" not in page
        with pytest.raises(NexusControlError) as refused:
            passkeys_of(store, "ada", RP_ID)
    assert refused.value.code is ErrorCode.SIGNATURE_INVALID
    assert why in refused.value.message
    assert refused.value.next.startswith("Enrol") is (name == "of another RP ID")


def test_a_passkey_that_counts_until_some_day_is_shown_with_that_day(signers: Path) -> None:
    with opened(signers, f'valid-before="20260303Z" {OURS}') as store:
        assert "yes, until 2026-03-03 00:00:00 UTC" in shown(store, "me", query="as=ada")
        assert len(passkeys_of(store, "ada", RP_ID)) == 1


def test_a_key_that_is_no_passkey_needs_no_origin(signers: Path) -> None:
    plain = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
    with opened(signers, plain) as store:
        (signer,) = parse_allowed_signers(signers.read_bytes()).signers
        assert why_not(store, signer, RP_ID) is None


def removed(file: Path) -> None:
    file.unlink()


def too_long(file: Path) -> None:
    file.write_text("\n" * 20_000)


@pytest.mark.parametrize("break_it", [removed, too_long])
def test_pages_are_shown_where_the_file_of_signers_cannot_be_read(
    signers: Path, break_it: Callable[[Path], None]
) -> None:
    with opened(signers, OURS) as store:
        request_id = asked(NexusControlTools(store))
        break_it(signers)
        for path in ("", "/report"):
            page = shown(store, f"requests/{request_id}{path}", query="as=ada")
            assert request_id in page
        assert "So no signature is checked." in page
