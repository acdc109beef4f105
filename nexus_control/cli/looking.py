"""The commands that look at one request: status, inspect."""

from nexus_control.cli.adapters import adapters_at_hand, named_in_commands
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.naming import any_request, chosen
from nexus_control.cli.options import FittingId, UsualConfig
from nexus_control.cli.standing import standing
from nexus_control.render.decision import render_decision
from nexus_control.usecases import arguments as door
from nexus_control.usecases import views


@shared_options("allowed_signers", "db", "utc")
def status(frame: Frame, request_id: FittingId = None, config: UsualConfig = None) -> Answer:
    """Where a request stands, and what keeps it from being executed.

    Example: nexus-control status 0d1c0d39
    """
    adapters = named_in_commands(config, frame)
    with frame.store() as store:
        checked = door.validated(
            door.StatusArguments, {"request_id": chosen(store, request_id, any_request())}
        )
        data = views.status(store, checked, look_beside=True)
        return Answer(data, standing(frame, store, data, adapters))


@shared_options("allowed_signers", "db")
def inspect(frame: Frame, request_id: FittingId = None, config: UsualConfig = None) -> Answer:
    """Everything about a request, as Markdown.

    Example: nexus-control inspect 0d1c0d39
    """
    with frame.store() as store:
        decision_id = chosen(store, request_id, any_request())
        checked = door.validated(door.InspectArguments, {"decision_id": decision_id, "render": frame.as_json})
        with adapters_at_hand(config) as router:
            data = views.inspect(store, checked, router)
    return Answer(data, lambda _: print(render_decision(data)))
