"""The ready-made schemas of the package: a server that starts need not make them; `make schemas` makes them."""

import json
from pathlib import Path
from typing import Any, Final

PACKAGED: Final = Path(__file__).with_name("schemas.json")


def packaged_schemas() -> dict[str, dict[str, dict[str, Any]]]:
    """{<tool>: {"inputSchema", "outputSchema"}}."""
    return json.loads(PACKAGED.read_bytes())
