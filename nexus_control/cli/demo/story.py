"""What the demonstration does, a chapter at a time. Nothing here is told that was not just measured.

The chapters of deciding are here; those of the evidence are in `proof`.
"""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, cast

from nexus_control.cli.demo.chapter import Chapter, done, refused, require, short
from nexus_control.cli.demo.proof import forged_copies, package_and_verify
from nexus_control.cli.demo.scratch import ADAPTER_ID, KEYS, PLAN, SHORTCUT_ID, Scratch
from nexus_control.cli.screen import Cell, Grid, Mark, columns
from nexus_control.events import Actor
from nexus_control.execution.config import load_adapters
from nexus_control.execution.local_router import LocalRouter
from nexus_control.tool import NexusControlTools, ToolResult

TEMPLATE = "rotate-keys"
PLATFORM = Actor(type="human", id="platform-team")
AGENT = Actor(type="system", id="ops-agent")
ALICE = Actor(type="human", id="alice@example.com")
ALICE_AGAIN = Actor(type="human", id="Alice@Example.com")
BOB = Actor(type="human", id="bob@example.com")
CAROL = Actor(type="human", id="carol@example.com")
SCHEDULER = Actor(type="system", id="scheduler")


class Story:
    """One demonstration in one folder. `request_id` is there once the request is made."""

    def __init__(self, scratch: Scratch) -> None:
        self.request_id = ""
        self._scratch = scratch
        scratch.write()
        self._before = scratch.digests()
        self._router = LocalRouter(load_adapters(scratch.config), scratch.run_log)
        self._tools = NexusControlTools(db_path=scratch.database, plan_checker=self._router)

    def __enter__(self) -> "Story":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tools.store.close()
        self._router.close()

    def tell(self) -> Iterator[Chapter]:
        """The chapters, each told after it happened. Raises NotAsExpectedError."""
        yield self._agree_on_rules()
        yield self._ask()
        yield self._execute_too_early()
        yield self._approve()
        yield self._rehearse()
        yield self._meddle_with_the_adapter()
        yield self._execute()
        yield self._execute_again()
        exported, chapter = package_and_verify(self._tools, self._router, self.request_id, self._scratch)
        yield chapter
        yield forged_copies(exported, self._scratch, CAROL.id)

    def _agree_on_rules(self) -> Chapter:
        created = done(
            self._tools.template_create(
                TEMPLATE,
                PLATFORM,
                description="Replace keys of one service",
                min_approvals=2,
                approvers=[ALICE.id, BOB.id, CAROL.id],
                allow_requester_approval=False,
                allowed_modes=["dry_run", "apply"],
                require_adapter_capabilities=["timeout"],
                max_steps=len(PLAN),
                overrides="tighten_only",
            )
        )
        template = done(self._tools.template_get(TEMPLATE))["template"]
        rules = ("min_approvals", "approvers", "require_adapter_capabilities", "max_steps", "overrides")
        require(
            template["digest"] == created["digest"], "the template has another digest than when it was made"
        )
        return Chapter(
            title="The platform team agrees on rules",
            intent="A template is a named policy that cannot be changed.",
            found=f"Template {TEMPLATE} exists, digest {short(created['digest'])}.",
            grids=(columns("rule|value", [(rule, _listed(template[rule])) for rule in rules]),),
            facts={"template": template},
        )

    def _ask(self) -> Chapter:
        asked = done(
            self._tools.request(
                "Rotate the production keys of billing",
                AGENT,
                mode="apply",
                plan=PLAN,
                template_name=TEMPLATE,
                adapter_id=ADAPTER_ID,
            )
        )
        self.request_id = asked["request_id"]
        status = self._status()
        bound = status["adapter_digest"]
        require(bound == self._router.adapter_digest(ADAPTER_ID), "the request does not bind the adapter")
        require(status["state"] == "pending_approval", f"the request is {status['state']}")
        steps = [(str(step["step_id"]), str(step["intent"]), _spelled(step["call"])) for step in PLAN]
        return Chapter(
            title="An agent asks",
            intent="It names the plan, and the adapter from nexus-control.toml that may carry it out.",
            found=f"Request {self.request_id} is {status['state']}. It is bound to {ADAPTER_ID} as it is "
            f"declared now, digest {short(bound)}.",
            grids=(columns("step|why|call", steps),),
            facts={"request": asked, "adapter_id": ADAPTER_ID, "adapter_digest": bound},
        )

    def _execute_too_early(self) -> Chapter:
        events = self._status()["event_count"]
        answer = refused(self._attempt(SHORTCUT_ID), "POLICY_NOT_SATISFIED")
        codes = [reason["code"] for reason in answer.details["reasons"]]
        expected = ["MISSING_APPROVALS", "CAPABILITIES_MISSING", "ADAPTER_MISMATCH"]
        require(codes == expected, f"the reasons are {codes}, not {expected}")
        self._require_untouched(events)
        return Chapter(
            title="The agent does not wait",
            intent=f"It executes at once, and through another adapter, {SHORTCUT_ID}.",
            found=f"Refused, with every reason. Nothing was written, no file has changed: still {events} events.",
            grids=(_reasons(answer),),
            facts={"refusal": answer.to_dict(), "event_count": events},
        )

    def _approve(self) -> Chapter:
        attempts = (
            (AGENT, "NOT_ELIGIBLE"),
            (ALICE, None),
            (ALICE_AGAIN, "ALREADY_APPROVED"),
            (BOB, None),
        )
        rows: list[tuple[Cell, ...]] = []
        answers: list[dict[str, Any]] = []
        for actor, code in attempts:
            answer = self._tools.approve(self.request_id, actor)
            if code is None:
                done(answer)
            else:
                refused(answer, code)
            status = self._status()
            count = f"{status['active_approvals']} of {status['required_approvals']}"
            rows.append((actor.id, _verdict(answer, "approved"), answer.error_code or "", count))
            answers.append({"actor": actor.to_dict(), **answer.to_dict()})
        state = self._status()["state"]
        require(state == "approved", f"after two approvals the request is {state}")
        return Chapter(
            title="People decide",
            intent="Two different people must approve, and the agent is not one of them.",
            found=f"The request is {state}. One person cannot be two by writing the name in other capitals.",
            grids=(columns("who|answer|code|approvals", rows),),
            facts={"answers": answers, "state": state},
        )

    def _rehearse(self) -> Chapter:
        ran = done(self._attempt(ADAPTER_ID, dry_run=True))
        after, state = self._scratch.digests(), self._status()["state"]
        require(after == self._before, "the rehearsal changed a file")
        require(state == "approved", f"after the rehearsal the request is {state}")
        return Chapter(
            title="A rehearsal",
            intent="The same plan as a dry run. It uses no approval up.",
            found=f"{ran['steps_executed']} steps rehearsed; all {len(after)} files of the service have the digest"
            f" that they had. The request is still {state}.",
            grids=(self._steps_of(ran["run_id"]),),
            facts={"execution": ran, "files": after},
        )

    def _meddle_with_the_adapter(self) -> Chapter:
        events = self._status()["event_count"]
        self._scratch.loosen()
        with LocalRouter(load_adapters(self._scratch.config)) as meddled:
            answer = refused(self._attempt(ADAPTER_ID, router=meddled), "POLICY_NOT_SATISFIED")
        self._scratch.mend()
        codes = [reason["code"] for reason in answer.details["reasons"]]
        require(codes == ["ADAPTER_CHANGED"], f"the reasons are {codes}, not ADAPTER_CHANGED")
        self._require_untouched(events)
        return Chapter(
            title="Somebody edits the adapter after the approvals",
            intent="In nexus-control.toml its time limit goes from ten seconds to ten hours.",
            found="Refused: people approved the adapter as it was declared. The file is put back.",
            grids=(_reasons(answer),),
            facts={"refusal": answer.to_dict(), "event_count": events},
        )

    def _execute(self) -> Chapter:
        old = self._scratch.settings()
        ran = done(self._attempt(ADAPTER_ID))
        after, new = self._scratch.digests(), self._scratch.settings()
        changed = tuple(name for name in new if new[name] != old.get(name))
        require(changed == KEYS, f"the settings that changed are {changed}, not {KEYS}")
        require(ran["steps_executed"] == len(PLAN), f"only {ran['steps_executed']} steps were executed")
        state = self._status()["state"]
        require(state == "completed", f"after the execution the request is {state}")
        rows: list[tuple[Cell, ...]] = []
        for name in sorted(self._before.keys() | after.keys()):
            was, now = self._before.get(name), after.get(name)
            verdict = "same" if was == now else "new" if was is None else Mark("changed", "good")
            rows.append((name, short(was) if was else "", short(now) if now else "", verdict))
        return Chapter(
            title="The execution",
            intent="The decision is claimed, dispatched once, and its outcome recorded.",
            found=f"Run {ran['run_id']}: {ran['steps_executed']} steps, {state}. {len(changed)} keys have new"
            " values.",
            grids=(self._steps_of(ran["run_id"]), columns("file|sha256 before|after|", rows)),
            facts={
                "execution": ran,
                "files_before": self._before,
                "files_after": after,
                "keys": list(changed),
            },
        )

    def _execute_again(self) -> Chapter:
        status, files = self._status(), self._scratch.digests()
        answer = refused(self._attempt(ADAPTER_ID), "POLICY_NOT_SATISFIED")
        codes = [reason["code"] for reason in answer.details["reasons"]]
        require(codes == ["ALREADY_EXECUTED"], f"the reasons are {codes}, not ALREADY_EXECUTED")
        require(self._scratch.digests() == files, "a refused execution changed a file")
        require(self._status()["event_count"] == status["event_count"], "a refused execution left an event")
        return Chapter(
            title="Once only",
            intent="The same call again.",
            found=f"Refused. No file has changed; still {status['event_count']} events.",
            grids=(_reasons(answer),),
            facts={"refusal": answer.to_dict(), "event_count": status["event_count"]},
        )

    def _attempt(
        self, adapter_id: str, *, dry_run: bool | None = None, router: LocalRouter | None = None
    ) -> ToolResult:
        return self._tools.execute(
            self.request_id, adapter_id, SCHEDULER, router or self._router, dry_run=dry_run
        )

    def _status(self) -> dict[str, Any]:
        return done(self._tools.status(self.request_id))

    def _steps_of(self, run_id: str) -> Grid:
        """What each step of the run put out, as the router recorded it."""
        called = [
            event["payload"]
            for event in self._router.export_run(run_id)["events"]
            if event["type"] in ("TOOL_CALL_SUCCEEDED", "TOOL_CALL_FAILED")
        ]
        return columns("step|what it put out", [(each["step_id"], _said(each["output"])) for each in called])

    def _require_untouched(self, events: int) -> None:
        require(self._status()["event_count"] == events, "a refused execution left an event")
        require(self._scratch.digests() == self._before, "a refused execution changed a file")


def _verdict(answer: ToolResult, word: str) -> Mark:
    return Mark(word, "good") if answer.success else Mark("refused", "stopped")


def _reasons(answer: ToolResult) -> Grid:
    rows = [(Mark(each["code"], "stopped"), each["message"]) for each in answer.details["reasons"]]
    return columns("reason|what it says", rows)


def _listed(value: Any) -> str:
    return ", ".join(cast("list[str]", value)) if isinstance(value, list) else str(value)


def _spelled(call: Any) -> str:
    return f"{call['tool']}.{call['method']} {', '.join(map(str, call['args'].values()))}"


def _said(output: dict[str, Any]) -> str:
    if "would_run" in output:
        return f"would run: {' '.join(output['would_run'])}"
    return str(output.get("stdout", "")).strip()
