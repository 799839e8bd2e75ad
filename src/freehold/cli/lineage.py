"""`freehold lineage` and `freehold inspect`: where a model came from, and what its file says."""

from pathlib import Path
from typing import Annotated

import typer

from freehold.catalogue import inspect as inspecting
from freehold.catalogue import lineage as lineages
from freehold.catalogue import model
from freehold.catalogue.model import Model
from freehold.cli.output import as_json, say
from freehold.store.workspace import Workspace, write_atomically

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def lineage(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    svg: Annotated[Path | None, typer.Option(help="Write the tree as a picture.")] = None,
    json: JsonOption = False,
) -> None:
    """Draw where a model came from and what was made from it."""
    found = lineages.of(name, Workspace.here())
    if svg is not None:
        write_atomically(svg, lineages.svg(found).encode())
        say(f"wrote {svg}")
        return
    if json:
        as_json(found)
        return
    for before, node in lineages.lines(found):
        here = "  ◀" if node.name == found.model else ""
        how = f"   {node.edge.how} · {node.edge.source}" if node.edge else ""
        say(f"{before}{node.name}{here}{how}")
    if found.family:
        say(f"same family: {', '.join(found.family)}")


def inspect(
    file: Annotated[Path, typer.Argument(help="A .gguf or .safetensors file.")],
    against: Annotated[str | None, typer.Option("--as", help="The catalogue's model to compare with.")] = None,
    json: JsonOption = False,
) -> None:
    """Read what a model file says about itself, without executing anything of it."""
    found = inspecting.inspect(file)
    entry = model.find(against) if against else _of_folder(file)
    wrong = inspecting.disagreements(found, entry) if entry else ()
    if json:
        as_json({"inspection": found, "compared_with": entry.name if entry else None, "disagreements": wrong})
        return
    formats = ", ".join(f"{kind} {count / found.parameters:.0%}" for kind, count in found.formats.items() if count)
    say(f"{found.file}: {found.format}, {found.size:,} bytes")
    say(f"  architecture  {found.architecture}")
    say(f"  parameters    {found.parameters:,} ({formats})")
    say(f"  context       {found.context_length or 'not stated'}")
    say(f"  licence       {found.licence or 'not stated'}")
    say(f"  tokenizer     {found.tokenizer_digest or 'none in the file'}")
    say(f"  template      {found.template_digest or 'none in the file'}")
    for each in wrong:
        doubt = "" if each.verified else " (unverified)"
        say(f"disagrees: {each.field} is {each.file} here, {each.catalogue} in the catalogue{doubt}")
    if entry and not wrong:
        say(f"agrees with the catalogue's {entry.name}")


def _of_folder(file: Path) -> Model | None:
    """The catalogue's model whose pulled folder a file lies in."""
    return model.known().get(file.resolve().parent.name)
