"""Each forgery is caught by its check, and what is honest raises no alarm."""

import json
from collections.abc import Callable

import pytest

from nexus_control import AuditPackage, verify_bundle, verify_evidence
from nexus_control.canonical_json import canonical_json
from nexus_control.evidence.verify import CHECKS
from tests.artifacts.samples import BUNDLES, PACKAGES, changed, independent_digest, nodes
from tests.evidence.forgeries import FORGERIES, approved_by, events
from tests.evidence.packages import HONEST, Package, honest, resealed


def failing(package: object) -> set[str]:
    report = verify_evidence(package)  # pyright: ignore[reportArgumentType] - whatever it is
    return {check.name for check in report.checks if check.status == "fail"}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_package_raises_no_alarm(name: str) -> None:
    report = verify_evidence(honest(name))
    assert [check for check in report.checks if check.status == "fail"] == []
    reached = ("L0", "L1") if name == "imported_and_approved_here" else ("L0", "L1", "L2")
    assert (report.ok, report.level, report.reached) == (True, reached[-1], reached)


@pytest.mark.parametrize("name", PACKAGES)
def test_what_1_0_and_others_wrote_raises_no_alarm(name: str) -> None:
    report = verify_evidence(PACKAGES[name])
    assert [check for check in report.checks if check.status == "fail"] == []
    assert (report.ok, report.level) == (True, "L1")


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_of_1_0_raises_no_alarm(name: str) -> None:
    report = verify_bundle(BUNDLES[name])
    assert [check for check in report.checks if check.status == "fail"] == []
    assert (report.ok, report.level) == (True, "L1")


@pytest.mark.parametrize("name", HONEST)
def test_sealing_an_honest_package_again_gives_the_same_package(name: str) -> None:
    package = honest(name)
    del package["evidence"]  # a forger has the log's key no more than the log
    assert resealed(package) == package
    assert verify_evidence(package).level == "L1"


@pytest.mark.parametrize(
    ("forge", "check"), FORGERIES.items(), ids=lambda value: getattr(value, "__name__", value)
)
def test_a_forgery_is_caught_by_its_check(forge: Callable[[], Package], check: str) -> None:
    package = forge()
    assert package not in [honest(name) for name in HONEST]
    assert check in failing(package)
    assert not verify_evidence(package).ok


SAME_PERSON = {
    "in other capitals": ("BOB", "policy_satisfied"),
    "in full width": ("\uff42\uff4f\uff42", "schema"),
    "with a Cyrillic letter": ("b\u043eb", "approvals_distinct"),
    "with a Greek letter": ("b\u03bfb", "approvals_distinct"),
    "with an invisible letter": ("bob\u200b", "schema"),
    "with a space": ("bob ", "schema"),
}


@pytest.mark.parametrize(("name", "check"), SAME_PERSON.values(), ids=SAME_PERSON.keys())
def test_one_person_is_not_two(name: str, check: str) -> None:
    assert check in failing(approved_by(name))


@pytest.mark.parametrize(
    ("latin", "cyrillic"), [("b\u00f3b", "b\u043e\u0301b"), ("zo\u00eb", "zo\u0451")], ids=ascii
)
def test_a_mark_on_a_letter_hides_no_look_alike(latin: str, cyrillic: str) -> None:
    package = honest()
    for granted, name in zip(events(package, "APPROVAL_GRANTED"), (latin, cyrillic), strict=True):
        granted["actor"]["id"] = name
    assert failing(resealed(package)) == {"approvals_distinct"}


@pytest.mark.parametrize(
    ("names", "remark"),
    [
        (("Y\u0131lmaz", "Yilmaz"), r"two approvers look alike: 'Y\u0131lmaz' and 'Yilmaz'"),
        (("an\u2010na", "an-na"), r"two approvers look alike: 'an\u2010na' and 'an-na'"),
        (("bob", "c\u0251rol"), "U+0251"),
        (("ajay", "aj\u0307ay"), r"two approvers look alike: 'ajay' and 'aj\u0307ay'"),
        (("bob", "bob\ufffc"), "U+FFFC (OBJECT REPLACEMENT CHARACTER)"),
        (("bob", "bob\u1039"), "U+1039 (MYANMAR SIGN VIRAMA)"),
        (("bob smith", "bob  smith"), "two spaces in a row"),
    ],
    ids=ascii,
)
def test_approvers_who_may_be_two_people_and_look_alike_are_remarked_on(
    names: tuple[str, str], remark: str
) -> None:
    package = honest()
    for granted, name in zip(events(package, "APPROVAL_GRANTED"), names, strict=True):
        granted["actor"]["id"] = name
    report = verify_evidence(resealed(package))
    (check,) = (each for each in report.checks if each.name == "approvals_distinct")
    assert check.status == "info"
    assert remark in check.detail
    assert report.ok


@pytest.mark.parametrize("spelled", [2.0, True], ids=str)
def test_a_template_is_shown_as_the_event_spells_it(spelled: object) -> None:
    package = honest("from_template")
    number = 2 if spelled == 2 else 1
    attached = events(package, "POLICY_ATTACHED")[0]["payload"]
    snapshot = package["control_bundle"]["template_snapshot"]["snapshot"]
    attached["template_snapshot"]["max_steps"] = number
    assert snapshot["max_steps"] is None
    snapshot["max_steps"] = spelled
    assert "template_equals_events" in failing(resealed(package))


TEXTS: dict[str, Callable[[str], str]] = {
    "a key said twice": lambda text: text.replace(
        '"package_version"', '"package_version":"0.6","package_version"', 1
    ),
    "a number that is no integer": lambda text: text.replace('"min_approvals":2', '"min_approvals":2.0'),
    "an integer beyond 64 bits": lambda text: text.replace(
        '"min_approvals":2', '"min_approvals":' + "9" * 30
    ),
    "not a number": lambda text: text.replace('"min_approvals":2', '"min_approvals":NaN'),
    "a byte order mark": lambda text: "\ufeff" + text,
    "a lone surrogate": lambda text: text.replace('"Rotate the keys"', '"\\ud800"'),
    "a boolean for a number": lambda text: text.replace('"seq":1,', '"seq":true,'),
}


@pytest.mark.parametrize("spoil", TEXTS.values(), ids=TEXTS.keys())
def test_what_two_languages_read_differently_is_not_read(spoil: Callable[[str], str]) -> None:
    text = canonical_json(honest())
    spoiled = spoil(text)
    assert spoiled != text
    report = verify_evidence(spoiled)
    assert not report.ok
    assert failing(spoiled) & {"strict_parse", "schema", "event_digests"}


def test_an_integer_beyond_2_53_is_said_and_no_alarm() -> None:
    package = honest()
    events(package, "APPROVAL_GRANTED")[0]["payload"]["later_field"] = 2**53 + 1
    report = verify_evidence(resealed(package))
    by_name = {check.name: check for check in report.checks}
    assert (by_name["canonical_domain"].status, report.ok) == ("info", True)


KEYED = {name for name, level in CHECKS.items() if level not in ("L0", "L1")}
"""Each is made to fail where keys are at hand: in test_keyed."""


def test_every_check_is_reported_once_in_its_order_and_every_one_has_been_made_to_fail() -> None:
    report = verify_evidence(honest())
    assert [check.name for check in report.checks] == list(CHECKS)
    by_reference = verify_evidence(honest("by_reference"))
    assert [check.name for check in by_reference.checks] == [
        name for name in CHECKS if name != "router_digest"
    ]
    caught = {name for forge in FORGERIES for name in failing(forge())}
    caught |= failing(approved_by("b\u043eb")) | failing(b"{") | failing(b"x" * (64 * 2**20 + 1))
    for part in ("control_bundle", "binding", "router", "integrity"):
        for path in nodes(honest()[part]):
            if str(path[-1]).endswith(("digest", "sha256")):
                caught |= failing(changed(honest(), (part, *path), "sha256:" + "00" * 32))
    never_fails = {"canonical_domain"}  # which is never more than said
    assert set(CHECKS) - caught == never_fails | KEYED


def test_a_level_that_is_demanded_and_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="require"):
        verify_evidence(honest(), require="L9")  # pyright: ignore[reportArgumentType] - that is the point


def test_a_package_in_any_form_gives_the_same_report() -> None:
    package = honest()
    text = json.dumps(package, indent=2)
    forms = [package, AuditPackage.from_dict(package), text, text.encode(), canonical_json(package)]
    reports = [verify_evidence(form).to_dict() for form in forms]
    for report in reports:
        report["checks"] = [each for each in report["checks"] if each["name"] != "limits"]
    assert all(report == reports[0] for report in reports)


def test_a_run_bundle_of_another_shape_is_skipped_and_earns_its_level_by_the_rest() -> None:
    package = honest()
    declared = package["router"]["bundle"]["digests"]["sha256"]
    package["router"]["bundle"] = {"integrity": {"canonical_digest": f"sha256:{declared}"}, "what": "ever"}
    report = verify_evidence(package)
    statuses = {check.name: check.status for check in report.checks}
    assert (statuses["router_digest_recomputed"], report.level) == ("skipped", "L2")


def test_the_independent_digest_is_independent() -> None:
    assert independent_digest({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
