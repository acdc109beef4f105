"""Decision bundle 0.5: one decision, whole, as a portable document. The format is frozen.

    bundle            = {"bundle_version": "0.5", "decision", "events", "template_snapshot", "router_link",
                         "integrity", "provenance", "meta"}
    decision          = {"decision_id", "goal", "mode": "dry_run" | "apply",
                         "created_at": the ts of event 0, "status": the state in upper case}
    events            = [event, ...], by seq, at least one
    event             = {"event_id", "decision_id", "seq": integer, "type", "payload": any object, "ts": instant,
                         "actor": {"type": "human" | "system", "id"}, "digest": bare}
    template_snapshot = {"present": false}
                      | {"present": true, "name", "digest": prefixed, "snapshot": any object,
                         "overrides": any object | null}
    router_link       = {"run_id"?, "adapter_id"?, "router_request_digest"?: prefixed,
                         "router_result_digest"?: prefixed, "control_router_link_digest"?: prefixed}
    integrity         = {"alg": "sha256", "canonical_digest": prefixed}
    provenance, meta    as in `artifact`; method "nexus-control.export_v0_5", output "bundle:<canonical_digest>"

Every key is required, and no other is allowed, except that `router_link` leaves out what is unknown and is `{}` when
nothing ran. A *bare* digest is 64 lower-case hex digits, a *prefixed* one has `sha256:` before them. An instant is as
in `values.instants`, kept exactly as it was written.

What each digest covers:

    canonical_digest           = sha256(canonical_json({bundle_version, decision, events, template_snapshot,
                                 router_link})); integrity, provenance and meta are not covered
    event.digest               = sha256(canonical_json({"event_type": type, "payload": payload}))
    template_snapshot.digest   = the digest of the template's snapshot
    control_router_link_digest = sha256(canonical_json({decision_id, run_id, router_request_digest,
                                 router_result_digest})) over the *bare* hex of the two digests

Reading checks the shape only. `import_bundle` and `verify_evidence` check that the digests are true, that the events
have no gaps, and that the header equals their replay.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from json.encoder import encode_basestring
from typing import Any, Final, Literal, NamedTuple, Self

from nexus_control.artifact import (
    BARE_DIGEST,
    INSTANT,
    PREFIXED_DIGEST,
    ArtifactMeta,
    Part,
    Provenance,
)
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import NexusControlError
from nexus_control.events import event_id
from nexus_control.integrity import is_bare, is_prefixed, json_digest, prefixed, sha256_of
from nexus_control.values.actors import Actor, actor_text
from nexus_control.values.instants import is_instant
from nexus_control.values.payloads import EventType, Mode
from nexus_control.values.records import always_written, check, encode, written_names

BUNDLE_VERSION: Final = "0.5"
EXPORT_METHOD: Final = "nexus-control.export_v0_5"

_text = encode_basestring
_EVENT_TYPES = frozenset(EventType)
_STATUS = re.compile(r"[A-Z]+(?:_[A-Z]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDecision(Part):
    """The header: the facts that a reader wants before replaying the events."""

    decision_id: str
    goal: str
    mode: Mode
    created_at: str = check(is_instant, INSTANT)
    status: str = check(lambda status: _STATUS.fullmatch(status) is not None, "a state in upper case")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleEvent(Part):
    """One event of the decision."""

    event_id: str
    decision_id: str
    seq: int = check(lambda seq: seq >= 0, "at least 0")
    type: str = check(_EVENT_TYPES.__contains__, "a known event type")
    payload: Mapping[str, object]
    ts: str = check(is_instant, INSTANT)
    actor: Actor
    digest: str = check(is_bare, BARE_DIGEST)

    def to_dict(self) -> dict[str, Any]:
        # Nearly all of a bundle is events: spelled out, a digest costs little more than its canonical JSON.
        return {
            "event_id": self.event_id,
            "decision_id": self.decision_id,
            "seq": self.seq,
            "type": self.type,
            "payload": self.payload,
            "ts": self.ts,
            "actor": {"type": self.actor.type, "id": self.actor.id},
            "digest": self.digest,
        }

    def around(self, payload: str) -> str:
        """The canonical JSON of the event, whose payload has this canonical JSON."""
        names = _text(self.event_id), _text(self.decision_id)
        who = actor_text(self.actor.type, self.actor.id)
        return _spelled(*names, self.seq, self.type, payload, self.ts, who, _text(self.digest))


class EventText:
    """The canonical JSON of events of one decision, whose payloads are canonical JSON already, and digests hex."""

    def __init__(self, decision_id: str) -> None:
        self._decision_id = _text(decision_id)
        self._begin_of_id = _text(event_id(decision_id, 0)).removesuffix('0"')

    def of(
        self, seq: int, event_type: str, payload: str, ts: str, actor_type: str, actor_id: str, digest: str
    ) -> str:
        who = actor_text(actor_type, actor_id)
        return _spelled(
            f'{self._begin_of_id}{seq}"', self._decision_id, seq, event_type, payload, ts, who, f'"{digest}"'
        )


def _spelled(
    event_id: str, decision_id: str, seq: int, event_type: str, payload: str, ts: str, actor: str, digest: str
) -> str:
    """The canonical JSON of an event; ids, `payload`, `actor` and `digest` are canonical JSON."""
    # Nearly all of a bundle is events: canonical_json of each would take several times as long.
    return (
        f'{{"actor":{actor},"decision_id":{decision_id},"digest":{digest},"event_id":{event_id},'
        f'"payload":{payload},"seq":{seq},"ts":{_text(ts)},"type":{_text(event_type)}}}'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleTemplateSnapshot(Part):
    """The template that the decision's policy came from, as it was then. The default: no template."""

    present: bool = False
    name: str | None = None
    digest: str | None = check(is_prefixed, PREFIXED_DIGEST, default=None)
    snapshot: Mapping[str, object] | None = None
    overrides: Mapping[str, object] | None = always_written(None)

    def __post_init__(self) -> None:
        if self.present and None in (self.name, self.digest, self.snapshot):
            raise NexusControlError(self.invalid, "name, digest and snapshot must be given when present")

    def to_dict(self) -> dict[str, Any]:
        return encode(self) if self.present else {"present": False}

    def written_names(self) -> list[str]:
        return written_names(self) if self.present else ["present"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleRouterLink(Part):
    """The run that the decision led to. The default: no run."""

    run_id: str | None = None
    adapter_id: str | None = None
    router_request_digest: str | None = check(is_prefixed, PREFIXED_DIGEST, default=None)
    router_result_digest: str | None = check(is_prefixed, PREFIXED_DIGEST, default=None)
    control_router_link_digest: str | None = check(is_prefixed, PREFIXED_DIGEST, default=None)

    @classmethod
    def of_run(
        cls,
        *,
        decision_id: str,
        run_id: str | None,
        adapter_id: str | None,
        request_hex: str | None,
        result_hex: str | None,
    ) -> Self:
        """The link to a run. It is sealed with its digest when run, request and result are all known."""
        link_digest = None
        if run_id is not None and request_hex is not None and result_hex is not None:
            link_digest = compute_link_digest(decision_id, run_id, request_hex, result_hex)
        return cls(
            run_id=run_id,
            adapter_id=adapter_id,
            router_request_digest=None if request_hex is None else prefixed(request_hex),
            router_result_digest=None if result_hex is None else prefixed(result_hex),
            control_router_link_digest=link_digest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleIntegrity(Part):
    alg: Literal["sha256"]
    canonical_digest: str = check(is_prefixed, PREFIXED_DIGEST)


class BundleSeal(NamedTuple):
    """What stands in a bundle beside its content."""

    integrity: BundleIntegrity
    provenance: Provenance
    meta: ArtifactMeta

    @classmethod
    def of(cls, digest: str, decision_id: str, exported_at: datetime) -> Self:
        """The seal of an export whose content has this prefixed digest."""
        return cls(
            integrity=BundleIntegrity(alg="sha256", canonical_digest=digest),
            provenance=Provenance.of_export(
                method_id=EXPORT_METHOD, decision_id=decision_id, kind="bundle", digest=digest
            ),
            meta=ArtifactMeta.at(exported_at),
        )


class ContentText(NamedTuple):
    """The canonical JSON of a bundle's content. In the whole bundle the seal stands between the two parts."""

    begin: str
    end: str

    @classmethod
    def of(
        cls,
        *,
        bundle_version: str = BUNDLE_VERSION,
        decision: BundleDecision | Mapping[str, object],
        events: Iterable[str],
        template_snapshot: BundleTemplateSnapshot | Mapping[str, object],
        router_link: BundleRouterLink | Mapping[str, object],
    ) -> Self:
        """The text of these parts; `events` are the texts of the events (`EventText`)."""
        return cls(
            f'{{"bundle_version":{canonical_json(bundle_version)},"decision":{_canonical(decision)},'
            f'"events":[{",".join(events)}]',
            f',"router_link":{_canonical(router_link)},"template_snapshot":{_canonical(template_snapshot)}}}',
        )

    def digest(self) -> str:
        """The canonical digest, bare."""
        return sha256_of(self)

    def sealed(self, seal: BundleSeal) -> str:
        """The canonical JSON of the whole bundle."""
        integrity, provenance, meta = map(_canonical, seal)
        return f'{self.begin},"integrity":{integrity},"meta":{meta},"provenance":{provenance}{self.end}'


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionBundle(Part):
    """One decision, whole, as a document.

        >>> bundle = export_decision(store, executed_id).bundle
        >>> bundle.decision.status
        'COMPLETED'

    The docstring of `nexus_control.bundle` gives the format.
    """

    bundle_version: str = check(
        lambda version: version == BUNDLE_VERSION, f'"{BUNDLE_VERSION}" (Unsupported bundle_version)'
    )
    decision: BundleDecision
    events: tuple[BundleEvent, ...] = check(lambda events: len(events) > 0, "a non-empty list")
    template_snapshot: BundleTemplateSnapshot
    router_link: BundleRouterLink
    integrity: BundleIntegrity
    provenance: Provenance
    meta: ArtifactMeta

    @classmethod
    def seal(
        cls,
        *,
        decision: BundleDecision,
        events: Sequence[BundleEvent],
        template_snapshot: BundleTemplateSnapshot,
        router_link: BundleRouterLink,
        exported_at: datetime,
    ) -> Self:
        """The bundle of this content, with its digest, its provenance and the time of its export.

        >>> again = DecisionBundle.seal(
        ...     decision=bundle.decision, events=bundle.events, template_snapshot=bundle.template_snapshot,
        ...     router_link=bundle.router_link, exported_at=decision.as_of,
        ... )
        >>> again.integrity == bundle.integrity
        True
        """
        digest = compute_bundle_digest(
            bundle_version=BUNDLE_VERSION,
            decision=decision,
            events=events,
            template_snapshot=template_snapshot,
            router_link=router_link,
        )
        seal = BundleSeal.of(prefixed(digest), decision.decision_id, exported_at)
        return cls(
            bundle_version=BUNDLE_VERSION,
            decision=decision,
            events=tuple(events),
            template_snapshot=template_snapshot,
            router_link=router_link,
            integrity=seal.integrity,
            provenance=seal.provenance,
            meta=seal.meta,
        )

    def content_digest(self) -> str:
        """The prefixed canonical digest of the content, recomputed.

            >>> bundle.content_digest() == bundle.integrity.canonical_digest
            True

        `integrity` only declares a digest: the two differ for a bundle that was changed after it was sealed.
        """
        return prefixed(
            compute_bundle_digest(
                bundle_version=self.bundle_version,
                decision=self.decision,
                events=self.events,
                template_snapshot=self.template_snapshot,
                router_link=self.router_link,
            )
        )


def compute_bundle_digest(
    *,
    bundle_version: str,
    decision: BundleDecision | Mapping[str, object],
    events: Sequence[BundleEvent | Mapping[str, object]],
    template_snapshot: BundleTemplateSnapshot | Mapping[str, object],
    router_link: BundleRouterLink | Mapping[str, object],
) -> str:
    """The canonical digest of a bundle's content, bare hex.

        >>> digest = compute_bundle_digest(
        ...     bundle_version="0.5", decision=bundle.decision, events=bundle.events,
        ...     template_snapshot=bundle.template_snapshot, router_link=bundle.router_link,
        ... )
        >>> bundle.integrity.canonical_digest == f"sha256:{digest}"
        True

    A part is an object of this module or its JSON object, which is hashed as it is. Raises JSON_INVALID for a value
    without canonical JSON.
    """
    begin = (
        f'{{"bundle_version":{canonical_json(bundle_version)},"decision":{_canonical(decision)},"events":['
    )
    separated = ("," * (number > 0) + _canonical_event(event) for number, event in enumerate(events))
    end = f'],"router_link":{_canonical(router_link)},"template_snapshot":{_canonical(template_snapshot)}}}'
    return sha256_of(chain([begin], separated, [end]))


def _canonical(part: Part | Mapping[str, object]) -> str:
    return canonical_json(part.to_dict() if isinstance(part, Part) else part)


def _canonical_event(event: BundleEvent | Mapping[str, object]) -> str:
    if not isinstance(event, BundleEvent) or type(event.seq) is not int:
        return _canonical(event)
    try:
        return event.around(canonical_json(event.payload))
    except TypeError:  # an event that was built by hand, with a value that is not text
        return _canonical(event)


def compute_link_digest(decision_id: str, run_id: str, request_hex: str, result_hex: str) -> str:
    """The prefixed digest that ties a decision to its run, from the bare digests of request and result."""
    return prefixed(
        json_digest(
            {
                "decision_id": decision_id,
                "run_id": run_id,
                "router_request_digest": request_hex,
                "router_result_digest": result_hex,
            }
        )
    )


def validate_bundle_schema(data: object) -> list[str]:
    """Everything that keeps a value from being a bundle 0.5.

        >>> validate_bundle_schema({})[1]
        'Missing required field: decision'

    An empty list when `DecisionBundle.from_dict` accepts it.
    """
    return DecisionBundle.schema_problems(data)
