"""From a checked foreign history to the entries of a decision's next generation, and the record of how it came here."""

from collections.abc import Sequence
from dataclasses import dataclass

from nexus_control.bundle import BundleEvent
from nexus_control.evidence.chain import GENESIS
from nexus_control.facts import Facts
from nexus_control.integrity import sha256_hex
from nexus_control.log.entries import imported_entries, last_import, record_entry
from nexus_control.log.projection import Brought, ImportRecord, Projection, approval_rows, to_row
from nexus_control.log.session import WriteSession
from nexus_control.values.records import encode


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignHistory:
    """The events of a bundle, and the facts that they add up to. Of each event `payloads` has the canonical text of its
    payload, and `digests` the digest of its content, whatever digest it came with.
    """

    facts: Facts
    events: Sequence[BundleEvent]
    payloads: Sequence[str]
    digests: Sequence[str]


def import_history(
    session: WriteSession, decision_id: str, history: ForeignHistory, provenance: ImportRecord
) -> Projection:
    """Store the history as the next generation of this decision, and how it came here."""
    base = session.find_decision(decision_id) or session.new(decision_id)
    taken = session.rows.generations("decision", decision_id)
    generation = taken[-1] + 1 if taken else 0
    entries = list(imported_entries(decision_id, generation, history.events, history.payloads))
    head = entries[-1].leaf if entries else GENESIS
    facts = provenance.facts_of(history.facts._replace(decision_id=decision_id)).after_import()
    stored = Projection(
        facts=facts,
        ordinal=base.ordinal,
        generation=generation,
        head=head,
        policy_leaf=entries[facts.policy_seq].leaf if facts.policy_seq >= 0 else "",
        imported_count=len(entries),
        provenance=provenance,
        reserved_at=base.reserved_at,
    )
    brought = Brought(events=len(entries), head=head, contents=sha256_hex("".join(history.digests)))
    details = encode(provenance) | encode(brought)
    prev, at = last_import(session.rows, decision_id), provenance.imported_at
    record = record_entry("import", decision_id, at, details, prev, generation=generation)
    session.rows.append([*entries, record])
    row = to_row(stored)
    session.rows.save(row)
    session.rows.replace_approvals(stored.ordinal, approval_rows(facts.progress.approvals))
    return session.recent.keep(row, stored, adds_up=True)
