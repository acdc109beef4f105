"""The agents' arguments where they differ from those of NexusControlTools, and the meaning of each, written for a
model.

The other input models are those of `usecases.arguments`. An `actor` is always optional here: the default is the
server's own.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from nexus_control.usecases.arguments import BundleField, ImportOptions, StatusArguments

MAX_WAIT_SECONDS = 50


class StatusInput(StatusArguments):
    wait_seconds: Annotated[int, Field(ge=0, le=MAX_WAIT_SECONDS)] = 0


class ImportBundleInput(ImportOptions):
    bundle: BundleField | None = None
    path: Annotated[str, Field(min_length=1, max_length=4096)] | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.bundle is None) == (self.path is None):
            raise ValueError("must hold exactly one of bundle and path")
        return self


DESCRIPTIONS: dict[str, str] = {
    "actor": 'Who acts, as {"type": "human" or "system", "id": "..."}. Leave it out: the server knows for whom it '
    "acts, and refuses anybody else unless it was started to trust this argument.",
    "adapter_id": 'Which adapter carries the decision out, "<kind>:<name>". A request that names one is bound to it.',
    "allow_requester_approval": "Whether the requester's own approval counts. Default: it does.",
    "allow_rollback": "Leave it false: only the store's owner may bring back an older history, elsewhere.",
    "allowed_modes": 'The modes in which the decision may be executed. Default: "dry_run", and "apply" when mode is '
    '"apply".',
    "approvers": "The ids of the only people whose approval counts. Default: anybody's does.",
    "basis": "The basis that status or inspect showed: the call is refused if the request is no longer the one shown.",
    "bundle": "The bundle 0.5 to import, as an object or as JSON text. Give this or path, not both.",
    "comment": "Why you approve; it is kept in the decision's history. A person who is asked gives their own reason.",
    "conflict_mode": '"reject_on_conflict" (default) refuses a decision that exists here; "new_decision_id" gives one '
    'that is not here a new id. "overwrite" is refused: only the store\'s owner may do that, elsewhere.',
    "decision_id": "The decision's id: the request_id that the request tool answered.",
    "description": "What the template is for, in a sentence.",
    "dry_run": "True rehearses without effects, false executes for real. Default: the mode that was requested.",
    "embed_router_bundle": "Put the whole run into the package rather than a reference to it; needs router_bundle.",
    "expires_at": "When it stops being valid: an ISO-8601 instant with an offset, in the future. Default: never.",
    "goal": "What should happen, in plain words that an approver understands. It can never be changed.",
    "include_compiled_router_request": "Whether to show what the router would be asked to do.",
    "include_events": "Whether to list every event with its payload; long for an old decision.",
    "include_router_link": "Whether the bundle names the run that the decision led to.",
    "include_template_snapshot": "Whether the bundle holds the template that the policy was made from.",
    "label_filter": "Only templates with exactly this label.",
    "labels": "Words to find the decision by, such as prod or security.",
    "limit": "How many entries to answer at most.",
    "max_steps": "The most steps that a run may have; a longer plan is refused. Default: no limit.",
    "min_approvals": "How many different people must approve. Default: 1, or what the template says.",
    "min_assurance": "The weakest way of knowing an approver that counts, from declared up to signed. Default: any.",
    "mode": '"dry_run" (default) asks only for a rehearsal; "apply" asks for the real execution.',
    "name": "The template's name.",
    "offset": "How many entries to skip.",
    "overrides": '"any" (default) lets a request change any field of the policy; "tighten_only" only make it stricter.',
    "path": "A file in the server's artifacts folder that holds the bundle to import, as an export answered it.",
    "plan": "Exactly what will be done; approvers approve it word for word. For the built-in router a list of steps "
    '{"step_id", "intent", "call": {"tool", "method", "args"}}; otherwise text.',
    "render": "Whether to add the Markdown for people; false makes the answer shorter.",
    "replay_after_import": "Leave it true: only the store's owner may import without this check, elsewhere.",
    "request_id": "The id that the request tool answered.",
    "require_adapter_capabilities": "What the adapter must be known to be capable of, such as timeout.",
    "router_bundle": "The run's own bundle, as its router exported it.",
    "router_bundle_digest": "The digest of the run's bundle, as sha256: and 64 hex digits.",
    "template_name": "The template to take the policy from. Policy fields given beside it override the template's.",
    "verify_digest": "Leave it true: only the store's owner may import without this check, elsewhere.",
    "verify_router_bundle_digest": "Whether the run's digest must be the one that the execution recorded.",
    "wait_seconds": "How long to wait, at most, while the decision is pending approval or executing. It answers as "
    f"soon as that changes. 0 (default) to {MAX_WAIT_SECONDS}.",
}
"""What an argument means, by its name: the same in every tool."""
