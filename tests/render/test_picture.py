"""The timeline as a picture: everything that happened is on it, nothing overlaps, and no text leaves its place."""

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.audit_package import AuditPackage
from nexus_control.canonical_json import canonical_json
from nexus_control.evidence.bundle_checks import History, history_of
from nexus_control.evidence.reading import Reading, read_evidence
from nexus_control.render.moments import Moment, moments_of
from nexus_control.render.picture import WIDTH, shortened, timeline_picture
from nexus_control.render.steps import RunStep, steps_of
from nexus_control.store import DecisionStore
from tests.evidence.packages import HONEST, honest
from tests.evidence.signed_packages import signed_package
from tests.render.decisions import ordinary
from tests.support.clock import FakeClock
from tests.support.governed import data_of
from tests.support.situations import SITUATIONS, Two

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = "</text></svg><script>alert(1)</script>\" onload='x' &amp; \u202egnirts \u200b\n\x00 ]]> <!-- \ufffe \ud800"
SIZES = {"label": 13, "who": 11, "gap": 11, "date": 11, "time": 11}
KINDS = st.sampled_from(
    ["request", "policy", "approval", "quorum", "claim", "step", "good", "bad", "end", "proof"]
)
SPANS = st.sampled_from([0, 1, 59, 3_600, 86_399, 86_400, 400 * 86_400, -5])


def drawings(moments: tuple[Moment, ...]) -> list[ElementTree.Element]:
    """The drawings, read as XML."""
    return list(ElementTree.fromstring(f"<all>{timeline_picture(moments)}</all>"))


def texts(drawing: ElementTree.Element) -> list[tuple[str, float, str]]:
    return [(each.attrib["class"], float(each.attrib["y"]), each.text or "") for each in drawing.iter("text")]


def picture_of(evidence: Reading) -> tuple[tuple[Moment, ...], History]:
    whole = evidence.whole
    assert whole is not None
    history = history_of(whole.control_bundle if isinstance(whole, AuditPackage) else whole)
    assert isinstance(history, History)
    run = whole.router.bundle if isinstance(whole, AuditPackage) else None
    return moments_of(evidence, history.decision, steps_of(run)), history


@st.composite
def many_moments(draw: Callable[..., object]) -> tuple[Moment, ...]:
    at, moments = START, list[Moment]()
    for _ in range(draw(st.integers(1, 40))):  # type: ignore[arg-type]
        at += timedelta(seconds=draw(SPANS))  # type: ignore[arg-type]
        kind, who = draw(KINDS), draw(st.sampled_from(["", "alice", "W" * 300]))
        ts = at.isoformat() if draw(st.integers(0, 5)) else None
        moments.append(Moment(kind=str(kind), label="approved", who=str(who), ts=ts))
    return tuple(moments)


@given(many_moments())
def test_no_two_texts_of_one_side_overlap_and_each_stands_in_its_drawing(moments: tuple[Moment, ...]) -> None:
    shown = drawings(moments)
    assert sum(len(list(each.iter("text"))) for each in shown) >= len(moments)
    for drawing in shown:
        height = float(drawing.attrib["height"])
        for side in (("label", "who"), ("gap", "date", "time")):
            lines = sorted((y, kind) for kind, y, _ in texts(drawing) if kind in side)
            assert all(y - SIZES[kind] >= 0 and y <= height for y, kind in lines)
            below = pairwise(lines)
            assert all(lower - SIZES[kind] * 0.9 >= upper for (upper, _), (lower, kind) in below)
    assert sum(len(marks(each)) for each in shown) == len(moments)


def marks(drawing: ElementTree.Element) -> list[str]:
    """The kinds of the marks on the line, in order."""
    return [
        each.attrib["class"].split()[2]
        for each in drawing.iter()
        if each.attrib.get("class", "").startswith("mark ")
    ]


@pytest.mark.parametrize("name", HONEST)
def test_every_event_of_a_package_is_on_it_and_told_in_words(name: str) -> None:
    evidence = read_evidence(canonical_json(honest(name)).encode())
    moments, history = picture_of(evidence)
    shown = drawings(moments)
    count = Counter(kind for drawing in shown for kind in marks(drawing))
    events = Counter(str(event.event_type) for event in history.decision.events)
    assert count["approval"] == events["APPROVAL_GRANTED"]
    assert count["revocation"] == events["APPROVAL_REVOKED"]
    assert count["claim"] == events["EXECUTION_REQUESTED"] == count["started"]
    assert count["good"] >= events["EXECUTION_COMPLETED"]
    assert count["bad"] >= events["EXECUTION_FAILED"]
    assert count["settled"] == events["EXECUTION_RECONCILED"]
    assert (count["request"], count["policy"], count["quorum"]) == (1, 1, 1 + events["APPROVAL_REVOKED"])
    told = "; ".join(each.findtext("desc") or "" for each in shown)
    assert [each.label in told for each in moments] == [True] * len(moments)
    assert all(each.attrib["role"] == "img" and each.findtext("title") for each in shown)


@pytest.mark.parametrize("name", [name for name in SITUATIONS if name != "without a policy"])
def test_every_situation_of_a_decision_can_be_drawn(name: str) -> None:
    clock = FakeClock()
    with DecisionStore(":memory:", clock=clock) as store:
        two = Two(store, clock)
        bundle = data_of(two.here.export_bundle(SITUATIONS[name].build(two)))["bundle"]
    moments, history = picture_of(read_evidence(canonical_json(bundle).encode()))
    assert len(moments) > len(history.decision.events)
    assert len(marks(drawings(moments)[0])) == len(moments)


def test_a_request_that_ran_out_before_it_was_denied_shows_its_end_in_between() -> None:
    clock = FakeClock()
    with DecisionStore(":memory:", clock=clock) as store:
        two = Two(store, clock)
        request_id = SITUATIONS["a request that expired and was denied"].build(two)
        bundle = data_of(two.here.export_bundle(request_id))["bundle"]
    moments, _ = picture_of(read_evidence(canonical_json(bundle).encode()))
    assert [each.kind for each in moments] == ["request", "policy", "end", "denial", "proof"]


def test_what_proves_a_package_ends_its_picture() -> None:
    signed = signed_package()
    evidence = read_evidence(signed.package, trust=signed.trust)
    moments, _ = picture_of(evidence)
    proofs = [each.label for each in moments if each.kind == "proof"]
    assert proofs == ["package exported", "in the log", "checkpoint", "approvals signed", "witnesses"]
    assert moments[-1].kind == "proof"
    unproved, _ = picture_of(read_evidence(signed.package))
    assert ("unknown", "self-signed") in [(each.kind, each.who) for each in unproved]


GOLDEN = """\
2026-01-02 |
  03:04:05 | requested apply
           | alice@example.com
           | policy: 2 approvals
2 h 10 min |
  05:14:05 | approved
           | bob@example.com
     4 min |
  05:18:05 | revoked
           | bob@example.com
      20 h |
2026-01-03 |
  01:18:05 | approved
           | bob@example.com
      40 s |
  01:18:45 | approved
           | carol@example.com
           | quorum met
     3 min |
  01:21:45 | rehearsal
           | system:release-runner
           | handed to the router
           | rehearsal completed
   1 d 3 h |
2026-01-04 |
  04:21:45 | claimed
           | system:release-runner
           | handed to the router
           | step ok
           | inspect-0
           | step ok
           | rotate-1
           | step ok
           | inspect-2
           | step ok
           | rotate-3
           | completed
       1 d |
2026-01-05 |
  04:21:45 | package exported
           | in the log
           | leaf 11 of 13 in nexus-control.local…
           | checkpoint
           | self-signed
"""


def test_an_ordinary_decision_reads_from_top_to_bottom(tmp_path: Path) -> None:
    moments, _ = picture_of(read_evidence(ordinary(tmp_path)))
    assert "\n".join(line for drawing in drawings(moments) for line in as_lines(drawing)) + "\n" == GOLDEN


def as_lines(drawing: ElementTree.Element) -> list[str]:
    """The lines of a drawing from top to bottom: left of the axis, then right of it."""
    lines = dict[float, list[str]]()
    for kind, y, text in texts(drawing):
        lines.setdefault(y, ["", ""])[kind in ("label", "who")] = text
    return [f"{left:>10} | {right}".rstrip() for _, (left, right) in sorted(lines.items())]


@pytest.mark.parametrize("where", ["label", "who", "ts"])
def test_hostile_texts_are_only_text_in_it(where: str) -> None:
    moments = (
        Moment(kind="request", label="requested"),
        Moment(**{"kind": "step", "label": "ok", where: HOSTILE}),
    )
    (drawing,) = drawings(moments)
    allowed = {"svg", "title", "desc", "text", "line", "circle", "rect", "path"}
    assert {each.tag for each in drawing.iter()} <= allowed
    attributes = {name for each in drawing.iter() for name in each.attrib}
    assert not {name for name in attributes if name.startswith("on") or "href" in name or name == "style"}
    assert "alert(1)" in (drawing.findtext("desc") or "")


@given(st.text(max_size=80))
def test_any_text_is_valid_xml_in_it(text: str) -> None:
    (drawing,) = drawings((Moment(kind="approval", label=text, who=text, ts="2026-01-02T03:04:05Z"),))
    assert marks(drawing) == ["approval"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("approved", "approved"),
        ("a" * 100, "a" * 26 + "…"),
        ("W" * 100, "W" * 17 + "…"),
        ("\N{CJK UNIFIED IDEOGRAPH-4E00}" * 100, "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 13 + "…"),
        ("two\nlines", r"two\nlines"),
        ("", ""),
    ],
)
def test_a_text_that_is_too_long_for_its_line_is_shortened(text: str, shown: str) -> None:
    assert shortened(text, WIDTH - 108, 13) == shown


def test_many_steps_are_the_first_ones_their_number_and_the_last_one() -> None:
    evidence = read_evidence(canonical_json(honest("by_reference")).encode())
    _, history = picture_of(evidence)
    steps = tuple(RunStep({"step_id": f"s{n}", "status": "error" if n == 7 else "ok"}) for n in range(60))
    moments = moments_of(evidence, history.decision, steps)
    labels = [f"{each.label} {each.who}".strip() for each in moments if "step" in each.label]
    assert labels == [
        "step ok s0",
        "step ok s1",
        "step ok s2",
        "step ok s3",
        "55 more steps, 1 not ok",
        "step ok s59",
    ]


def test_a_long_history_is_several_drawings_with_one_line_through_them() -> None:
    moments = tuple(
        Moment(kind="approval", label="approved", ts=(START + timedelta(days=day)).isoformat())
        for day in range(40)
    )
    shown = drawings(moments)
    assert [len(marks(each)) for each in shown] == [14, 14, 12]
    ends = [[float(line.attrib[end]) for line in each.iter("line") for end in ("y1", "y2")] for each in shown]
    assert [min(each) == 0 for each in ends] == [False, True, True]
    assert [
        max(each) == float(drawing.attrib["height"]) for each, drawing in zip(ends, shown, strict=True)
    ] == [
        True,
        True,
        False,
    ]
    assert len({each.attrib["aria-labelledby"] for each in shown}) == len(shown)
    dates = [text for each in shown for kind, _, text in texts(each) if kind == "date"]
    assert len(dates) == len(set(dates)) == len(moments)
    assert re.fullmatch(r"2026-02-10", dates[-1])
