"""Answers that are too long for a host go whole into a file, because hosts cut long answers.

The answer then has `file`, and of its other keys those that are short: no list, and no text beyond a few hundred
characters. It is never cut JSON.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final, cast

from nexus_control.errors import NexusControlError
from nexus_control.integrity import sha256_hex
from nexus_control.toolset.artifact_files import file_name, write_artifact
from nexus_control.toolset.outputs import FileData
from nexus_control.toolset.tool import PREFIX, ToolContext

INLINE_BYTES: Final = 8192
_LONGEST_TEXT: Final = 300
_KEPT_WHOLE: Final = ("summary", "next", "details")


def fitted(
    context: ToolContext, tool: str, arguments: Mapping[str, object], answer: Mapping[str, object]
) -> Mapping[str, object]:
    """The answer, or what a host can take of it and the file that holds it all."""
    if context.whole_answers or len(_json(answer)) <= INLINE_BYTES:
        return answer
    kept = {key: value for key, value in answer.items() if key in _KEPT_WHOLE or _is_short(value)}
    named = (arguments.get(key) for key in ("request_id", "decision_id", "name"))
    about = next((each for each in named if isinstance(each, str)), "all")
    kind = tool.removeprefix(PREFIX).replace(".", "-")
    return {**kept, "file": kept_in_file(context, kind, about, answer)}


def kept_in_file(
    context: ToolContext, kind: str, about: str, document: Mapping[str, object] | Sequence[object]
) -> FileData:
    """Write the document into a file of the artifacts folder. Where that cannot be done the call has still done its
    work, so its answer says why there is no file.
    """
    content = _json(document, indent=1)
    lists = document if isinstance(document, Mapping) else {"entries": document}
    counts = {
        key: len(cast("list[object]", value)) for key, value in lists.items() if isinstance(value, list)
    }
    file: FileData = {"sha256": sha256_hex(content), "bytes": len(content), "counts": counts}
    try:
        file["path"] = str(write_artifact(context.artifacts, file_name(kind, about), content))
    except NexusControlError as fault:
        file["problem"] = fault.message
    return file


def _json(document: object, indent: int | None = None) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=indent).encode("utf-8", "surrogatepass")


def _is_short(value: object) -> bool:
    return len(value) <= _LONGEST_TEXT if isinstance(value, str) else not isinstance(value, list | dict)
