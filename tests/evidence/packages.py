"""Honest packages of every kind, made by the real library; and how a forger seals a changed one again."""

import copy
import hashlib
import json
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

from nexus_control import LocalRouter, NexusControlTools
from nexus_control.execution.adapter import Adapters
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.execution.router import RouterOutcomeUnknown
from nexus_control.values.actors import Actor
from tests.artifacts.samples import independent_digest
from tests.support.clock import FakeClock
from tests.support.governed import ALICE, BOB, SCHEDULER, data_of
from tests.support.routers import ScriptedRouter

Package: TypeAlias = dict[str, Any]
CAROL = Actor(type="human", id="carol")
ADAPTER = "python:keys"
PLAN = [
    {
        "step_id": f"s{number}",
        "intent": "rotate",
        "call": {"tool": "keys", "method": "rotate", "args": {"n": number}},
    }
    for number in (1, 2)
]


GROUPS = {"security": ["bob", "erin"], "platform": ["Bob", "carol"]}


class Scene:
    """A store, a router that really runs, and a clock that a test moves."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.tools = NexusControlTools(db_path=":memory:", clock=self.clock, groups=GROUPS)
        self.fails = False
        self.router = LocalRouter(
            Adapters([PythonAdapter("keys", {"rotate": self.rotate})]), clock=self.clock
        )

    def rotate(self, n: int) -> dict[str, object]:
        if self.fails:
            raise RuntimeError("the vault is sealed")
        return {"rotated": n}

    def approved(self, **request: Any) -> str:
        asked: dict[str, Any] = {
            "goal": "Rotate the keys",
            "actor": ALICE,
            "mode": "apply",
            "plan": PLAN,
            "min_approvals": 2,
            **request,
        }
        request_id: str = data_of(self.tools.request(**asked))["request_id"]
        for approver in (BOB, CAROL):
            self.clock.advance(seconds=1)
            data_of(self.tools.approve(request_id, approver))
        self.clock.advance(seconds=1)
        return request_id

    def execute(self, request_id: str, **options: Any) -> None:
        data_of(self.tools.execute(request_id, ADAPTER, SCHEDULER, self.router, **options))

    def package(self, request_id: str, *, embed: bool = True) -> Package:
        run: dict[str, Any] | None = None
        if embed:
            linked = self.tools.status(request_id).data["run"]
            assert linked is not None
            assert linked["run_id"] is not None
            run = self.router.export_run(linked["run_id"])
        exported = self.tools.export_audit_package(request_id, embed_router_bundle=embed, router_bundle=run)
        return data_of(exported)["package"]


def applied(**request: Any) -> Package:
    scene = Scene()
    request_id = scene.approved(**request)
    scene.execute(request_id)
    return scene.package(request_id)


def by_reference() -> Package:
    scene = Scene()
    request_id = scene.approved()
    scene.execute(request_id)
    return scene.package(request_id, embed=False)


def dry() -> Package:
    return applied(mode="dry_run")


def rehearsed() -> Package:
    scene = Scene()
    request_id = scene.approved()
    scene.execute(request_id, dry_run=True)
    scene.fails = True
    broken = scene.tools.execute(request_id, ADAPTER, SCHEDULER, scene.router, dry_run=True)
    assert broken.error_code in (None, "ROUTER_ERROR")
    scene.fails = False
    scene.execute(request_id)
    return scene.package(request_id)


def failed() -> Package:
    scene = Scene()
    request_id = scene.approved()
    scene.fails = True
    assert scene.tools.execute(request_id, ADAPTER, SCHEDULER, scene.router).error_code == "ROUTER_ERROR"
    return scene.package(request_id)


def reconciled() -> Package:
    scene = Scene()
    request_id = scene.approved()

    def unclear() -> object:
        raise RouterOutcomeUnknown("the connection broke", run_id="run-7")

    scene.tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(unclear))
    settled = scene.tools.reconcile(
        request_id, CAROL, "completed", "looked at the vault", run_id="run-7", response_digest="ab" * 32
    )
    data_of(settled)
    return scene.package(request_id, embed=False)


def revoked_and_given_again() -> Package:
    scene = Scene()
    request_id = scene.approved()
    data_of(scene.tools.revoke_approval(request_id, BOB, "wait"))
    scene.clock.advance(seconds=1)
    data_of(scene.tools.approve(request_id, BOB, comment="now"))
    scene.clock.advance(seconds=1)
    scene.execute(request_id)
    return scene.package(request_id)


def expired_after_the_run() -> Package:
    scene = Scene()
    end = scene.clock.now().replace(year=scene.clock.now().year + 1)
    request_id = data_of(scene.tools.request("g", ALICE, mode="apply", plan=PLAN, expires_at=end))[
        "request_id"
    ]
    data_of(scene.tools.approve(request_id, BOB, expires_at=end))
    scene.execute(request_id)
    scene.clock.advance(days=1100)
    return scene.package(request_id)


def from_template(**overrides: Any) -> Package:
    scene = Scene()
    rules: dict[str, Any] = {
        "min_approvals": 2,
        "allowed_modes": ["dry_run", "apply"],
        "overrides": "tighten_only",
    }
    data_of(scene.tools.template_create("strict", ALICE, **rules))
    request_id = scene.approved(template_name="strict", min_approvals=None, **overrides)
    scene.execute(request_id)
    return scene.package(request_id)


def guarded() -> Package:
    return applied(approvers=["bob", "carol", "dana"], allow_requester_approval=False, max_steps=2)


def of_groups() -> Package:
    return applied(required_from={"security": 1, "platform": 1})


def of_a_template_with_groups() -> Package:
    scene = Scene()
    slots = {"security": 1, "platform": 1}
    policy: dict[str, Any] = {
        "allowed_modes": ["dry_run", "apply"],
        "min_approvals": 2,
        "required_from": slots,
    }
    data_of(scene.tools.template_create("prod", ALICE, overrides="tighten_only", **policy))
    request_id = scene.approved(template_name="prod", min_approvals=None)
    scene.execute(request_id)
    return scene.package(request_id)


def by_the_requester() -> Package:
    scene = Scene()
    request_id = data_of(scene.tools.request("g", ALICE, mode="apply", plan=PLAN))["request_id"]
    data_of(scene.tools.approve(request_id, ALICE))
    scene.execute(request_id)
    return scene.package(request_id)


def imported_and_approved_here() -> Package:
    there, here = Scene(), Scene()
    asked = there.tools.request("Rotate", ALICE, mode="apply", plan=PLAN)
    bundle = data_of(there.tools.export_bundle(data_of(asked)["request_id"]))["canonical_json"]
    request_id = data_of(here.tools.import_bundle(bundle))["imported"]["decision_id"]
    here.clock.advance(seconds=100)
    data_of(here.tools.approve(request_id, BOB))
    here.execute(request_id)
    return here.package(request_id)


def of_text() -> Package:
    scene = Scene()
    request_id = scene.approved(plan="1. stop\n2. rotate \u202e")
    router = ScriptedRouter(lambda: {"run_id": "run-1", "steps_executed": 2})
    data_of(scene.tools.execute(request_id, "any:thing", SCHEDULER, router))
    return scene.package(request_id, embed=False)


HONEST: dict[str, Callable[[], Package]] = {
    each.__name__: each
    for each in (
        applied,
        by_reference,
        dry,
        rehearsed,
        failed,
        reconciled,
        revoked_and_given_again,
        expired_after_the_run,
        from_template,
        guarded,
        by_the_requester,
        of_groups,
        of_a_template_with_groups,
        imported_and_approved_here,
        of_text,
    )
} | {"a stricter use of a template": lambda: from_template(override_max_steps=2)}


@cache
def _made(name: str) -> str:
    return json.dumps(HONEST[name]())


def honest(name: str = "applied") -> Package:
    """A copy of an honest package."""
    return json.loads(_made(name))


def resealed(package: Package) -> Package:
    """Every digest computed again, from the events up: what a forger without a key can do."""
    forged = copy.deepcopy(package)
    bundle = forged["control_bundle"]
    for event in bundle["events"]:
        body = {"event_type": event["type"], "payload": event["payload"]}
        event["digest"] = independent_digest(body).removeprefix("sha256:")
    link = bundle["router_link"]
    names = ("router_request_digest", "router_result_digest")
    sealed = {name: link[name].removeprefix("sha256:") for name in names}
    body = {"decision_id": bundle["decision"]["decision_id"], "run_id": link["run_id"], **sealed}
    link["control_router_link_digest"] = independent_digest(body)
    return rebound(forged)


def rebound(package: Package) -> Package:
    """The bundle's digest and the binding computed again, over events and link as they stand.

    What a forger cannot make again, the proof of the log, is left out.
    """
    forged = copy.deepcopy(package)
    forged.pop("evidence", None)
    bundle, binding = forged["control_bundle"], forged["binding"]
    binding["control_digest"] = seal_bundle(bundle)
    binding["control_router_link_digest"] = bundle["router_link"]["control_router_link_digest"]
    sealed = independent_digest({"package_version": forged["package_version"], **binding})
    forged["integrity"]["binding_digest"] = sealed
    _record_export(forged, "audit_package", bundle["decision"]["decision_id"], sealed)
    return forged


def seal_bundle(bundle: dict[str, Any]) -> str:
    """Make the digest and the provenance of this bundle again, in place. Answers the digest."""
    content = ("bundle_version", "decision", "events", "template_snapshot", "router_link")
    digest = independent_digest({name: bundle[name] for name in content if name in bundle})
    bundle["integrity"]["canonical_digest"] = digest
    _record_export(bundle, "bundle", bundle["decision"]["decision_id"], digest)
    return digest


def _record_export(whole: dict[str, Any], kind: str, decision_id: str, digest: str) -> None:
    name = independent_digest_of_text(f"{decision_id}:{digest.removeprefix('sha256:')}")[:12]
    whole["provenance"]["records"][0] |= {
        "prov_id": f"prov_{name}",
        "inputs": [f"decision:{decision_id}"],
        "outputs": [f"{kind}:{digest}"],
    }


def independent_digest_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
