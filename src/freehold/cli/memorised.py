"""`freehold data memorised`: does an adapter give its training data back?"""

from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.output import as_json, say, table
from freehold.cli.progress import Terminal
from freehold.cli.task import JsonOption
from freehold.errors import NotFoundError
from freehold.records import AdapterManifest, Interval
from freehold.store.workspace import Workspace

if TYPE_CHECKING:
    from freehold.evaluation.memorised import Memorised


def memorised(
    adapter: Annotated[str, typer.Argument(help="An adapter's digest, or how it begins; left out: the only one.")] = "",
    json: JsonOption = False,
) -> None:
    """Does an adapter give its training data back? Planted secrets, and texts continued from their first half."""
    from freehold.data import freeze
    from freehold.evaluation import memorised as measuring
    from freehold.render import Renderer
    from freehold.tuning.scoring import Scorer

    workspace = Workspace.here()
    manifest = _adapter(workspace, adapter)
    examples = freeze.examples(workspace, manifest.dataset)
    base_folder = workspace.models / manifest.base
    subject = measuring.Subject(manifest, freeze.read(workspace, manifest.dataset), examples, Renderer(base_folder))
    scorer = Scorer(base_folder, manifest, workspace.adapters / manifest.digest)
    found = measuring.measure(subject, scorer, workspace, Terminal())
    return as_json(found) if json else _print(found)


def _adapter(workspace: Workspace, prefix: str) -> AdapterManifest:
    from freehold.store.layout import MANIFEST_FILE
    from freehold.store.workspace import read_record

    paths = [each for each in workspace.adapters.glob(f"*/{MANIFEST_FILE}") if each.parent.name.startswith(prefix)]
    if len(paths) != 1:
        known = ", ".join(sorted(each.parent.name[:12] for each in paths)) or "none"
        raise NotFoundError(f"{len(paths)} adapters have a digest that begins with {prefix!r} ({known}); name one")
    return read_record(paths[0], AdapterManifest)


def _print(found: "Memorised") -> None:
    if found.exposures:
        rows = [
            [each.canary, each.repeats, each.bits, each.base_bits, f"{each.rank} of {each.of}"]
            for each in found.exposures
        ]
        table(["canary", "times trained on", "exposure (bits)", "of the base", "rank"], rows)
        say(f"chance alone stays under {found.threshold_bits} bits in 95 of 100 such measurements")
    else:
        say("no secrets were planted, so exposure is unknown; data.canaries: 8 in the task file plants some")
    for name, share in (("training", found.trained), ("held-out", found.held_out), ("training, base", found.base)):
        say(f"second halves written from the first, {name}: {_share(share)}")
    for reason in found.reasons:
        say(f"gives training data back: {reason}")
    if not found.gives_back:
        say("nothing was found that it gives back")


def _share(share: Interval | None) -> str:
    if share is None:
        return "unknown (no text is long enough to judge)"
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}] of {share.n}"
