"""A program of its own, which sends one message through Apprise (https://github.com/caronc/apprise).

Standard input has {"url", "title", "body"}. The exit codes:

    0    the service took it
    11   Apprise is not installed
    12   the URL is not one of a service that Apprise knows
    13   the service did not take it, or could not be reached

It imports nothing of nexus_control, because it is started by its path.
"""

import importlib
import json
import logging
import sys
from typing import Any, Final

NOT_INSTALLED: Final = 11
NO_SERVICE: Final = 12
NOT_TAKEN: Final = 13


def main() -> int:
    """The exit code, once the message was sent."""
    try:
        apprise: Any = importlib.import_module("apprise")
    except ImportError:
        return NOT_INSTALLED
    logging.disable(logging.CRITICAL)  # its lines may hold the URL
    given = json.load(sys.stdin)
    service = apprise.Apprise()
    if not service.add(given["url"]):
        return NO_SERVICE
    return 0 if service.notify(title=given["title"], body=given["body"], body_format="text") else NOT_TAKEN


if __name__ == "__main__":
    sys.exit(main())
