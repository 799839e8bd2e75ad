"""`freehold deploy cascade`: the owned model answers what it is sure of, the incumbent the rest."""

from typing import Annotated

import typer

from freehold.cli.amounts import recorded
from freehold.cli.output import as_json, say
from freehold.cli.shares import share_of
from freehold.errors import UserError
from freehold.store.workspace import Workspace


def cascade(
    name: Annotated[str, typer.Argument(help="The public model name, answered by an owned model.")],
    to: Annotated[str | None, typer.Option(help="The deployed name that unsure requests go on to.")] = None,
    accuracy: Annotated[str, typer.Option(help="What the answers given must reach, such as 90%.")] = "90%",
    off: Annotated[bool, typer.Option("--off", help="Let the owned model answer everything again.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept with the row.")] = "freehold deploy cascade",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Choose on validation examples how sure is sure enough; the other requests go on to another model."""
    from msgspec.structs import replace

    from freehold.cli.progress import Terminal
    from freehold.gateway import backends
    from freehold.gateway import cascade as cascades
    from freehold.store import deployments

    store = recorded()
    deployment = deployments.current(store, name)
    if off:
        row = deployments.deploy(store, replace(deployment, cascade=None), reason)
        return say(f"{name} answers everything itself (row {row}); a running gateway follows within a second")
    if to is None:
        raise UserError("name who answers the unsure requests with --to, or end the cascade with --off")
    promised = share_of(accuracy, "--accuracy")
    if not 0 < promised < 1:
        raise UserError(f"--accuracy: {accuracy!r} is not between 0% and 100%; write one such as 90%")
    workspace, target = Workspace.here(), deployments.current(store, to).target
    chosen, brier = cascades.choose(workspace, backends.of(workspace), deployment, target, promised, Terminal())
    row = deployments.deploy(store, replace(deployment, cascade=chosen), reason)
    passed_on = cascades.expected(chosen)
    if json:
        return as_json({"name": name, "to": to, "row": row, "cascade": chosen, "brier": brier, "escalated": passed_on})
    say(f"{name} answers where its calibrated confidence is at least {chosen.threshold:.2f} (Brier score {brier:.3f})")
    say(f"  kept       {chosen.kept} of {chosen.n} validation examples, {chosen.right} of them right")
    say(f"             which shows {promised:.0%} or better, at 95 % confidence, one-sided")
    say(f"  passed on  {passed_on.value:.1%} [{passed_on.low:.1%}, {passed_on.high:.1%}] to {to}, by those examples")
    say(f"  next       freehold deploy list   (the share passed on, as measured; row {row})")
