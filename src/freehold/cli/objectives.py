"""`freehold deploy slo`: service objectives of a public model name, and the error budget left."""

from typing import Annotated

import typer

from freehold.cli.amounts import recorded
from freehold.cli.output import as_json, say, table
from freehold.cli.shares import share_of
from freehold.errors import UserError


def slo(
    name: Annotated[str, typer.Argument(help="The public model name.")],
    p95_ms: Annotated[
        float | None, typer.Option(help="19 of 20 answers take at most so long, to the last byte.")
    ] = None,
    availability: Annotated[str | None, typer.Option(help="The share of requests answered, such as 99.5%.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Have no objectives any more.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept with the row.")] = "freehold deploy slo",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Set service objectives; show how much of the last 30 days' error budget is left."""
    from msgspec.structs import replace

    from freehold.gateway.objectives import budgets
    from freehold.store import deployments

    store = recorded()
    deployment = deployments.current(store, name)
    wanted = deployment.slo or deployments.Objectives()
    if p95_ms is not None:
        if p95_ms <= 0:
            raise UserError(f"--p95-ms is {p95_ms:g}; write milliseconds above 0")
        wanted = replace(wanted, p95_ms=p95_ms)
    if availability is not None:
        share = share_of(availability, "--availability")
        if not 0 < share < 1:
            raise UserError(f"--availability: {availability!r} leaves no budget to err; write one such as 99.5%")
        wanted = replace(wanted, availability=share)
    changed = None if off or wanted == deployments.Objectives() else wanted
    if changed != deployment.slo:
        deployment = replace(deployment, slo=changed)
        deployments.deploy(store, deployment, reason)
    found = budgets(store, deployment)
    if json:
        return as_json({"name": name, "slo": deployment.slo, "budgets": found})
    if not found:
        return say(f"{name} has no objectives; set them with --p95-ms and --availability")
    rows = [
        [each.objective, each.n, each.failed, f"{each.allowed:.1f}", "–" if each.left is None else f"{each.left:.1%}"]
        for each in found
    ]
    table(["objective", "requests", "missed", "may miss", "budget left"], rows)
