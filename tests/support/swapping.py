"""Another request that is put in a request's place, under the same id, by its owner; and the first one put back."""

import json
from dataclasses import dataclass
from typing import Any

from nexus_control import NexusControlTools
from nexus_control.bundle import DecisionBundle
from nexus_control.events import compute_event_digest
from tests.support.governed import data_of

OTHER_GOAL = "Delete everything"
OTHER_PLAN = "rm -rf /srv"


@dataclass(frozen=True)
class Swap:
    """Both as bundles; `tools` are the owner's."""

    tools: NexusControlTools
    first: str
    other: str

    @classmethod
    def of(cls, tools: NexusControlTools, request_id: str) -> "Swap":
        exported = data_of(tools.export_bundle(request_id))
        other: dict[str, Any] = json.loads(exported["canonical_json"])
        created = other["events"][0]
        created["payload"] |= {"goal": OTHER_GOAL, "plan": OTHER_PLAN}
        created["digest"] = compute_event_digest(created["type"], created["payload"])
        other["decision"]["goal"] = OTHER_GOAL
        other["integrity"]["canonical_digest"] = DecisionBundle.from_dict(other).content_digest()
        return cls(tools, exported["canonical_json"], json.dumps(other))

    def made_by_imports(self) -> "Swap":
        """Both were put there: a request that was made here has another basis than the same one that is imported."""
        self.to_other()
        self.back()
        return self

    def to_other(self) -> None:
        self._put(self.other)

    def back(self) -> None:
        self._put(self.first)

    def _put(self, bundle: str) -> None:
        data_of(self.tools.import_bundle(bundle, conflict_mode="overwrite", allow_rollback=True))
