"""`python -m nexus_control.toolset FOLDER` writes the tools' schemas into a folder; `make schemas` runs it."""

import sys
from pathlib import Path

from nexus_control.toolset.schema import write_schemas

if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
