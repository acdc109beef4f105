"""Templates: named, immutable policies."""

from collections.abc import Mapping, Sequence

from nexus_control import usecases
from nexus_control.template import Overrides
from nexus_control.tool.base import ActorLike, Tools
from nexus_control.usecases.answers import TemplateCreateData, TemplateData, TemplatesData
from nexus_control.values.payloads import Assurance, Mode
from nexus_control.values.results import ToolResult


class TemplateTools(Tools):
    def template_create(
        self,
        name: str,
        actor: ActorLike,
        description: str = "",
        min_approvals: int | None = None,
        allowed_modes: Sequence[Mode] | None = None,
        require_adapter_capabilities: Sequence[str] | None = None,
        max_steps: int | None = None,
        labels: Sequence[str] | None = None,
        approvers: Sequence[str] | None = None,
        allow_requester_approval: bool | None = None,
        min_assurance: Assurance | None = None,
        overrides: Overrides = "any",
        require_rehearsal: Mapping[str, int] | None = None,
        required_from: Mapping[str, int] | None = None,
    ) -> ToolResult[TemplateCreateData]:
        """Create a named policy, which can never be changed.

            tools.template_create("two-people", Actor("human", "alice"), min_approvals=2, overrides="tighten_only")

        With `overrides="tighten_only"` a request may only be stricter than the template.

        Data: template_name, description, digest, created_at.
        Refused: TEMPLATE_ALREADY_EXISTS.
        """
        return self._run(
            usecases.templating.template_create, usecases.arguments.TemplateCreateArguments, locals()
        )

    def template_get(self, name: str, include_events: bool = False) -> ToolResult[TemplateData]:
        """One template.

            tools.template_get("two-people").data["template"]["min_approvals"]

        Data: template, digest, snapshot; on request events.
        Refused: TEMPLATE_NOT_FOUND.
        """
        return self._run(usecases.templating.template_get, usecases.arguments.TemplateGetArguments, locals())

    def template_list(
        self, limit: int = 100, offset: int = 0, label_filter: str | None = None
    ) -> ToolResult[TemplatesData]:
        """A page of templates, oldest first.

            tools.template_list(label_filter="prod").data["templates"]

        `label_filter` matches one whole label.

        Data: templates, count, offset, limit.
        """
        return self._run(
            usecases.templating.template_list, usecases.arguments.TemplateListArguments, locals()
        )
