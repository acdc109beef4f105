"""NexusControlTools: plain Python keywords in, `ToolResult` out. Bad input never raises and never writes.

    with NexusControlTools("decisions.db") as tools:
        asked = tools.request("Rotate the billing keys", Actor("human", "alice"), mode="apply")
        tools.approve(asked.data["request_id"], Actor("human", "bob"))

Each part of the class is a module of its own: what people decide, what runs, what is shown, templates, and documents.
"""

from nexus_control.tool.base import ActorLike
from nexus_control.tool.deciding import DecidingTools
from nexus_control.tool.documents import DocumentTools
from nexus_control.tool.looking import LookingTools
from nexus_control.tool.running import RunningTools
from nexus_control.tool.templates import TemplateTools
from nexus_control.values.results import ToolResult

__all__ = ["ActorLike", "NexusControlTools", "ToolResult"]


class NexusControlTools(DecidingTools, RunningTools, LookingTools, TemplateTools, DocumentTools):
    """The governed flow over one store: request, approve, execute, audit.

        tools = NexusControlTools("decisions.db")
        result = tools.request("Rotate the billing keys", Actor("human", "alice"))
        print(result.data["request_id"] if result else result.next)

    `store` is a `DecisionStore`, or a path or URL to open; without it `db_path` is opened, in memory by default. Use
    the tools in a `with` block, or `close()` them: a store that they opened is closed, one that was handed in stays
    open. `plan_checker` (a `LocalRouter`, say) lets a request that names its adapter be checked, and bound to the
    adapter's declaration, before anybody approves it. `allowed_signers` (the path of an OpenSSH file) says whose
    signed approvals count. `busy_timeout` is how many seconds a call waits for a locked database (30).

    Every method answers a `ToolResult`. Any may be refused with INVALID_ARGUMENT, which names the field, or with a
    code that begins with STORE_ where the database cannot be used. From async code: `await
    asyncio.to_thread(tools.status, id)`.
    """
