"""The base that benchmarks measure with where none is named: SmolLM2-135M-Instruct, pulled where it is not here yet."""

import sys
from pathlib import Path

from freehold.catalogue.pull import pull
from freehold.cli.progress import Terminal
from freehold.errors import FreeholdError
from freehold.store.workspace import Workspace

NAME = "smollm2-135m-instruct"


def base_folder(named: Path | None) -> Path:
    """The folder of a pulled base; ends the process with a sentence where there is none and none can be pulled."""
    if named is not None:
        return named
    workspace = Workspace.here()
    try:
        pull(NAME, workspace, Terminal())
    except FreeholdError as error:
        sys.exit(str(error))
    return workspace.models / NAME
