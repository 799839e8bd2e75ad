"""`freehold decision`: the newest decision, what came before it, and what it costs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import asdict

from freehold.cli import canary, costs
from freehold.cli.output import as_json, say, table
from freehold.decision import certificate
from freehold.decision import page as certificate_page
from freehold.errors import NotFoundError
from freehold.records import Decision
from freehold.store import decisions
from freehold.store.workspace import Workspace, write_atomically

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="Of this task; left out: of whichever is newest.")]


@app.callback(invoke_without_command=True)
def decision(context: typer.Context, json: JsonOption = False, task: TaskOption = None) -> None:
    """Show the newest decision."""
    if context.invoked_subcommand is not None:
        return
    found = newest(Workspace.here(), task)
    if json:
        as_json({"headline": certificate.headline(found), **asdict(found)})
    else:
        _print(found)


@app.command()
def log(json: JsonOption = False, task: TaskOption = None) -> None:
    """Show every decision, oldest first: what was believed, when, on what plan."""
    made = decisions.here(Workspace.here(), task)
    if json:
        as_json(
            [{"decided_at": _time(at), "headline": certificate.headline(each), **asdict(each)} for at, each in made]
        )
        return
    table(
        ["decided (UTC)", "task", "verdict", "candidate", "against", "margin", "difference", "decision"],
        [_log_row(at, each) for at, each in made],
    )


@app.command()
def page(
    costs_from: Annotated[Path | None, typer.Option("--costs", help="A cost sheet, for costs and break-even.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Where to write it; left out: beside the decision.")] = None,
    task: TaskOption = None,
) -> None:
    """Write the newest decision as one HTML page to read, print and sign."""
    workspace = Workspace.here()
    found = newest(workspace, task)
    reckoned, pays = costs.reckoned(costs_from) if costs_from else ([], [])
    path = to or decisions.path_of(workspace, found.digest, "html")
    write_atomically(path, certificate_page.page(found, reckoned, pays).encode())
    say(f"wrote {path}")


def newest(workspace: Workspace, task: str | None = None) -> Decision:
    """The newest decision; raises `NotFoundError` where there is none, or where its record was altered."""
    _, found = decisions.here(workspace, task)[-1]
    if not certificate.intact(found):
        path = decisions.path_of(workspace, found.digest, "json")
        raise NotFoundError(
            f"{path}: was altered: its content is not what its digest says; `freehold run` decides anew"
        )
    return found


def _print(found: Decision) -> None:
    say(f"  decision   {certificate.headline(found)}")
    for reason in found.reasons[1:]:
        say(f"             {reason}")
    say(f"  power      {found.power}")
    plan = found.plan
    say(f"  plan       {plan.metric} · margin {plan.margin:g} · confidence {plan.confidence:g} · {plan.stopping}")
    evidence = " · ".join(f"{name} {digest[:12]}" for name, digest in found.evidence.items())
    say(f"  evidence   {evidence}")
    say(f"  digest     {found.digest}")


def _log_row(at: int, each: Decision) -> list[object]:
    difference = certificate.spell(each.difference) if each.difference else "–"
    names = [each.verdict.value, each.candidate or "–", each.against or "–"]
    return [_time(at), each.task, *names, f"{each.plan.margin:g}", difference, each.digest[:12]]


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


app.command("sheet")(costs.sheet)
app.command("cost")(costs.cost)
app.command("break-even")(costs.break_even_command)
app.command("what-if")(costs.what_if)
app.command("watch")(canary.watch)
app.command("rollback")(canary.rollback)
