"""The demonstration, chapter by chapter. A chapter states only what was measured while it ran."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from nexus_control import __version__
from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.cli.demo import scratch
from nexus_control.cli.demo.forgeries import forgeries
from nexus_control.cli.demo.scratch import ADAPTER_ID, CONFIG_NAME, PLAN, SHORTCUT_ID
from nexus_control.cli.screen import Cell, Grid, Mark, columns
from nexus_control.evidence.formats import keys
from nexus_control.evidence.trust import Trust
from nexus_control.evidence.verify import EvidenceReport, verify_evidence
from nexus_control.execution.config import load_adapters
from nexus_control.execution.local_router import LocalRouter
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools
from nexus_control.usecases.answers import JsonObject, SignedPackageData, StatusData
from nexus_control.usecases.arguments import ExportAuditPackageArguments, validated
from nexus_control.usecases.exporting import export_signed_package
from nexus_control.usecases.run_answers import ExecuteData
from nexus_control.values.actors import Actor
from nexus_control.values.results import ToolResult

T = TypeVar("T")

PLATFORM = Actor(type="human", id="platform-team")
AGENT, SCHEDULER = (Actor(type="system", id=name) for name in ("ops-agent", "scheduler"))
ALICE, BOB, CAROL = (Actor(type="human", id=f"{name}@example.com") for name in ("alice", "bob", "carol"))
ALICE_AGAIN = Actor(type="human", id="Alice@Example.com")
TEMPLATE = "rotate-keys"
RULES: JsonObject = {
    "min_approvals": 2,
    "approvers": [ALICE.id, BOB.id, CAROL.id],
    "allow_requester_approval": False,
    "allowed_modes": ["dry_run", "apply"],
    "require_adapter_capabilities": ["timeout"],
    "max_steps": len(PLAN),
    "overrides": "tighten_only",
}
PACKAGE, ENVELOPE = "audit-package.json", "audit-package.dsse.json"
PACKAGE_KEY, LOG_KEY = "auditor/package.pub", "auditor/log.key"
HOLDS = (
    ("L0", "its digests match its content"),
    ("L1", "it ran as it had been approved"),
    ("L2", "it is in a log whose key you know"),
    ("L3", "a key that you know signed the file"),
)


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of the demonstration. `intent` says what is tried, `found` says the result; `facts` are JSON values."""

    title: str
    intent: str
    found: str
    grids: Sequence[Grid]
    facts: Mapping[str, object]


class NotAsExpectedError(Exception):
    """Raised when a step of the demonstration does not have the expected result."""


def require(holds: bool, otherwise: str) -> None:
    """Raise NotAsExpectedError with the text `otherwise`, unless `holds` is true."""
    if not holds:
        raise NotAsExpectedError(otherwise)


def tell(folder: Path) -> Generator[Chapter]:
    """Yield each chapter after it happened in `folder`. Raises NotAsExpectedError at the first unexpected result."""
    scratch.write(folder)
    router = LocalRouter(load_adapters(folder / CONFIG_NAME), folder / "runs.db")
    with router, DecisionStore(folder / "decisions.db") as store:
        story = _Story(folder, store, router)
        yield from story.decide()
        yield from story.carry_out()
        yield from story.prove()


class _Story:
    def __init__(self, folder: Path, store: DecisionStore, router: LocalRouter) -> None:
        self._folder, self._store, self._router = folder, store, router
        self._tools = NexusControlTools(store, plan_checker=router)
        self._request_id = self._run_id = ""  # until the agent asks, and the plan is executed

    def decide(self) -> Iterator[Chapter]:
        _expected(self._tools.template_create(TEMPLATE, PLATFORM, **RULES))
        template = _expected(self._tools.template_get(TEMPLATE)).data["template"]
        rules: JsonObject = {**template}
        yield Chapter(
            "The platform team agrees on rules",
            "A template is a named policy that cannot be changed.",
            f"Template {TEMPLATE} exists, digest {template['digest'][:12]}.",
            [columns("rule|value", [(rule, _listed(rules[rule])) for rule in RULES])],
            {"template": template},
        )
        how: JsonObject = {"mode": "apply", "plan": PLAN, "template_name": TEMPLATE, "adapter_id": ADAPTER_ID}
        asked = _expected(self._tools.request("Rotate the production keys of billing", AGENT, **how)).data
        self._request_id = asked["request_id"]
        state, bound = self._state("pending_approval"), self._status()["adapter_digest"]
        require(bound == self._router.adapter_digest(ADAPTER_ID), "the request does not bind the adapter")
        yield Chapter(
            "An agent asks",
            f"It names the plan, and the adapter from {CONFIG_NAME} that may carry it out.",
            f"Request {self._request_id} is {state}. It is bound to {ADAPTER_ID} as it is declared now.",
            [columns("step|why|call", [(s["step_id"], s["intent"], _called(s["call"])) for s in PLAN])],
            {"request": asked, "adapter_id": ADAPTER_ID, "adapter_digest": bound},
        )
        yield self._refusal(
            "The agent does not wait",
            f"It executes at once, and through another adapter, {SHORTCUT_ID}.",
            "Refused, with every reason",
            ["MISSING_APPROVALS", "CAPABILITIES_MISSING", "ADAPTER_MISMATCH"],
            adapter_id=SHORTCUT_ID,
        )
        rows: list[tuple[Cell, ...]] = []
        answers: list[JsonObject] = []
        attempts = {AGENT: "NOT_ELIGIBLE", ALICE: None, ALICE_AGAIN: "ALREADY_APPROVED", BOB: None}
        for actor, code in attempts.items():
            answer, status = _expected(self._tools.approve(self._request_id, actor), code), self._status()
            count = f"{status['active_approvals']} of {status['required_approvals']}"
            said = Mark("refused", "stopped") if code else Mark("approved", "good")
            rows.append((actor.id, said, code or "", count))
            answers.append({"actor": actor.to_dict(), **answer.to_dict()})
        yield Chapter(
            "People decide",
            "Two different people must approve, and the agent is not one of them.",
            f"The request is {self._state('approved')}. A name in other capitals is still the same person.",
            [columns("who|answer|code|approvals", rows)],
            {"answers": answers},
        )

    def carry_out(self) -> Iterator[Chapter]:
        before, old = scratch.digests(self._folder), scratch.settings(self._folder)
        ran = _expected(self._execute(dry_run=True)).data
        require(scratch.digests(self._folder) == before, "the rehearsal changed a file")
        yield Chapter(
            "A rehearsal",
            "The same plan as a dry run. The approvals stay valid.",
            f"{ran['steps_executed']} steps rehearsed; all {len(before)} files of the service have the digest"
            f" that they had. The request is still {self._state('approved')}.",
            [self._outputs(ran["run_id"])],
            {"execution": ran, "files": before},
        )
        declared = self._read(CONFIG_NAME)
        self._write(CONFIG_NAME, declared.replace("timeout_seconds = 10", "timeout_seconds = 36_000"))
        with LocalRouter(load_adapters(self._folder / CONFIG_NAME)) as edited:
            yield self._refusal(
                "Somebody edits the adapter after the approvals",
                f"In {CONFIG_NAME} its time limit goes from ten seconds to ten hours.",
                "Refused: people approved the adapter as it was declared",
                ["ADAPTER_CHANGED"],
                router=edited,
            )
        self._write(CONFIG_NAME, declared)
        ran = _expected(self._execute()).data
        self._run_id = ran["run_id"]
        after, new = scratch.digests(self._folder), scratch.settings(self._folder)
        changed = tuple(name for name in new if new[name] != old.get(name))
        require(changed == scratch.KEYS, f"the settings that changed are {changed}, not {scratch.KEYS}")
        require(ran["steps_executed"] == len(PLAN), f"only {ran['steps_executed']} steps were executed")
        rows = [(name, before.get(name, "")[7:19], digest[7:19]) for name, digest in after.items()]
        yield Chapter(
            "The execution",
            "The configuration is put back. The decision is claimed, dispatched once, and its outcome recorded.",
            f"Run {ran['run_id']}: {ran['steps_executed']} steps, {self._state('completed')}. {len(changed)} keys have"
            " new values.",
            [self._outputs(ran["run_id"]), columns("file|sha256 before|after", rows)],
            {"execution": ran, "files_before": before, "files_after": after, "keys": list(changed)},
        )
        yield self._refusal("Once only", "The same call again.", "Refused", ["ALREADY_EXECUTED"])

    def prove(self) -> Iterator[Chapter]:
        data = self._export()
        report, size = self._verified(PACKAGE, self._read(ENVELOPE)), len(self._read(PACKAGE).encode())
        require(report.ok, f"the package fails {', '.join(_failed(report)) or 'to reach L3'}")
        yield Chapter(
            "The audit package",
            "One file binds what was allowed, by whom, and what ran. It proves its place in the log, and is signed.",
            f"{PACKAGE}, {size:,} bytes: {len(report.checks)} checks, none failed; level {report.level}, for an auditor"
            " who knows two public keys.",
            [columns("level|what it means", HOLDS)],
            {"digest": data["digest"], "signed_by": data["signed_by"], "verification": report.to_dict()},
        )
        rows: list[tuple[Cell, ...]] = []
        facts: list[JsonObject] = []
        for forged in forgeries(parse_json_object(self._read(PACKAGE)), self._read(ENVELOPE), CAROL.id):
            file = f"forged-{forged.name}.json"
            self._write(file, canonical_json(forged.package))
            known, alone = self._verified(file, forged.envelope), verify_evidence(self._read(file))
            require(not known.ok, f"the copy {forged.name} passes")
            found, with_keys = _failed(alone), _failed(known)
            require(
                bool(found) != forged.only_keys_catch_it, f"the copy {forged.name} fails {found} without keys"
            )
            said = Mark(", ".join(found), "good") if found else Mark("nothing", "bad")
            rows.append((forged.what, said, Mark(", ".join(with_keys), "good")))
            facts.append({"file": file, "without_keys": found, "with_keys": with_keys})
        yield Chapter(
            "Forged copies",
            "Somebody edits a copy, recomputes its digests, and even puts it into a log of their own.",
            f"All {len(facts)} are caught, two of them only by keys that you got from elsewhere: without keys a package"
            " shows that it is consistent, but not who wrote it.",
            [columns("what was forged|fails without keys|fails with your keys", rows)],
            {"forgeries": facts},
        )

    def _refusal(self, title: str, intent: str, found: str, codes: list[str], **attempt: Any) -> Chapter:
        """The chapter of an execution that is refused for these reasons, with no new event and no changed file."""
        files, events = scratch.digests(self._folder), self._status()["event_count"]
        answer = _expected(self._execute(**attempt), "POLICY_NOT_SATISFIED")
        reasons = answer.details["reasons"]
        given = [reason["code"] for reason in reasons]
        require(given == codes, f"the reasons are {given}, not {codes}")
        require(self._status()["event_count"] == events, "a refused execution left an event")
        require(scratch.digests(self._folder) == files, "a refused execution changed a file")
        rows = [(Mark(each["code"], "stopped"), each["message"]) for each in reasons]
        return Chapter(
            title,
            intent,
            f"{found}. No file has changed; still {events} events.",
            [columns("reason|what it says", rows)],
            {"refusal": answer.to_dict(), "event_count": events},
        )

    def _execute(self, **attempt: Any) -> ToolResult[ExecuteData]:
        how: JsonObject = {"adapter_id": ADAPTER_ID, "router": self._router, **attempt}
        return self._tools.execute(self._request_id, actor=SCHEDULER, **how)

    def _status(self) -> StatusData:
        return _expected(self._tools.status(self._request_id)).data

    def _state(self, needed: str) -> str:
        state = self._status()["state"]
        require(state == needed, f"the request is {state}, not {needed}")
        return state

    def _outputs(self, run_id: str) -> Grid:
        """The output of each step of the run, as the router recorded it."""
        events = self._router.export_run(run_id)["events"]
        called = [event["payload"] for event in events if event["type"] == "TOOL_CALL_SUCCEEDED"]
        return columns("step|what it put out", [(each["step_id"], _said(each["output"])) for each in called])

    def _export(self) -> SignedPackageData:
        """Write the run's record, the package, its signature, and the public keys that the auditor knows."""
        run, key = self._router.export_run(self._run_id), keys.generate()
        asked = {"decision_id": self._request_id, "embed_router_bundle": True, "router_bundle": run}
        arguments = validated(ExportAuditPackageArguments, asked | {"render": False})
        data = export_signed_package(self._store, arguments, key, producer=f"nexus-control {__version__}")
        (self._folder / PACKAGE_KEY).parent.mkdir()
        self._write("run-bundle.json", canonical_json(run))
        self._write(PACKAGE, canonical_json(data["package"]))
        self._write(ENVELOPE, data["envelope"])
        self._write(PACKAGE_KEY, key.public.to_pem())
        self._write(LOG_KEY, f"{data['package']['evidence']['log_key']}\n")
        return data

    def _verified(self, file: str, envelope: str) -> EvidenceReport:
        trust = Trust(package_keys=[self._read(PACKAGE_KEY)], log_keys=[self._read(LOG_KEY)])
        return verify_evidence(self._read(file), trust=trust, envelope=envelope, require="L3")

    def _write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text, encoding="utf-8")

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text(encoding="utf-8")


def _expected(result: ToolResult[T], code: str | None = None) -> ToolResult[T]:
    """The result of a call that had to succeed, or to be refused with `code`."""
    answer = "it was accepted" if result.success else f"it was refused: {result.error}"
    require(result.error_code == code, f"it had to be refused as {code}, but {answer}" if code else answer)
    return result


def _listed(value: object) -> str:
    return ", ".join(cast("list[str]", value)) if isinstance(value, list) else str(value)


def _called(call: JsonObject) -> str:
    return f"{call['tool']}.{call['method']} {', '.join(call['args'].values())}"


def _said(output: JsonObject) -> str:
    return (
        f"would run: {' '.join(output['would_run'])}" if "would_run" in output else output["stdout"].strip()
    )


def _failed(report: EvidenceReport) -> list[str]:
    return [check.name for check in report.checks if check.status == "fail"]
