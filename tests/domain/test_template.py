import hashlib
import json

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import StoredEvent
from nexus_control.policy import Policy
from nexus_control.template import Template
from nexus_control.values.payloads import TemplateCreatedPayload
from tests.domain.histories import ALICE, CREATED, event

PAYLOAD = TemplateCreatedPayload(
    name="prod-deploy",
    description="Production deploys",
    min_approvals=2,
    allowed_modes=("dry_run", "apply"),
    require_adapter_capabilities=("timeout",),
    max_steps=50,
    labels=("prod",),
    overrides="tighten_only",
)


def test_a_template_is_what_its_event_says() -> None:
    created = event(0, PAYLOAD)
    template = Template.replay([created])
    assert template == Template(
        name="prod-deploy",
        description="Production deploys",
        policy=Policy.of(PAYLOAD),
        created_at=created.ts,
        created_by=ALICE,
        overrides="tighten_only",
    )


def test_the_digest_recomputes_from_the_snapshot_alone() -> None:
    template = Template.replay([event(0, PAYLOAD)])
    snapshot = json.loads(json.dumps(template.to_snapshot()))
    text = json.dumps(snapshot, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == template.digest


def test_a_snapshot_says_who_made_the_template_and_when() -> None:
    template = Template.replay([event(0, PAYLOAD)])
    assert template.to_snapshot() == {
        "template_name": "prod-deploy",
        "template_description": "Production deploys",
        "min_approvals": 2,
        "allowed_modes": ["dry_run", "apply"],
        "require_adapter_capabilities": ["timeout"],
        "max_steps": 50,
        "labels": ["prod"],
        "created_at": template.created_at,
        "created_by": {"type": "human", "id": "alice"},
        "overrides": "tighten_only",
    }
    again = Template.replay([event(0, PAYLOAD, minute=1)])
    assert again.digest != template.digest


def test_overrides_replace_the_fields_that_they_name() -> None:
    template = Template.replay(
        [event(0, TemplateCreatedPayload(name="t", min_approvals=3, allowed_modes=("apply",)))]
    )
    policy = template.policy_with({"min_approvals": 1, "labels": ["x"]})
    assert (policy.min_approvals, policy.labels, policy.allowed_modes) == (1, ("x",), ("apply",))
    assert template.policy.min_approvals == 3


def test_a_template_that_may_only_be_tightened_refuses_a_weaker_policy() -> None:
    template = Template.replay([event(0, PAYLOAD)])
    assert template.policy_with({"min_approvals": 3}).min_approvals == 3
    with pytest.raises(NexusControlError) as refused:
        template.policy_with({"min_approvals": 1})
    assert refused.value.code == ErrorCode.TEMPLATE_WEAKENED


@pytest.mark.parametrize("events", [[], [event(0, CREATED)]])
def test_what_does_not_begin_with_its_creation_is_no_template(events: list[StoredEvent]) -> None:
    with pytest.raises(NexusControlError) as refused:
        Template.replay(events)
    assert refused.value.code == ErrorCode.REPLAY_INVALID
