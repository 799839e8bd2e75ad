"""`freehold decision`: the newest decision, what came before it, and what it costs."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec.structs import asdict

from freehold.cli import backtest, canary, costs
from freehold.cli.output import as_json, say, table
from freehold.cli.tasks import captured
from freehold.decision import certificate
from freehold.decision import page as certificate_page
from freehold.decision.history import Believed, history
from freehold.decision.traffic import Seen
from freehold.errors import NotFoundError
from freehold.evaluation import report as reports
from freehold.records import Decision, Interval, Report
from freehold.store import decisions
from freehold.store.database import connect
from freehold.store.documents import Documents
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
    """Show every decision, oldest first: what was believed when, on what plan, and what was seen since."""
    workspace = Workspace.here()
    found = history(decisions.here(workspace, task), _reports(workspace), _seen(workspace))
    if json:
        as_json([_log_json(each) for each in found])
        return
    table(
        [
            "decided (UTC)",
            "task",
            "verdict",
            "candidate",
            "against",
            "margin",
            "difference",
            "promised",
            "accepted since",
        ],
        [_log_row(each) for each in found],
    )
    for each in found:
        changes = [reason for reason in each.decision.reasons if reason.startswith(certificate.PLAN_CHANGED)]
        for change in changes:
            say(f"  {each.decision.digest[:12]}: {change}")


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


def _log_row(each: Believed) -> list[object]:
    made = each.decision
    difference = certificate.spell(made.difference) if made.difference else "–"
    names = [made.verdict.value, made.candidate or "–", made.against or "–"]
    since = f"{_share(each.reality)} of {each.judged:,}: {each.says}" if each.reality else each.says
    return [
        _time(each.decided_at),
        made.task,
        *names,
        f"{made.plan.margin:g}",
        difference,
        _share(each.promised),
        since,
    ]


def _log_json(each: Believed) -> dict[str, Any]:
    return {
        "decided_at": _time(each.decided_at),
        "headline": certificate.headline(each.decision),
        **asdict(each.decision),
        "promised": each.promised,
        "since": {"requests": each.requests, "judged": each.judged, "accepted": each.reality, "says": each.says},
    }


def _share(interval: Interval | None) -> str:
    """`98.1 % [96.0, 99.1]`."""
    if interval is None:
        return "–"
    return f"{interval.value * 100:.1f} % [{interval.low * 100:.1f}, {interval.high * 100:.1f}]"


def _reports(workspace: Workspace) -> dict[str, Report]:
    """Every report that can still be read."""
    found = {}
    for each in Documents(connect(workspace.database_url)).all("report") if workspace.root.exists() else []:
        with suppress(NotFoundError):
            found[each.digest] = reports.read(workspace, each.digest)
    return found


def _seen(workspace: Workspace) -> list[Seen]:
    """The live traffic, or nothing where none was captured."""
    with suppress(NotFoundError):
        return list(captured(workspace))
    return []


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


app.command("sheet")(costs.sheet)
app.command("cost")(costs.cost)
app.command("break-even")(costs.break_even_command)
app.command("what-if")(costs.what_if)
app.command("watch")(canary.watch)
app.command("rollback")(canary.rollback)
app.command("backtest")(backtest.backtest_command)
