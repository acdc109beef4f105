"""The agents' arguments where they differ from those of NexusControlTools, and the meaning of each, written for a
model.

The other input models are those of `usecases.arguments`. An `actor` is always optional here: the default is the
server's own. Each word below costs a model's context in every conversation: say only what changes a call.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from nexus_control.usecases.arguments import BundleField, ImportOptions, InspectArguments, StatusArguments

MAX_WAIT_SECONDS = 50


class StatusInput(StatusArguments):
    wait_seconds: Annotated[int, Field(ge=0, le=MAX_WAIT_SECONDS)] = 0


class InspectInput(InspectArguments):
    render: bool = False
    include_compiled_router_request: bool = False


class ImportBundleInput(ImportOptions):
    bundle: BundleField | None = None
    path: Annotated[str, Field(min_length=1, max_length=4096)] | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.bundle is None) == (self.path is None):
            raise ValueError("must hold exactly one of bundle and path")
        return self


DESCRIPTIONS: dict[str, str] = {
    "actor": "Who acts. Default: the identity that the server acts for.",
    "adapter_id": "The adapter that carries it out. A request that names one is bound to it.",
    "allow_requester_approval": "Whether the requester may approve. Default: yes.",
    "allow_rollback": "Leave it false.",
    "allowed_modes": 'Default: "dry_run", and "apply" when mode is "apply".',
    "approvers": "Who may approve. Default: anybody.",
    "basis": "The basis that inspect showed; refused if that has changed.",
    "bundle": "The bundle, as an object or JSON text. Give this or path.",
    "comment": "Why you approve; a person gives their own reason.",
    "conflict_mode": '"new_decision_id" renames one that exists; "overwrite" is refused.',
    "decision_id": "Its request_id.",
    "description": "What the template is for.",
    "dispatch": '"worker": only a worker executes it, once approved; needs adapter_id.',
    "dry_run": "True rehearses, false applies. Default: the requested mode.",
    "embed_router_bundle": "Embed the whole run.",
    "expires_at": "ISO-8601 with an offset. Default: never.",
    "expires_in": "Instead of expires_at: 4h, 90m, 2d.",
    "goal": "What should happen, in words that an approver understands. Final.",
    "idempotency_key": "The same key and content again answer the same request.",
    "include_compiled_router_request": "Add what the router would be asked.",
    "include_events": "Add every event; long.",
    "include_router_link": "Whether it names the run.",
    "include_template_snapshot": "Whether it holds the template.",
    "label_filter": "Only templates with this label.",
    "labels": "Words to find it by.",
    "limit": "Most entries to answer.",
    "max_steps": "The most steps of a plan.",
    "metadata": "Names and texts of your own.",
    "min_approvals": "How many must approve. Default: 1, or the template's.",
    "min_assurance": "The weakest proof of an approver that counts.",
    "mode": '"dry_run" asks for a rehearsal, "apply" for the real thing.',
    "name": "The template's name.",
    "offset": "Entries to skip.",
    "overrides": '"tighten_only": requests may only be stricter.',
    "path": "A file that an export answered, in the artifacts folder.",
    "plan": "Exactly what will be done; people approve it word for word. For an adapter: a list of steps "
    '{"step_id", "intent", "call": {"tool", "method", "args"}}.',
    "render": "Add Markdown for people.",
    "replay_after_import": "Leave it true.",
    "request_id": "The id that request answered.",
    "require_adapter_capabilities": "What the adapter must offer.",
    "require_rehearsal": '{"max_age_seconds": 3600}: people approve a dry run.',
    "required_from": '{"security": 1}: one of that group must approve.',
    "router_bundle": "The run's bundle, if the router here does not have it.",
    "router_bundle_digest": "sha256: and 64 hex digits.",
    "supersedes": "An open request of yours that this one withdraws.",
    "template_name": "The policy's template; policy fields beside it override it.",
    "verify_digest": "Leave it true.",
    "verify_router_bundle_digest": "Leave it true.",
    "wait_seconds": "Wait for a change of a pending or executing decision.",
}
"""What an argument means, by its name: the same in every tool."""
