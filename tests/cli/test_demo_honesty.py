"""The demonstration measures what it tells: a library that is broken in one place ends it at the step that shows it."""

from collections.abc import Callable
from typing import Any

import pytest

from nexus_control.canonical_json import canonical_json
from nexus_control.cli.demo.command import run_demo
from nexus_control.evidence.report import Check
from nexus_control.evidence.verify import CHECKS, EvidenceReport
from nexus_control.execution.subprocess_adapter import ArgvAdapter

FINE = EvidenceReport(required="L0", checks=tuple(Check(name=name, status="pass") for name in CHECKS))


def always(answer: object) -> Callable[..., object]:
    return lambda *_, **__: answer


def with_dry_run(dry_run: bool) -> Callable[..., object]:
    execute = ArgvAdapter.execute

    def broken(self: ArgvAdapter, call: Any, **_: object) -> object:
        return execute(self, call, dry_run=dry_run)

    return broken


def forged_on_disk(data: Any) -> str:
    return canonical_json(data).replace("alice@example.com", "mallory@example.com")


BROKEN: dict[str, tuple[str, Callable[..., object], str]] = {
    "nothing blocks an execution": (
        "nexus_control.usecases.allowing.attempt_reasons",
        always(()),
        "step 3: it had to be refused as POLICY_NOT_SATISFIED",
    ),
    "anybody may approve": (
        "nexus_control.usecases.deciding.require_may_approve",
        always(None),
        "step 4: it had to be refused as NOT_ELIGIBLE, but it was accepted",
    ),
    "a dry run acts": (
        "nexus_control.execution.subprocess_adapter.ArgvAdapter.execute",
        with_dry_run(False),
        "step 5: the rehearsal changed a file",
    ),
    "an execution does nothing": (
        "nexus_control.execution.subprocess_adapter.ArgvAdapter.execute",
        with_dry_run(True),
        "step 7: the settings that changed are ()",
    ),
    "the package is damaged when it is written": (
        "nexus_control.cli.demo.story.canonical_json",
        forged_on_disk,
        "step 9: the package fails control_bundle_digest, event_digests, template_digest",
    ),
    "verification passes everything": (
        "nexus_control.cli.demo.story.verify_evidence",
        always(FINE),
        "step 10: the copy approver passes",
    ),
}


@pytest.mark.parametrize(("target", "broken", "told"), BROKEN.values(), ids=BROKEN)
def test_the_demo_notices_that(
    target: str,
    broken: Callable[..., object],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(target, broken)
    assert run_demo(None, as_json=False) == 1
    assert told in " ".join(capsys.readouterr().err.split())
