"""The bundle of a run, in the shape of nexus-router 0.3.

    {"bundle_version": "0.3", "exported_at", "run": {run_id, mode, goal, status, created_at},
     "events": [{event_id, run_id, seq, type, payload, ts}, ...], "digests": {"sha256"}, "provenance"?}

`digests.sha256` is the bare digest of `json.dumps({"run": ..., "events": ...}, sort_keys=True, separators=(",", ":"))`,
with ASCII escapes. This spelling is nexus-router's and differs from our canonical JSON.
"""

import json
from collections.abc import Mapping, Sequence

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.integrity import sha256_hex

RUN_BUNDLE_VERSION = "0.3"


def make_run_bundle(
    run: Mapping[str, object], events: Sequence[Mapping[str, object]], *, exported_at: str, export_method: str
) -> dict[str, object]:
    """The bundle of a run and its events."""
    bundle: dict[str, object] = {
        "bundle_version": RUN_BUNDLE_VERSION,
        "exported_at": exported_at,
        "run": dict(run),
        "events": [dict(event) for event in events],
    }
    bundle["digests"] = {"sha256": run_bundle_digest(bundle)}
    bundle["provenance"] = {
        "export_method": export_method,
        "source_run_id": run["run_id"],
        "export_version": RUN_BUNDLE_VERSION,
    }
    return bundle


def run_bundle_digest(bundle: Mapping[str, object]) -> str:
    """The bare digest of a bundle's run and events, recomputed. Raises INTEGRITY_MISMATCH for another document."""
    try:
        content = {"run": bundle["run"], "events": bundle["events"]}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise NexusControlError(
            ErrorCode.INTEGRITY_MISMATCH, f"not a run bundle of version {RUN_BUNDLE_VERSION}"
        ) from error
    return sha256_hex(text)
