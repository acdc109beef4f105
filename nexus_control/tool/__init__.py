"""NexusControlTools: plain Python keywords in, `ToolResult` out. Bad input never raises and never writes.

    with NexusControlTools("decisions.db") as tools:
        asked = tools.request("Rotate the billing keys", Actor("human", "alice"), mode="apply")
        tools.approve(asked.data["request_id"], Actor("human", "bob"))

Each group of methods is a module: `tool.deciding`, `running`, `looking`, `proposing`, `templates` and `documents`.
"""

from nexus_control.tool.base import ActorLike
from nexus_control.tool.deciding import DecidingTools
from nexus_control.tool.documents import DocumentTools
from nexus_control.tool.proposing import ProposingTools
from nexus_control.tool.running import RunningTools
from nexus_control.tool.templates import TemplateTools
from nexus_control.values.results import ToolResult

__all__ = ["ActorLike", "NexusControlTools", "ToolResult"]


class NexusControlTools(DecidingTools, RunningTools, ProposingTools, TemplateTools, DocumentTools):
    """The governed flow over one store: request, approve, execute, audit.

        tools = NexusControlTools("decisions.db")
        result = tools.request("Rotate the billing keys", Actor("human", "alice"))
        print(result.data["request_id"] if result else result.next)

    `store` is a `DecisionStore`, or a path or URL to open; without it `db_path` is opened, in memory by default. Use
    the tools in a `with` block, or `close()` them. Closing ends a store that the tools opened; a `DecisionStore` that
    was handed in stays open. `plan_checker` (for example a `LocalRouter`) checks a request that names its adapter
    before anybody approves it, and binds it to the adapter's declaration. `allowed_signers` is the path of an OpenSSH
    file that says whose signed approvals count, and `passkey_origins` are the pages on which passkeys may sign them.
    `busy_timeout` is how many seconds a call waits for a locked database (30). `log_folder` is where a store on
    PostgreSQL has its log's key, last checkpoint and head. `groups`, such as {"security": ["alice", "bob"]}, are the
    groups of approvers that `required_from` names. `rules` is a rule book (`nexus_control.rules.read_rules`), or the
    path of a file that has one: it says what may be requested, and under which template.

    Every method but `proposal` answers a `ToolResult`. Any method may refuse with INVALID_ARGUMENT, which names the
    field, or with a code that begins with STORE_ where the database cannot be used. Threads may share the tools. From
    async code: `await asyncio.to_thread(tools.status, id)`.
    """
