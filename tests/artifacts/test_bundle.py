import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.artifact import Part
from nexus_control.bundle import (
    BUNDLE_VERSION,
    BundleDecision,
    BundleEvent,
    BundleIntegrity,
    BundleRouterLink,
    BundleTemplateSnapshot,
    DecisionBundle,
    compute_link_digest,
    validate_bundle_schema,
)
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.integrity import bare, json_digest
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import EventType
from nexus_control.values.records import encode
from tests.artifacts.samples import (
    ABSENT,
    AT,
    BUNDLES,
    Document,
    Path,
    at,
    changed,
    independent_digest,
    load,
    nodes,
)
from tests.support.json_values import TEXT, json_values

EXECUTED = BUNDLES["executed"]
TEMPLATE = BUNDLES["template-executed"]
COVERED = ("bundle_version", "decision", "events", "template_snapshot", "router_link")
every_bundle = pytest.mark.parametrize("document", BUNDLES.values(), ids=BUNDLES.keys())


@every_bundle
def test_a_bundle_is_written_as_it_was_read(document: Document) -> None:
    bundle = DecisionBundle.from_dict(document)
    assert bundle.to_dict() == document
    assert canonical_json(bundle.to_dict()) == canonical_json(document)
    assert DecisionBundle.from_dict(bundle.to_dict()) == bundle
    assert DecisionBundle.from_json(json.dumps(document)) == bundle
    assert validate_bundle_schema(document) == []


@every_bundle
def test_the_canonical_digest_recomputes(document: Document) -> None:
    declared = document["integrity"]["canonical_digest"]
    assert DecisionBundle.from_dict(document).content_digest() == declared
    assert DecisionBundle.from_dict(document).content_digest() == declared
    assert independent_digest({key: document[key] for key in COVERED}) == declared


@every_bundle
def test_event_digests_recompute(document: Document) -> None:
    for event in document["events"]:
        content = {"event_type": event["type"], "payload": event["payload"]}
        assert independent_digest(content) == "sha256:" + event["digest"]


@every_bundle
def test_sealing_the_same_content_gives_the_same_digest_and_provenance(document: Document) -> None:
    bundle = DecisionBundle.from_dict(document)
    sealed = DecisionBundle.seal(
        decision=bundle.decision,
        events=bundle.events,
        template_snapshot=bundle.template_snapshot,
        router_link=bundle.router_link,
        exported_at=AT,
    )
    assert replace(sealed, meta=bundle.meta) == bundle
    assert sealed.meta.exported_at == "2026-01-02T03:04:05.000006+00:00"


@every_bundle
def test_each_part_of_a_bundle_is_read_on_its_own(document: Document) -> None:
    bundle = DecisionBundle.from_dict(document)
    assert BundleDecision.from_dict(document["decision"]) == bundle.decision
    assert tuple(BundleEvent.from_dict(event) for event in document["events"]) == bundle.events
    assert BundleTemplateSnapshot.from_dict(document["template_snapshot"]) == bundle.template_snapshot
    assert BundleRouterLink.from_dict(document["router_link"]) == bundle.router_link
    assert BundleIntegrity.from_dict(document["integrity"]) == bundle.integrity


def test_an_event_spelled_out_is_what_the_encoder_would_write() -> None:
    for event in DecisionBundle.from_dict(EXECUTED).events:
        assert event.to_dict() == encode(event)
        assert list(event.to_dict()) == list(encode(event))


@given(
    json_values().map(lambda value: {"value": value}),
    st.fixed_dictionaries(
        {},
        optional={
            "event_id": TEXT | st.none(),
            "decision_id": TEXT,
            "seq": st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
            "type": st.sampled_from(EventType) | st.integers(),
            "ts": TEXT | st.none(),
            "digest": TEXT,
        },
    ),
)
def test_the_digest_over_an_event_is_that_of_its_canonical_json_also_when_it_was_built_by_hand(
    payload: dict[str, object], values: dict[str, Any]
) -> None:
    bundle = DecisionBundle.from_dict(EXECUTED)
    event = replace(bundle.events[0], payload=payload, **values)
    assert bare(replace(bundle, events=(event,)).content_digest()) == json_digest(
        {**{key: bundle.to_dict()[key] for key in COVERED}, "events": [event.to_dict()]}
    )


@every_bundle
def test_every_part_names_the_keys_that_it_writes(document: Document) -> None:
    bundle = DecisionBundle.from_dict(document)
    parts = [
        bundle,
        *(getattr(bundle, name) for name in document),
        *bundle.events,
        *bundle.provenance.records,
    ]
    for part in parts:
        if isinstance(part, Part):
            assert part.written_names() == list(part.to_dict())


def test_golden_provenance_ids() -> None:
    ids = {name: bundle["provenance"]["records"][0]["prov_id"] for name, bundle in BUNDLES.items()}
    assert ids == {
        "pending": "prov_4ea08625afaa",
        "executed": "prov_5de67c0cfbac",
        "template-executed": "prov_196be7423821",
        "in reference package": "prov_5de67c0cfbac",
        "in template package": "prov_196be7423821",
        "in embedded package": "prov_0b1eaca46db2",
    }


@pytest.mark.parametrize("name", [name for name in BUNDLES if name != "pending"])
def test_the_link_digest_recomputes_from_the_bare_digests(name: str) -> None:
    link, decision_id = BUNDLES[name]["router_link"], BUNDLES[name]["decision"]["decision_id"]
    request_hex, result_hex = bare(link["router_request_digest"]), bare(link["router_result_digest"])
    digest = compute_link_digest(decision_id, link["run_id"], request_hex, result_hex)
    assert digest == link["control_router_link_digest"]
    assert (
        BundleRouterLink.of_run(
            decision_id=decision_id,
            run_id=link["run_id"],
            adapter_id=link["adapter_id"],
            request_hex=request_hex,
            result_hex=result_hex,
        ).to_dict()
        == link
    )


def test_a_link_leaves_out_what_is_unknown_and_is_then_not_sealed() -> None:
    link = BundleRouterLink.of_run(
        decision_id="d", run_id=None, adapter_id="fake:echo", request_hex="0" * 64, result_hex=None
    )
    assert link.to_dict() == {"adapter_id": "fake:echo", "router_request_digest": "sha256:" + "0" * 64}
    assert BundleRouterLink().to_dict() == {}


def test_golden_events_seal_into_a_bundle_that_reads_back() -> None:
    golden = load("evidence", "golden.json")["events"]
    first = golden[0]
    events = [
        BundleEvent(
            event_id=f"evt_{event['decision_id']}_{event['seq']}",
            **{key: event[key] for key in event if key != "actor"},
            actor=Actor.of(event["actor"]),
        )
        for event in golden
    ]
    bundle = DecisionBundle.seal(
        decision=BundleDecision(
            decision_id=first["decision_id"],
            goal=first["payload"]["goal"],
            mode="apply",
            created_at=first["ts"],
            status="APPROVED",
        ),
        events=events,
        template_snapshot=BundleTemplateSnapshot(),
        router_link=BundleRouterLink(),
        exported_at=AT,
    )
    assert DecisionBundle.from_json(canonical_json(bundle.to_dict())) == bundle
    assert bundle.content_digest() == bundle.integrity.canonical_digest


def test_any_event_type_is_known() -> None:
    for event_type in EventType:
        assert validate_bundle_schema(changed(EXECUTED, ("events", 0, "type"), event_type.value)) == []


def test_a_bundle_is_frozen() -> None:
    bundle = DecisionBundle.from_dict(EXECUTED)
    with pytest.raises(FrozenInstanceError):
        bundle.decision = replace(bundle.decision, goal="another")  # pyright: ignore[reportAttributeAccessIssue]


EVENT = ("events", 0)
LINK = ("router_link",)
SNAPSHOT = ("template_snapshot",)
BAD_SHAPES: list[tuple[str, Document, Path, object, str]] = [
    ("no decision", EXECUTED, ("decision",), ABSENT, "Missing required field: decision"),
    ("decision is text", EXECUTED, ("decision",), "d", "decision must be an object"),
    ("decision is null", EXECUTED, ("decision",), None, "decision must be an object"),
    ("no goal", EXECUTED, ("decision", "goal"), ABSENT, "Missing required field: decision.goal"),
    ("unknown mode", EXECUTED, ("decision", "mode"), "force", "decision.mode must be one of dry_run, apply"),
    ("status in lower case", EXECUTED, ("decision", "status"), "completed", "decision.status must be"),
    (
        "yesterday",
        EXECUTED,
        ("decision", "created_at"),
        "yesterday",
        "decision.created_at must be an ISO-8601",
    ),
    ("naive time", EXECUTED, (*EVENT, "ts"), "2026-01-01T00:00:00", "events[0].ts must be an ISO-8601"),
    ("unknown version", EXECUTED, ("bundle_version",), "9.9", "Unsupported bundle_version"),
    ("version as a number", EXECUTED, ("bundle_version",), 0.5, "bundle_version must be text"),
    ("no events", EXECUTED, ("events",), ABSENT, "Missing required field: events"),
    ("events empty", EXECUTED, ("events",), [], "events must be a non-empty list"),
    ("events an object", EXECUTED, ("events",), {}, "events must be a list"),
    ("event a list", EXECUTED, EVENT, [], "events[0] must be an object"),
    ("float seq", EXECUTED, (*EVENT, "seq"), 0.0, "events[0].seq must be an integer"),
    ("bool seq", EXECUTED, (*EVENT, "seq"), False, "events[0].seq must be an integer"),
    ("text seq", EXECUTED, (*EVENT, "seq"), "0", "events[0].seq must be an integer"),
    ("negative seq", EXECUTED, (*EVENT, "seq"), -1, "events[0].seq must be at least 0"),
    ("unknown event type", EXECUTED, (*EVENT, "type"), "DECISION_EATEN", "events[0].type must be a known"),
    ("payload a list", EXECUTED, (*EVENT, "payload"), [], "events[0].payload must be an object"),
    ("payload null", EXECUTED, (*EVENT, "payload"), None, "events[0].payload must be an object"),
    ("digest upper-case", EXECUTED, (*EVENT, "digest"), "A" * 64, "events[0].digest must be 64 lower-case"),
    ("digest prefixed", EXECUTED, (*EVENT, "digest"), "sha256:" + "a" * 64, "events[0].digest must be 64"),
    ("digest with newline", EXECUTED, (*EVENT, "digest"), "a" * 64 + "\n", "events[0].digest must be 64"),
    (
        "unknown actor type",
        EXECUTED,
        (*EVENT, "actor", "type"),
        "robot",
        "events[0].actor.type must be one of",
    ),
    ("empty actor id", EXECUTED, (*EVENT, "actor", "id"), "", "events[0].actor: actor.id must not be empty"),
    ("actor key", EXECUTED, (*EVENT, "actor", "role"), "x", "Unknown field: events[0].actor.role"),
    ("event key", EXECUTED, (*EVENT, "origin"), "local", "Unknown field: events[0].origin"),
    ("top key", EXECUTED, ("extra",), 1, "Unknown field: extra"),
    ("decision key", EXECUTED, ("decision", "extra"), 1, "Unknown field: decision.extra"),
    ("template key", EXECUTED, (*SNAPSHOT, "extra"), 1, "Unknown field: template_snapshot.extra"),
    ("link key", EXECUTED, (*LINK, "extra"), 1, "Unknown field: router_link.extra"),
    ("integrity key", EXECUTED, ("integrity", "extra"), 1, "Unknown field: integrity.extra"),
    ("provenance key", EXECUTED, ("provenance", "extra"), 1, "Unknown field: provenance.extra"),
    ("meta key", EXECUTED, ("meta", "extra"), 1, "Unknown field: meta.extra"),
    ("link null", EXECUTED, (*LINK, "run_id"), None, "router_link.run_id must be left out here"),
    (
        "link bare",
        EXECUTED,
        (*LINK, "router_request_digest"),
        "a" * 64,
        "router_link.router_request_digest must",
    ),
    ("link is null", EXECUTED, LINK, None, "router_link must be an object"),
    ("template empty", EXECUTED, SNAPSHOT, {}, "Missing required field: template_snapshot.present"),
    ("present is 1", EXECUTED, (*SNAPSHOT, "present"), 1, "template_snapshot.present must be true or false"),
    (
        "absent, named",
        TEMPLATE,
        (*SNAPSHOT, "present"),
        False,
        "template_snapshot.name must be left out here",
    ),
    ("absent, null", EXECUTED, (*SNAPSHOT, "name"), None, "template_snapshot.name must be left out here"),
    ("unnamed", TEMPLATE, (*SNAPSHOT, "name"), ABSENT, "name, digest and snapshot must be given"),
    ("null snapshot", TEMPLATE, (*SNAPSHOT, "snapshot"), None, "name, digest and snapshot must be given"),
    ("no overrides", TEMPLATE, (*SNAPSHOT, "overrides"), ABSENT, "field: template_snapshot.overrides"),
    ("sha1", EXECUTED, ("integrity", "alg"), "sha1", "integrity.alg must be one of sha256"),
    ("no alg", EXECUTED, ("integrity", "alg"), ABSENT, "Missing required field: integrity.alg"),
    (
        "bare",
        EXECUTED,
        ("integrity", "canonical_digest"),
        "a" * 64,
        "integrity.canonical_digest must be sha256:",
    ),
    ("no provenance", EXECUTED, ("provenance",), ABSENT, "Missing required field: provenance"),
    ("input a number", EXECUTED, ("provenance", "records", 0, "inputs"), [1], "inputs[0] must be text"),
    ("no exported_at", EXECUTED, ("meta",), {}, "Missing required field: meta.exported_at"),
]


@pytest.mark.parametrize(
    ("document", "path", "value", "problem"),
    [shape[1:] for shape in BAD_SHAPES],
    ids=[shape[0] for shape in BAD_SHAPES],
)
def test_a_bad_shape_is_refused_and_named(
    document: Document, path: Path, value: object, problem: str
) -> None:
    bad = changed(document, path, value)
    problems = validate_bundle_schema(bad)
    assert any(problem in each for each in problems), problems
    with pytest.raises(NexusControlError) as caught:
        DecisionBundle.from_dict(bad)
    assert caught.value.code == ErrorCode.BUNDLE_INVALID_SCHEMA
    assert caught.value.details == {"problems": problems}


def test_every_problem_is_listed() -> None:
    assert set(validate_bundle_schema({})) == {
        f"Missing required field: {key}" for key in (*COVERED, "integrity", "provenance", "meta")
    }
    bad = changed(changed(EXECUTED, ("bundle_version",), "0.4"), ("events", 1, "seq"), True)
    assert len(validate_bundle_schema(bad)) == 2


@pytest.mark.parametrize("value", [None, [], "bundle", 5])
def test_what_is_not_an_object_is_not_a_bundle(value: object) -> None:
    assert validate_bundle_schema(value) == ["value must be an object"]


TEXTS: list[tuple[str, Callable[[str], str]]] = [
    ("duplicate key", lambda text: text.replace('"decision":', '"decision":1,"decision":', 1)),
    ("NaN", lambda text: text.replace('"seq":0', '"seq":NaN', 1)),
    ("byte order mark", lambda text: "\ufeff" + text),
    ("cut short", lambda text: text[:-1]),
    ("lone surrogate", lambda text: text.replace("Rotate", "\\ud800", 1)),
    ("over-long integer", lambda text: text.replace('"seq":0', '"seq":' + "9" * 5000, 1)),
    ("deep nesting", lambda text: text.replace('"plan":null', '"plan":' + "[" * 9000 + "]" * 9000, 1)),
]


@pytest.mark.parametrize("spoil", [text[1] for text in TEXTS], ids=[text[0] for text in TEXTS])
def test_text_is_parsed_strictly(spoil: Callable[[str], str]) -> None:
    text = canonical_json(EXECUTED)
    assert DecisionBundle.from_json(text.encode()).bundle_version == BUNDLE_VERSION
    assert spoil(text) != text
    with pytest.raises(NexusControlError) as caught:
        DecisionBundle.from_json(spoil(text))
    assert caught.value.code == ErrorCode.JSON_INVALID


@pytest.mark.parametrize("name", ["executed", "template-executed"])
def test_every_change_of_covered_content_changes_the_digest_or_is_refused(name: str) -> None:
    document = BUNDLES[name]
    for path in nodes({key: document[key] for key in COVERED}):
        for value in ("another", None, 7):
            if at(document, path) == value:
                continue
            bad = changed(document, path, value)
            if not validate_bundle_schema(bad):
                assert (
                    DecisionBundle.from_dict(bad).content_digest()
                    != document["integrity"]["canonical_digest"]
                ), path


@given(json_values())
def test_any_json_is_a_bundle_or_named_problems(value: Any) -> None:
    for data in (value, changed(EXECUTED, ("decision",), value), changed(EXECUTED, ("events",), [value])):
        assert validate_bundle_schema(data)


@given(json_values())
def test_a_bundle_that_is_accepted_is_written_as_it_was_read(value: Any) -> None:
    for path in (
        ("events", 0, "payload"),
        ("template_snapshot",),
        ("router_link",),
        ("router_link", "run_id"),
    ):
        data = changed(EXECUTED, path, value)
        if not validate_bundle_schema(data):
            assert DecisionBundle.from_dict(data).to_dict() == data
