"""An agent with nothing but the 11 tools, in the server's default mode, tries to write history in another's name.

Each attempt is refused with a code, and the whole store - log, projections, claims - is what it was before.
"""

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from mcp import Client

from nexus_control import DecisionStore, NexusControlTools, Trust, verify_evidence
from nexus_control.bundle import DecisionBundle
from nexus_control.canonical_json import canonical_json
from nexus_control.events import compute_event_digest
from nexus_control.log.log_keys import keys_of
from nexus_control.log.proving import prove
from nexus_control.values.actors import Actor
from tests.facade.routers import FakeRouter
from tests.mcp.serving import client, data, refusal
from tests.support.contents import Contents, contents
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, data_of

Document: TypeAlias = dict[str, Any]
CAROL = Actor(type="human", id="carol")


@dataclass
class Office:
    """A store, and what an agent can know of its decisions: their bundles."""

    folder: Path
    open: Document
    approved: Document
    denied: Document
    before_denial: Document
    executed: Document
    outcome_unknown: Document


def requested(tools: NexusControlTools) -> str:
    return data_of(tools.request("Rotate the keys", ALICE, mode="apply", min_approvals=2))["request_id"]


def bundle_of(tools: NexusControlTools, decision_id: str) -> Document:
    return data_of(tools.export_bundle(decision_id))["bundle"]


def new_office(folder: Path) -> Office:
    with NexusControlTools(db_path=folder / "store.db").store as store:
        tools = NexusControlTools(store)
        pending, approved, denied, executed, unknown = (requested(tools) for _ in range(5))
        for decision_id in (approved, executed, unknown):
            for person in (BOB, CAROL):
                data_of(tools.approve(decision_id, person))
        before_denial = bundle_of(tools, denied)
        data_of(tools.deny(denied, BOB, "not now"))
        data_of(tools.execute(executed, ADAPTER, SCHEDULER, FakeRouter()))
        tools.execute(unknown, ADAPTER, SCHEDULER, FakeRouter({"status": "running", "run_id": "r"}))
        return Office(
            folder,
            open=bundle_of(tools, pending),
            approved=bundle_of(tools, approved),
            denied=bundle_of(tools, denied),
            before_denial=before_denial,
            executed=bundle_of(tools, executed),
            outcome_unknown=bundle_of(tools, unknown),
        )


def stored(folder: Path) -> Contents:
    with DecisionStore(folder / "store.db") as store:
        return contents(store)


def resealed(bundle: Document) -> Document:
    for seq, event in enumerate(bundle["events"]):
        decision_id = event["decision_id"] = bundle["decision"]["decision_id"]
        event |= {"seq": seq, "event_id": f"evt_{decision_id}_{seq}"}
        event["digest"] = compute_event_digest(event["type"], event["payload"])
    bundle["integrity"]["canonical_digest"] = DecisionBundle.from_dict(bundle).content_digest()
    return bundle


def extended(bundle: Document, status: str, kind: str, who: Actor, payload: Document) -> Document:
    """The history with one more event, sealed as a forger would."""
    forged = copy.deepcopy(bundle)
    last = forged["events"][-1]
    forged["events"].append(last | {"type": kind, "payload": payload, "actor": who.to_dict()})
    forged["decision"]["status"] = status
    return resealed(forged)


def shortened(bundle: Document, events: int, status: str) -> Document:
    cut = copy.deepcopy(bundle)
    cut["events"], cut["decision"]["status"], cut["router_link"] = cut["events"][:events], status, {}
    return resealed(cut)


def renamed(bundle: Document, decision_id: str) -> Document:
    other = copy.deepcopy(bundle)
    other["decision"]["decision_id"] = decision_id
    other["router_link"] = {}
    return resealed(other)


def importing(bundle: Callable[[Office], Document], **options: object) -> "Attempt":
    async def attempt(agent: Client, office: Office) -> Document:
        return await refusal(agent, "import_bundle", bundle=bundle(office), **options)

    return attempt


def from_a_file(bundle: Callable[[Office], Document], **options: object) -> "Attempt":
    async def attempt(agent: Client, office: Office) -> Document:
        folder = office.folder / "store.db.artifacts"
        folder.mkdir(exist_ok=True)
        folder.joinpath("bundle.json").write_text(canonical_json(bundle(office)))
        return await refusal(agent, "import_bundle", path="bundle.json", **options)

    return attempt


def calling(tool: str, decision: Callable[[Office], Document], **arguments: object) -> "Attempt":
    async def attempt(agent: Client, office: Office) -> Document:
        request_id = decision(office)["decision"]["decision_id"]
        return await refusal(agent, tool, request_id=request_id, **arguments)

    return attempt


def a_denial_by_bob(office: Office) -> Document:
    payload = {"reason": "no", "assurance": "local"}
    return extended(office.open, "DENIED", "APPROVAL_DENIED", BOB, payload)


def a_reconciliation_by_alice(office: Office) -> Document:
    payload = {"outcome": "completed", "evidence": "I looked", "run_id": "r"}
    return extended(office.outcome_unknown, "COMPLETED", "EXECUTION_RECONCILED", ALICE, payload)


def an_execution_under_way(office: Office) -> Document:
    payload = {"adapter_id": ADAPTER, "dry_run": False}
    return extended(office.approved, "EXECUTING", "EXECUTION_REQUESTED", SCHEDULER, payload)


def a_withdrawal(office: Office) -> Document:
    return extended(office.approved, "WITHDRAWN", "DECISION_WITHDRAWN", ALICE, {"reason": "no need"})


def another_requester(office: Office) -> Document:
    forged = copy.deepcopy(office.open)
    forged["events"][0]["actor"] = CAROL.to_dict()
    return resealed(forged)


def in_upper_case(office: Office) -> Document:
    decision_id = office.approved["decision"]["decision_id"]
    return renamed(office.denied, decision_id.upper())


def in_cyrillic(office: Office) -> Document:
    decision_id = office.approved["decision"]["decision_id"]
    drawn_alike = str.maketrans("abce", "\u0430\u044c\u0441\u0435")
    return renamed(office.denied, decision_id.translate(drawn_alike))


OVER, COPY = {"conflict_mode": "overwrite"}, {"conflict_mode": "new_decision_id"}
ROLLBACK = {**OVER, "allow_rollback": True}

Attempt: TypeAlias = Callable[[Client, Office], Awaitable[Document]]
ATTEMPTS: dict[str, tuple[Attempt, str]] = {
    "a denial by bob": (importing(a_denial_by_bob, **OVER), "IMPORT_NEEDS_OWNER"),
    "a denial by bob, as what is new": (importing(a_denial_by_bob), "DECISION_EXISTS"),
    "a denial by bob, from a file": (from_a_file(a_denial_by_bob, **OVER), "IMPORT_NEEDS_OWNER"),
    "a denial by bob, unchecked": (importing(a_denial_by_bob, verify_digest=False), "IMPORT_NEEDS_OWNER"),
    "a reconciliation by alice": (importing(a_reconciliation_by_alice, **OVER), "IMPORT_NEEDS_OWNER"),
    "an execution that nobody can end": (importing(an_execution_under_way, **OVER), "IMPORT_NEEDS_OWNER"),
    "a withdrawal by the requester": (importing(a_withdrawal, **OVER), "IMPORT_NEEDS_OWNER"),
    "a denial undone": (importing(lambda o: o.before_denial, **ROLLBACK), "IMPORT_NEEDS_OWNER"),
    "a denial undone, from a file": (
        from_a_file(lambda o: o.before_denial, **ROLLBACK),
        "IMPORT_NEEDS_OWNER",
    ),
    "a rollback alone": (importing(lambda o: o.before_denial, allow_rollback=True), "IMPORT_NEEDS_OWNER"),
    "a run undone": (
        importing(lambda o: shortened(o.executed, 4, "APPROVED"), **ROLLBACK),
        "IMPORT_NEEDS_OWNER",
    ),
    "everybody's authority lost": (importing(lambda o: o.approved, **OVER), "IMPORT_NEEDS_OWNER"),
    "the same export as what is new": (importing(lambda o: o.approved), "DECISION_EXISTS"),
    "a copy of what is stored": (importing(lambda o: o.approved, **COPY), "IMPORT_NEEDS_OWNER"),
    "another requester": (importing(another_requester, **OVER), "IMPORT_NEEDS_OWNER"),
    "an id in upper case": (importing(in_upper_case), "DECISION_EXISTS"),
    "an id in Cyrillic letters": (importing(in_cyrillic), "DECISION_EXISTS"),
    "an id that another one begins": (
        importing(lambda o: renamed(o.denied, f"{o.open['decision']['decision_id']}0")),
        "DECISION_EXISTS",
    ),
    "an id that begins another one": (
        importing(lambda o: renamed(o.denied, o.open["decision"]["decision_id"][:8])),
        "DECISION_EXISTS",
    ),
    "events of the future": (
        importing(lambda o: renamed(_at(o.open, "2099-01-01T00:00:00+00:00"), "new-1")),
        "REPLAY_INVALID",
    ),
    "a history unchecked": (
        importing(lambda o: renamed(o.denied, "new-2"), replay_after_import=False),
        "IMPORT_NEEDS_OWNER",
    ),
    "an approval by name": (
        calling("approve", lambda o: o.open, actor=BOB.to_dict()),
        "ACTOR_MISMATCH",
    ),
    "an approval by nobody": (calling("approve", lambda o: o.open), "APPROVAL_NEEDS_A_PERSON"),
    "a denied one executed": (
        calling("execute", lambda o: o.denied, adapter_id="subprocess:files"),
        "POLICY_NOT_SATISFIED",
    ),
    "an executed one executed": (
        calling("execute", lambda o: o.executed, adapter_id="subprocess:files"),
        "POLICY_NOT_SATISFIED",
    ),
    "an unknown outcome executed": (
        calling("execute", lambda o: o.outcome_unknown, adapter_id="subprocess:files"),
        "POLICY_NOT_SATISFIED",
    ),
    "executed in another's name": (
        calling("execute", lambda o: o.approved, adapter_id="subprocess:files", actor=ALICE.to_dict()),
        "ACTOR_MISMATCH",
    ),
}


def _at(bundle: Document, ts: str) -> Document:
    moved = copy.deepcopy(bundle)
    for event in moved["events"]:
        event["ts"] = ts
    moved["decision"]["created_at"] = ts
    return moved


CONFIG = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.files.tools.write]
argv = ["true"]
"""


def test_an_agent_cannot_change_end_revive_or_reattribute_a_decision_of_this_store(tmp_path: Path) -> None:
    office = new_office(tmp_path)
    config = tmp_path / "nexus-control.toml"
    config.write_text(CONFIG)
    assert len(ATTEMPTS) >= 12

    async def try_each() -> None:
        async with client("--config", str(config), folder=tmp_path) as agent:
            before = stored(tmp_path)
            for name, (attempt, code) in ATTEMPTS.items():
                refused = await attempt(agent, office)
                assert (name, refused["code"]) == (name, code)
                assert refused["next"]
                assert stored(tmp_path) == before, name

    asyncio.run(try_each())


def test_who_can_do_it_is_said(tmp_path: Path) -> None:
    office = new_office(tmp_path)

    async def try_it() -> Document:
        async with client("--approvals", "declared", folder=tmp_path) as agent:
            return await refusal(agent, "import_bundle", bundle=office.approved, **OVER)

    refused = asyncio.run(try_it())
    assert refused["code"] == "IMPORT_NEEDS_OWNER"  # whatever the server trusts the model with
    assert refused["details"]["fields"][0]["field"] == "conflict_mode"
    assert "owner" in refused["message"]
    assert "owner" in refused["next"]


def fabricated() -> Document:
    """The history of a decision that never was, made with the library in a store of the forger's own."""
    with DecisionStore(":memory:") as store:
        tools = NexusControlTools(store)
        decision_id = requested(tools)
        for person in (BOB, CAROL):
            data_of(tools.approve(decision_id, person))
        data_of(tools.execute(decision_id, ADAPTER, SCHEDULER, FakeRouter()))
        return bundle_of(tools, decision_id)


def test_a_fabricated_history_that_an_agent_imported_gets_at_most_l1_whatever_keys_are_trusted(
    tmp_path: Path,
) -> None:
    new_office(tmp_path)
    bundle = fabricated()
    decision_id = bundle["decision"]["decision_id"]

    async def bring_in_and_export() -> Document:
        async with client(folder=tmp_path) as agent:
            imported = await data(agent, "import_bundle", bundle=bundle)
            assert imported["imported"]["imported_by"]["type"] == "system"
            status = await data(agent, "status", request_id=decision_id)
            assert status["imported"]["by"] == imported["imported"]["imported_by"]
            assert status["imported"]["bundle_digest"] == bundle["integrity"]["canonical_digest"]
            package = await data(agent, "export_audit_package", decision_id=decision_id)
            return package.get("package") or json.loads(Path(package["path"]).read_text())

    package = asyncio.run(bring_in_and_export())
    assert package["evidence"].keys() == {"imported"}
    with DecisionStore(tmp_path / "store.db") as store:
        decision = store.load(decision_id)
        proof = prove(store, decision_id, 0, decision.facts.event_count - 1).to_text()
        key = str(keys_of(store)[-1].verifier)
    trust = Trust(log_keys=(key,))
    said = verify_evidence(package, trust=trust)
    assert (said.ok, said.level) == (True, "L1")
    origin = next(check for check in said.checks if check.name == "origin")
    assert origin.status == "skipped"
    assert "system:agent@" in origin.detail
    # Not even with the best proof that the log can give, and whatever is left out of the package or put into it.
    bare = {key: value for key, value in package.items() if key != "evidence"}
    lying = {"chain_head": f"sha256:{decision.head}", "log_key": key, "log_proof": proof}
    for forged in (package, bare, bare | {"evidence": lying}):
        report = verify_evidence(forged, trust=trust, log_proof=proof)
        assert report.level in ("L0", "L1", None)
        assert "L2" not in report.reached
