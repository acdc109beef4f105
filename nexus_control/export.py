"""From store to bundle: a decision's events, and the parts of a bundle that follow from them.

The stored text of each payload is canonical JSON already. So the bundle's text is spliced from these, and its digest is
that of this text. What was changed past the library is not exported (`log.unaltered`).

The header's `status` is judged at the last event's `ts`, so the same events always export to the same digest.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nexus_control.bundle import (
    BUNDLE_VERSION,
    BundleDecision,
    BundleEvent,
    BundleRouterLink,
    BundleSeal,
    BundleTemplateSnapshot,
    ContentText,
    DecisionBundle,
    EventText,
)
from nexus_control.bundle_parts import SettledRun, header_of, link_part, settled_run, template_part
from nexus_control.decision import Decision
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import event_id
from nexus_control.integrity import prefixed
from nexus_control.log.entries import actor_of, to_event
from nexus_control.log.projection import Projection, import_record_of
from nexus_control.log.session import ReadSession
from nexus_control.log.unaltered import unaltered_events
from nexus_control.render.artifacts import render_export, render_parts
from nexus_control.storage.contract import Entry
from nexus_control.store import DecisionStore
from nexus_control.values.results import fault_of

__all__ = ["Export", "ExportResult", "export_decision", "export_of", "render_export"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """A bundle and its prefixed digest; or, when `success` is false, `error_code` and `error_message`."""

    success: bool
    bundle: DecisionBundle | None = None
    digest: str | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A decision as it is exported: the canonical text of its bundle, the parts of it, and the events as stored.

    Of a long history the events are most: they become objects, or JSON objects, only where these are asked for. `run`
    is the run that the bundle links, whether or not the link was left out.
    """

    decision: BundleDecision
    template_snapshot: BundleTemplateSnapshot
    router_link: BundleRouterLink
    seal: BundleSeal
    canonical_json: str
    entries: Sequence[Entry]
    run: SettledRun | None

    @property
    def digest(self) -> str:
        return self.seal.integrity.canonical_digest

    def to_bundle(self) -> DecisionBundle:
        """The bundle as objects."""
        decision_id = self.decision.decision_id
        return DecisionBundle(
            bundle_version=BUNDLE_VERSION,
            decision=self.decision,
            events=tuple(
                BundleEvent(
                    event_id=event_id(decision_id, entry.seq),
                    decision_id=decision_id,
                    seq=entry.seq,
                    type=entry.event_type,
                    payload=payload,
                    ts=entry.ts,
                    actor=actor_of(entry),
                    digest=entry.digest,
                )
                for entry, payload in self._events()
            ),
            template_snapshot=self.template_snapshot,
            router_link=self.router_link,
            integrity=self.seal.integrity,
            provenance=self.seal.provenance,
            meta=self.seal.meta,
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the bundle, as `DecisionBundle.to_dict` gives it."""
        decision_id = self.decision.decision_id
        return {
            "bundle_version": BUNDLE_VERSION,
            "decision": self.decision.to_dict(),
            "events": [
                {
                    "event_id": event_id(decision_id, entry.seq),
                    "decision_id": decision_id,
                    "seq": entry.seq,
                    "type": entry.event_type,
                    "payload": payload,
                    "ts": entry.ts,
                    "actor": {"type": entry.actor_type, "id": entry.actor_id},
                    "digest": entry.digest,
                }
                for entry, payload in self._events()
            ],
            "template_snapshot": self.template_snapshot.to_dict(),
            "router_link": self.router_link.to_dict(),
            "integrity": self.seal.integrity.to_dict(),
            "provenance": self.seal.provenance.to_dict(),
            "meta": self.seal.meta.to_dict(),
        }

    def rendered(self) -> str:
        """The bundle as Markdown."""
        first, last = self.entries[0], self.entries[-1]
        return render_parts(
            self.decision,
            self.template_snapshot,
            self.router_link,
            self.seal.integrity,
            events=len(self.entries),
            first=f"seq={first.seq} {first.event_type}",
            last=f"seq={last.seq} {last.event_type}",
        )

    def _events(self) -> Iterator[tuple[Entry, dict[str, object]]]:
        # One text is read several times as fast as one for each event.
        payloads = json.loads(f"[{','.join([entry.payload for entry in self.entries])}]")
        return zip(self.entries, payloads, strict=True)


def export_decision(
    store: DecisionStore,
    decision_id: str,
    *,
    include_template_snapshot: bool = True,
    include_router_link: bool = True,
    generation: int | None = None,
) -> ExportResult:
    """The bundle of a decision, from its current generation or from a superseded one.

        >>> result = export_decision(store, executed_id)
        >>> result.success, result.digest == result.bundle.integrity.canonical_digest
        (True, True)

    Never raises: `error_code` is DECISION_NOT_FOUND, INVALID_STATE for a decision without events, or INTEGRITY_MISMATCH
    where an event was changed past the library.
    """

    def export() -> DecisionBundle:
        with store.reading() as session:
            return export_of(
                session,
                decision_id,
                include_template_snapshot=include_template_snapshot,
                include_router_link=include_router_link,
                generation=generation,
            ).to_bundle()

    bundle = fault_of(export)
    if isinstance(bundle, NexusControlError):
        return ExportResult(success=False, error_code=bundle.code, error_message=bundle.message)
    return ExportResult(success=True, bundle=bundle, digest=bundle.integrity.canonical_digest)


def export_of(
    session: ReadSession,
    decision_id: str,
    *,
    include_template_snapshot: bool = True,
    include_router_link: bool = True,
    generation: int | None = None,
) -> Export:
    """Like `export_decision`. Raises DECISION_NOT_FOUND, INVALID_STATE or INTEGRITY_MISMATCH."""
    projection = session.decision(decision_id)
    entries = unaltered_events(session, projection, generation)
    if not entries:
        raise NexusControlError(ErrorCode.INVALID_STATE, "Cannot export a decision that has no events")
    decision = _judged(session, projection, entries)
    header = header_of(decision)
    template = template_part(decision.facts) if include_template_snapshot else BundleTemplateSnapshot()
    link = link_part(decision) if include_router_link else BundleRouterLink()
    content = ContentText.of(
        decision=header, events=_texts_of(decision_id, entries), template_snapshot=template, router_link=link
    )
    seal = BundleSeal.of(prefixed(content.digest()), decision_id, session.now)
    return Export(
        decision=header,
        template_snapshot=template,
        router_link=link,
        seal=seal,
        canonical_json=content.sealed(seal),
        entries=entries,
        run=settled_run(decision),
    )


def _judged(session: ReadSession, projection: Projection, entries: Sequence[Entry]) -> Decision:
    """The decision of these events, judged at the last of them. The facts of the current generation are known, so of
    its events only the last is decoded: the parts of a bundle look at no other.
    """
    generation = entries[0].generation
    if generation == projection.generation:
        last = to_event(entries[-1])
        return Decision(projection.facts, (last,), last.instant)
    replayed = Decision.replay(projection.decision_id, list(map(to_event, entries)))
    records = session.rows.entries("import", projection.decision_id, generation)
    meant = [import_record_of(record.payload).facts_of(replayed.facts) for record in records]
    return replace(replayed, facts=meant[0]) if meant else replayed


def _texts_of(decision_id: str, entries: Sequence[Entry]) -> Iterator[str]:
    text_of = EventText(decision_id).of
    for _, _, _, seq, event_type, ts, actor_type, actor_id, payload, digest, _, _ in entries:
        yield text_of(seq, event_type, payload, ts, actor_type, actor_id, digest)
