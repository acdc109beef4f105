"""Template: a name, a policy, and the actor who made it. A template never changes.

Its snapshot is the JSON object that is copied into each decision made from it, and its digest is the sha256 of the
snapshot's canonical JSON: {template_name, template_description, the policy's fields, created_at, created_by{type, id}},
and `overrides` when it is "tighten_only".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import Actor, StoredEvent, TemplateCreatedPayload
from nexus_control.integrity import json_digest
from nexus_control.policy import Policy, require_no_weaker

Overrides: TypeAlias = Literal["any", "tighten_only"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A named policy, and the actor who made it.

        >>> tools.template_store.create_template("prod", alice, min_approvals=2).policy.min_approvals
        2

    `created_at` is the event's `ts`, as written. `overrides` is "any", or "tighten_only" when a request may only be
    stricter.
    """

    name: str
    description: str
    policy: Policy
    created_at: str
    created_by: Actor
    overrides: Overrides = "any"

    @classmethod
    def replay(cls, events: Sequence[StoredEvent]) -> "Template":
        """The template that its event created.

            >>> template = tools.template_store.create_template("prod", alice)
            >>> Template.replay(tools.template_store.get_template_events("prod")) == template
            True

        Raises REPLAY_INVALID.
        """
        created = events[0].content if events else None
        if not isinstance(created, TemplateCreatedPayload):
            raise NexusControlError(ErrorCode.REPLAY_INVALID, "a template begins with TEMPLATE_CREATED")
        return cls(
            name=created.name,
            description=created.description,
            policy=Policy.of(created),
            created_at=events[0].ts,
            created_by=events[0].actor,
            overrides=created.overrides,
        )

    def to_snapshot(self) -> dict[str, Any]:
        """The JSON object that is copied into each decision made from it.

        >>> tools.template_store.create_template("prod", alice).to_snapshot()["template_name"]
        'prod'
        """
        snapshot: dict[str, Any] = {
            "template_name": self.name,
            "template_description": self.description,
            **self.policy.to_dict(),
            "created_at": self.created_at,
            "created_by": self.created_by.to_dict(),
        }
        if self.overrides != "any":
            snapshot["overrides"] = self.overrides
        return snapshot

    @property
    def digest(self) -> str:
        """Bare hex."""
        return json_digest(self.to_snapshot())

    def policy_with(self, overrides: Mapping[str, object]) -> Policy:
        """The policy of a decision that overrides these fields.

            >>> prod = tools.template_store.create_template("prod", alice, overrides="tighten_only", min_approvals=2)
            >>> prod.policy_with({"min_approvals": 1})
            Traceback (most recent call last):
            nexus_control.errors.NexusControlError: TEMPLATE_WEAKENED: The template may only be tightened...

        Raises ValueError for a wrong value, TEMPLATE_WEAKENED for a weaker field of a "tighten_only" template.
        """
        policy = self.policy.overridden(overrides)
        if self.overrides == "tighten_only":
            require_no_weaker(self.policy, policy)
        return policy
