import shlex
from pathlib import Path

import pytest

from nexus_control.canonical_json import canonical_json
from nexus_control.values.actors import Actor
from tests.cli.running import LAUNCHER
from tests.toolset.bench import ADAPTER, AGENT, PLAN, Bench, Waits, foreign_bundle

BOB = {"type": "human", "id": "bob"}


def last_actor(bench: Bench, request_id: str) -> Actor:
    return bench.context.store.get_events(request_id)[-1].actor


def test_an_actor_that_is_left_out_or_null_is_the_servers_own(bench: Bench) -> None:
    assert last_actor(bench, bench.request()) == AGENT
    assert last_actor(bench, bench.request(actor=None)) == AGENT


def test_declared_actors_are_trusted_when_the_server_says_so(bench: Bench) -> None:
    assert last_actor(bench, bench.request(actor=BOB)) == Actor(type="human", id="bob")


@pytest.mark.parametrize("approvals", ["human", "off"])
@pytest.mark.parametrize("name", ["request", "approve", "execute", "template.create"])
def test_another_actor_than_the_servers_own_is_refused(bench: Bench, name: str, approvals: str) -> None:
    request_id = bench.approved()
    bench.change(approvals=approvals)
    arguments: dict[str, dict[str, object]] = {
        "request": {"goal": "Rotate"},
        "approve": {"request_id": request_id},
        "execute": {"request_id": request_id, "adapter_id": ADAPTER},
        "template.create": {"name": "prod"},
    }
    assert bench.error(name, **arguments[name], actor=BOB)["code"] == "ACTOR_MISMATCH"
    assert bench.context.store.load(request_id).facts.event_count == 3
    assert bench.runs == []


def test_a_refusal_that_names_fields_of_a_policy_or_request_is_answered_whole(bench: Bench) -> None:
    bench.data("template.create", name="two", min_approvals=2, overrides="tighten_only")
    weakened = bench.error("request", goal="Rotate", template_name="two", min_approvals=1)
    assert (weakened["code"], weakened["details"]["fields"]) == ("TEMPLATE_WEAKENED", ["min_approvals"])
    bench.request(idempotency_key="k")
    other = bench.error("request", goal="Other", idempotency_key="k")
    assert (other["code"], other["details"]["fields"][0]) == ("IDEMPOTENCY_CONFLICT", "adapter_id")


@pytest.mark.parametrize("approvals", ["human", "off"])
def test_nobody_approves_on_a_models_word(bench: Bench, approvals: str) -> None:
    request_id = bench.request()
    bench.change(approvals=approvals, database="/data/my decisions.db")
    content = bench.error("approve", request_id=request_id)
    assert content["code"] == "APPROVAL_NEEDS_A_PERSON"
    command = [*LAUNCHER, "approve", request_id, "--db", "/data/my decisions.db"]
    assert shlex.split(content["details"]["command"]) == command
    assert content["next"].startswith("Show details.command to a person; do not run it yourself.")
    assert bench.data("status", request_id=request_id)["active_approvals"] == 0


def test_a_person_is_told_to_sign_where_the_policy_demands_it(bench: Bench) -> None:
    request_id = bench.request(min_assurance="signed")
    bench.change(approvals="human", database="decisions.db")
    expected = f"approve {request_id} --db {Path('decisions.db').absolute()} --sign ~/.ssh/id_ed25519"
    for answer in (
        bench.error("approve", request_id=request_id),
        bench.data("status", request_id=request_id),
    ):
        assert answer["details"]["command"].endswith(f" -m nexus_control {expected}")


def test_a_person_is_not_sent_for_a_decision_that_does_not_exist(bench: Bench) -> None:
    bench.change(approvals="human")
    assert bench.error("approve", request_id="nowhere")["code"] == "DECISION_NOT_FOUND"


def test_a_declared_approval_is_recorded_as_declared(bench: Bench) -> None:
    event = bench.context.store.get_events(bench.approved())[-1]
    assert event.payload["assurance"] == "declared"


def test_without_a_router_nothing_is_executed(bench: Bench) -> None:
    request_id = bench.approved()
    bench.change(router=None)
    assert (
        bench.error("execute", request_id=request_id, adapter_id=ADAPTER)["code"] == "ROUTER_NOT_CONFIGURED"
    )


def test_a_decision_is_executed_by_the_router_once(bench: Bench) -> None:
    request_id = bench.executed()
    again = bench.error("execute", request_id=request_id, adapter_id=ADAPTER)
    assert [reason["code"] for reason in again["details"]["reasons"]] == ["ALREADY_EXECUTED"]
    assert bench.runs == ["rotate"]


def test_a_plan_that_the_router_could_not_run_is_refused_before_anybody_approves(bench: Bench) -> None:
    refused = bench.error("request", goal="Rotate", plan=PLAN * 2, adapter_id=ADAPTER, max_steps=1)
    assert refused["code"] == "PLAN_INVALID"


def test_messages_name_tools_in_the_style_that_is_advertised(bench: Bench) -> None:
    request_id = bench.approved()
    assert "nexus-control.execute" in bench.data("status", request_id=request_id)["next"]
    bench.change(name_style="underscore")
    assert "nexus_control_execute" in bench.data("status", request_id=request_id)["next"]


def test_a_request_says_how_a_person_approves_it(bench: Bench) -> None:
    bench.change(approvals="human")
    answer = bench.data("request", goal="Rotate")
    assert (
        f"approve {answer['request_id']} --db {Path('decisions.db').absolute()}"
        in answer["details"]["command"]
    )


@pytest.mark.parametrize("approvals", ["human", "off"])
def test_no_advice_to_a_model_holds_a_command_that_a_person_must_run(bench: Bench, approvals: str) -> None:
    bench.change(approvals=approvals, config=Path("adapters.toml"))
    answers = [bench.data("request", goal="Rotate", min_approvals=2)]
    request_id = answers[0]["request_id"]
    answers += [bench.data("status", request_id=request_id), bench.data("inspect", decision_id=request_id)]
    for answer in answers:
        advice, command = answer["next"], shlex.split(answer["details"]["command"])
        assert "do not run it yourself" in advice
        assert "nexus_control" not in advice
        assert not {"--db", "--sign"} & set(advice.split())
        assert command[command.index("--adapters-from") + 1] == str(Path("adapters.toml").absolute())
    bench.change(approvals="declared")
    for name in ("bob", "carol"):
        bench.data("approve", request_id=request_id, actor={"type": "human", "id": name})
    bench.change(approvals=approvals)
    assert "command" not in bench.data("status", request_id=request_id)["details"]


def test_only_where_a_declared_actor_is_trusted_is_a_model_told_to_approve(bench: Bench) -> None:
    answer = bench.data("request", goal="Rotate")
    assert "Let each approver approve" in answer["next"]
    assert "command" not in answer["details"]


def test_a_declared_approval_of_what_was_not_shown_is_refused(bench: Bench) -> None:
    request_id = bench.request()
    shown = bench.data("inspect", decision_id=request_id)["basis"]
    refused = bench.error("approve", request_id=request_id, actor=BOB, basis=f"sha256:{'0' * 64}")
    assert (refused["code"], refused["details"]["now"]) == ("BASIS_CHANGED", shown)
    assert bench.data("approve", request_id=request_id, actor=BOB, basis=shown)["is_approved"] is True


def test_the_inspection_begins_with_the_verdict(bench: Bench) -> None:
    inspected = bench.data("inspect", decision_id=bench.request(min_approvals=2), render=True)
    assert inspected["rendered"].startswith("✗ Decision not executable (missing 2 approvals)\n")
    assert inspected["summary"].startswith("✗ Decision not executable (missing 2 approvals)")


def test_status_does_not_wait_unless_asked(bench: Bench) -> None:
    waits = Waits()
    bench.change(wait=waits)
    bench.data("status", request_id=bench.request())
    assert waits.seconds == []


@pytest.mark.parametrize("seconds", [1, 50])
def test_status_waits_as_long_as_asked_when_nothing_changes(bench: Bench, seconds: int) -> None:
    waits = Waits()
    bench.change(wait=waits)
    assert (
        bench.data("status", request_id=bench.request(), wait_seconds=seconds)["state"] == "pending_approval"
    )
    assert sum(waits.seconds) == seconds


def test_status_answers_as_soon_as_the_decision_is_approved(bench: Bench) -> None:
    request_id = bench.request()
    waits = Waits(lambda: bench.data("approve", request_id=request_id, actor=BOB))
    bench.change(wait=waits)
    assert bench.data("status", request_id=request_id, wait_seconds=50)["state"] == "approved"
    assert len(waits.seconds) == 1


def test_status_answers_at_once_when_nothing_is_under_way(bench: Bench) -> None:
    waits = Waits()
    expired = bench.request(expires_at=bench.clock.instant.replace(year=2027).isoformat())
    bench.clock.advance(days=400)
    bench.change(wait=waits)
    for request_id in (bench.executed(), bench.approved(), expired):
        bench.data("status", request_id=request_id, wait_seconds=50)
    assert waits.seconds == []


def test_the_waiting_ends_when_the_server_says_so(bench: Bench) -> None:
    waits = Waits(cancelled=True)
    bench.change(wait=waits)
    bench.data("status", request_id=bench.request(), wait_seconds=50)
    assert len(waits.seconds) == 1


def test_a_bundle_is_imported_as_an_object_or_as_text(bench: Bench) -> None:
    bundle = foreign_bundle()
    for spelled in (bundle, canonical_json(bundle)):
        answer = bench.data("import_bundle", bundle=spelled, conflict_mode="new_decision_id")
        assert answer["imported"]["events_imported"] == 2
        assert answer["imported"]["source_decision_id"] == bundle["decision"]["decision_id"]


def test_imported_approvals_authorise_nothing_and_the_status_says_what_to_do(bench: Bench) -> None:
    bundle = foreign_bundle(is_approved=True)
    copy = bench.data("import_bundle", bundle=bundle, conflict_mode="new_decision_id")["imported"][
        "decision_id"
    ]
    status = bench.data("status", request_id=copy)
    assert [reason["code"] for reason in status["blocking_reasons"]] == ["IMPORTED_APPROVALS"]
    assert "evidence" in status["next"]


def test_an_unknown_conflict_mode_has_its_own_code(bench: Bench) -> None:
    answer = bench.error("import_bundle", bundle={}, conflict_mode="merge")
    assert answer["code"] == "CONFLICT_MODE_INVALID"


def test_a_defect_is_answered_without_its_text(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def break_down() -> None:
        raise RuntimeError("hunter2")

    bench.change(wait=Waits(break_down))
    answer = bench.error("status", request_id=bench.request(), wait_seconds=1)
    assert answer["code"] == "INTERNAL"
    assert "hunter2" not in str(answer)
    assert "hunter2" in caplog.text  # for the person who runs the server
    caplog.clear()
