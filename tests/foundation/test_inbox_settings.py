"""The section [inbox] of the configuration."""

from pathlib import Path

import pytest

from nexus_control.configuration import look
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.usecases.inbox_settings import InboxSettings, configured_inbox, inbox_settings


def configured(folder: Path, text: str) -> InboxSettings | None:
    file = folder / "nexus-control.toml"
    file.write_text(text, encoding="utf-8")
    return configured_inbox(look(file))


@pytest.mark.parametrize(
    ("text", "origins", "rp_id"),
    [
        ("[inbox]", ("http://localhost:8737",), "localhost"),
        (
            '[inbox]\norigins = ["https://approve.example.org"]',
            ("https://approve.example.org",),
            "approve.example.org",
        ),
        (
            '[inbox]\norigins = ["https://a.example.org", "https://b.example.org"]\nrp_id = "example.org"',
            ("https://a.example.org", "https://b.example.org"),
            "example.org",
        ),
    ],
    ids=["defaults", "a domain", "an RP ID above"],
)
def test_the_section_says_where_people_approve(
    tmp_path: Path, text: str, origins: tuple[str, ...], rp_id: str
) -> None:
    found = configured(tmp_path, text)
    assert found is not None
    assert (found.origins.origins, found.rp_id, found.address) == (origins, rp_id, origins[0])


def test_a_file_without_the_section_says_nothing(tmp_path: Path) -> None:
    assert configured(tmp_path, "[groups]") is None
    assert inbox_settings() == configured(tmp_path, "[inbox]")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("inbox = 1", "inbox must be"),
        ("[inbox]\nlisten = 1", "inbox.listen"),
        ("[inbox]\norigins = []", "inbox.origins must be a list of at least one origin"),
        ("[inbox]\norigins = [1]", r"inbox.origins\[0\]"),
        ('[inbox]\norigins = "https://a.example"', "inbox.origins must be"),
        (
            '[inbox]\norigins = ["https://a.example/"]',
            "inbox.origins holds 'https://a.example/', which has a slash",
        ),
        ("[inbox]\nrp_id = 1", "inbox.rp_id must be"),
        ('[inbox]\nrp_id = "https://localhost"', "inbox.rp_id 'https://localhost' has a host"),
        ('[inbox]\nrp_id = "example.org"', "inbox.origins holds http://localhost:8737, whose pages cannot"),
        (
            '[inbox]\norigins = ["https://a.example.org", "https://b.example.org"]',
            "inbox.origins holds https://b.example.org, whose pages cannot use passkeys of the RP ID a.example.org",
        ),
    ],
    ids=range(10),
)
def test_a_section_that_is_not_right_is_refused_by_its_key(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(NexusControlError, match=why) as caught:
        configured(tmp_path, text)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert caught.value.details["file"] == str(tmp_path / "nexus-control.toml")
