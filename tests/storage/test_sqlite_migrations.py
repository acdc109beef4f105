"""A store that an earlier version wrote is brought up to date where it is opened, and then is as ours would be."""

import json
from pathlib import Path
from typing import Any

from nexus_control.canonical_json import canonical_json
from nexus_control.facts import FOREVER
from nexus_control.log.projection import Projection
from nexus_control.log.upkeep import find_faults
from nexus_control.storage.contract import NEVER, NO_END
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools
from nexus_control.values.instants import format_instant
from tests.storage.steps import copy_to_schema, raw
from tests.support.clock import FakeClock
from tests.support.contents import contents
from tests.support.governed import data_of
from tests.support.situations import SITUATIONS, Two

BEFORE_ENDS = 3
"""The schema whose lists knew neither when a request ends nor where an approval was given."""


def write_as_before(path: Path, decision: Projection) -> None:
    """Its row as that schema's version wrote it: every approval counts, and no request ends."""
    facts = decision.facts
    until = facts.approved_until() if facts.phase == "open" else None
    approved_until = NEVER if until is None else NO_END if until == FOREVER else format_instant(until)
    with raw(path) as connection:
        where = (decision.ordinal,)
        (text,) = connection.execute("SELECT progress FROM projections WHERE ordinal = ?", where).fetchone()
        saved = json.loads(text)
        if "listing" in saved:
            saved["listing"]["approval_ends"] = [each.expires_at for each in facts.standing_approvals()]
        connection.execute(
            "UPDATE projections SET progress = ?, approved_until = ? WHERE ordinal = ?",
            (canonical_json(saved), approved_until, decision.ordinal),
        )
        listed = (approved_until, decision.ordinal)
        connection.execute("UPDATE listing SET approved_until = ? WHERE ordinal = ?", listed)


def lists(store: DecisionStore) -> list[Any]:
    tools = NexusControlTools(store)
    states = (None, "pending_approval", "approved", "expired", "completed", "draft")
    return [data_of(tools.list_requests(state=state))["requests"] for state in states]


def test_a_store_whose_lists_counted_every_approval_counts_those_given_here_once_it_is_opened(
    tmp_path: Path,
) -> None:
    clock, new, old = FakeClock(), tmp_path / "new.db", tmp_path / "old.db"
    with DecisionStore(new, clock=clock) as store:
        two = Two(store, clock)
        built = [situation.build(two) for situation in SITUATIONS.values()]
        decisions = [store.load(request_id) for request_id in built]
        expected, shown = contents(store), lists(store)
    copy_to_schema(BEFORE_ENDS, new, old)
    for decision in decisions:
        write_as_before(old, decision)
    with DecisionStore(old, clock=clock) as migrated:
        assert contents(migrated) == expected
        assert lists(migrated) == shown
        assert find_faults(migrated) == []


def test_a_row_that_says_nothing_does_not_keep_its_store_from_being_opened(tmp_path: Path) -> None:
    clock, new, old = FakeClock(), tmp_path / "new.db", tmp_path / "old.db"
    with DecisionStore(new, clock=clock) as store:
        Two(store, clock).approved_elsewhere()
    copy_to_schema(BEFORE_ENDS, new, old)
    with raw(old) as connection:
        connection.execute("UPDATE projections SET progress = '{', policy_seq = 7")
    with DecisionStore(old, clock=clock) as migrated:
        assert [fault.code for fault in find_faults(migrated)] == ["PROJECTION_DIFFERS"]
