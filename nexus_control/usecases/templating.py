"""Templates: create, show, list."""

from nexus_control.policy import Policy
from nexus_control.store import DecisionStore, TemplateStore
from nexus_control.template import Template
from nexus_control.usecases.answers import (
    PolicyData,
    TemplateCreateData,
    TemplateData,
    TemplateLine,
    TemplatesData,
)
from nexus_control.usecases.arguments import (
    TemplateCreateArguments,
    TemplateGetArguments,
    TemplateListArguments,
)
from nexus_control.usecases.grouping import require_known
from nexus_control.usecases.requesting import require_attainable, require_dry_runs


def template_create(store: DecisionStore, arguments: TemplateCreateArguments) -> TemplateCreateData:
    """A new, immutable template. Raises INVALID_ARGUMENT for a group that is not among those that are configured."""
    policy = Policy().overridden(arguments.given())
    require_attainable(policy, None, None)
    require_dry_runs(policy)
    if policy.required_from and (
        groups := store.groups
    ):  # without any, they may be configured where it is used
        require_known(policy, groups, None)
    template = TemplateStore(store).create_template(
        arguments.name,
        arguments.actor,
        description=arguments.description,
        overrides=arguments.overrides,
        **policy.fields(),
    )
    return {
        "template_name": template.name,
        "description": template.description,
        "digest": template.digest,
        "created_at": template.created_at,
    }


def template_get(store: DecisionStore, arguments: TemplateGetArguments) -> TemplateData:
    """One template, its digest and its snapshot."""
    with store.reading() as session:
        template = session.template(arguments.name)
        events = session.template_events(arguments.name) if arguments.include_events else []
    data: TemplateData = {
        "template": template_view(template),
        "digest": template.digest,
        "snapshot": template.to_snapshot(),
    }
    if arguments.include_events:
        data["events"] = [event.to_dict() for event in events]
    return data


def template_list(store: DecisionStore, arguments: TemplateListArguments) -> TemplatesData:
    """A page of templates, oldest first."""
    page = TemplateStore(store).list_templates(arguments.limit, arguments.offset, arguments.label_filter)
    return {
        "templates": [template_view(template) for template in page],
        "count": len(page),
        "offset": arguments.offset,
        "limit": arguments.limit,
    }


def template_view(template: Template) -> TemplateLine:
    """A template's fields as JSON values."""
    return {
        "template_name": template.name,
        "description": template.description,
        **PolicyData(**template.policy.to_dict()),
        "overrides": template.overrides,
        "created_at": template.created_at,
        "created_by": template.created_by.to_dict(),
        "digest": template.digest,
    }
