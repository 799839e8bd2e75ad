"""`freehold eval …`: what was measured, compared across candidates, time and tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from freehold.cli.costs import DEFAULT_SHEET
from freehold.cli.costs import read as read_sheet
from freehold.cli.evaluation import JsonOption, TaskOption, latency, newest_report, print_changes
from freehold.cli.output import as_json, say, table
from freehold.cli.progress import Terminal
from freehold.cli.task import DEFAULT_TASK_FILE
from freehold.data import freeze
from freehold.decision import costs as cost_of
from freehold.decision import measured
from freehold.decision.cost_sheet import Sheet
from freehold.errors import NotFoundError, RefusedError, UserError
from freehold.evaluation import compare, leaderboard, pins
from freehold.evaluation import report as reports
from freehold.progress import SILENT
from freehold.records import Example, Report
from freehold.spec import load
from freehold.store.database import connect
from freehold.store.documents import Documents
from freehold.store.workspace import Workspace, write_atomically

evals = typer.Typer(add_completion=False, rich_markup_mode=None, help="Compare what was measured; pin what must hold.")

_SHOWN = 20


@evals.command()
def diff(
    left: Annotated[str, typer.Argument(help="A candidate's name, or the start of its digest.")],
    right: Annotated[str, typer.Argument(help="Another one.")],
    task: TaskOption = None,
    json: JsonOption = False,
) -> None:
    """Show the examples that two candidates answered differently, from kept rows."""
    workspace = Workspace.here()
    every = every_report(workspace, task)
    one, other = (compare.find(workspace, every, wanted) for wanted in (left, right))
    found = compare.diff(one, other, examples_of(workspace, one.report), one.report.confidence)
    if json:
        as_json(found)
        return
    gap = found.difference
    interval = f"{gap.value:+.1%} [{gap.low:+.1%}, {gap.high:+.1%}]"
    say(f"  {found.left} − {found.right}: {interval} {found.metric}, n = {found.n}")
    if found.p is not None:
        say(f"  McNemar's exact p = {found.p:.3g} over {len(found.flips)} examples that flipped")
    for flip in found.flips[:_SHOWN]:
        better = found.left if flip.left_score > flip.right_score else found.right
        say(f"\n  {flip.text or flip.example}")
        say(f"    reference {flip.reference} · {found.left}: {flip.left_answer} · {found.right}: {flip.right_answer}")
        say(f"    better: {better}")
    if len(found.flips) > _SHOWN:
        say(f"\n  and {len(found.flips) - _SHOWN} more; --json lists all")


@evals.command()
def pin(
    examples: Annotated[list[str] | None, typer.Argument(help="Ids of examples.")] = None,
    answered_by: Annotated[str | None, typer.Option(help="Pin all that this candidate answered rightly.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the named examples away again.")] = False,
    task: TaskOption = None,
    json: JsonOption = False,
) -> None:
    """Freeze cases that must not break; without arguments, list them."""
    workspace = Workspace.here()
    report = newest_report(workspace, task)
    known = {row.example for rows in reports.read_rows(workspace, report).values() for row in rows}
    wanted = list(examples or [])
    if answered_by:
        rows = compare.find(workspace, [report], answered_by).rows
        wanted += [row.example for row in rows if row.score == 1]
    if remove:
        found = pins.unpin(workspace, report.task, wanted)
    else:
        unknown = [each for each in wanted if each not in known]
        if unknown:
            raise UserError(
                f"{unknown[0]}: no example of that id was measured; `freehold eval diff` shows ids with --json"
            )
        found = pins.pin(workspace, report.task, wanted) if wanted else pins.read(workspace, report.task)
    if json:
        as_json(found)
    else:
        say(f"  {len(found.examples)} cases pinned for {found.task}; `freehold eval check` holds candidates to them")


@evals.command()
def check(
    candidate: Annotated[str | None, typer.Argument(help="Only this one, by name or the start of its digest.")] = None,
    task: TaskOption = None,
    json: JsonOption = False,
) -> None:
    """Hold candidates against the pinned cases; exit code 3 where one breaks."""
    workspace = Workspace.here()
    report = newest_report(workspace, task)
    pinned = pins.read(workspace, report.task)
    if not pinned.examples:
        raise NotFoundError(
            f"no case is pinned for {report.task}; `freehold eval pin --answered-by CANDIDATE` pins some"
        )
    wanted = [candidate] if candidate else [each.candidate.name for each in report.figures]
    measured = [compare.find(workspace, [report], each) for each in wanted]
    found = [pins.check(pinned, each.candidate.name, each.rows) for each in measured]
    if json:
        as_json(found)
    else:
        rows = [[each.candidate, each.holds, len(each.broken), each.unmeasured] for each in found]
        table(["candidate", "holds", "broken", "not measured"], rows)
    broken = [each for each in found if each.broken]
    if broken:
        names = ", ".join(f"{each.candidate} ({len(each.broken)})" for each in broken)
        raise RefusedError(f"pinned cases are broken by {names}")


@evals.command()
def forgetting(
    task_file: Annotated[Path, typer.Argument(help="The task file.", metavar="[TASKFILE]")] = DEFAULT_TASK_FILE,
    json: JsonOption = False,
) -> None:
    """Measure what tuning took away: general questions, refusals, plain language, each before and after."""
    from freehold import pipeline

    progress = SILENT if json else Terminal()
    found = pipeline.forgetting(load(task_file), Workspace.beside(task_file), progress)
    if json:
        as_json(found)
    else:
        print_changes(found)


@evals.command(name="leaderboard")
def show_leaderboard(
    html: Annotated[Path | None, typer.Option(help="Write a page to this file.")] = None,
    costs: Annotated[Path | None, typer.Option(help="A cost sheet (docs/costs.md); left out: costs.yaml.")] = None,
    json: JsonOption = False,
) -> None:
    """All candidates over all measured tasks; only the same protocol is ranked together."""
    workspace = Workspace.here()
    every = every_report(workspace, None)
    sheet = costs or (DEFAULT_SHEET if DEFAULT_SHEET.exists() else None)
    prices = _prices(read_sheet(sheet), every, workspace) if sheet else {}
    found = leaderboard.priced(leaderboard.boards(every), prices)
    if html:
        write_atomically(html, leaderboard.page(found).encode())
        say(str(html))
    elif json:
        as_json(found)
    else:
        for board in found:
            _print_board(board)


def _prices(sheet: Sheet, every: Sequence[Report], workspace: Workspace) -> dict[tuple[str, str], leaderboard.Price]:
    """What the sheet knows of each measured candidate, its gaps filled from the report that measured it."""
    prices = {}
    for report in every:
        filled = measured.fill(sheet, report, reports.read_rows(workspace, report))
        for each in cost_of.costs(filled):
            found, bounds = measured.match(each.option, report), each.per_accepted
            if found and bounds:
                low, value, high = (float(1000 * amount) for amount in bounds)
                price = leaderboard.Price(low=low, value=value, high=high, currency=each.currency)
                prices[report.digest, found.candidate.name] = price
    return prices


def _print_board(board: leaderboard.Board) -> None:
    say(f"\n  {board.task} · {board.metric} · dataset {board.dataset[:12]}\n")
    table(
        [
            "rank",
            "candidate",
            board.metric.replace("_", " "),
            "interval",
            "n",
            "tokens a request",
            "p50",
            "1,000 accepted cost",
        ],
        [
            [
                each.rank,
                each.name,
                f"{each.value:.1%}",
                f"[{each.low:.1%}, {each.high:.1%}]",
                each.n,
                f"{each.tokens_per_request:.0f}" if each.tokens_per_request else "–",
                latency(each.p50_ms),
                f"{each.cost.low:.4g}–{each.cost.high:.4g} {each.cost.currency}" if each.cost else "unknown",
            ]
            for each in board.entries
        ],
    )


def every_report(workspace: Workspace, task: str | None) -> list[Report]:
    """Every report, newest first."""
    newest_report(workspace, task)  # says what to do where there is none
    listed = Documents(connect(workspace.database_url)).all("report", task)
    return [reports.read(workspace, each.digest) for each in reversed(listed)]


def examples_of(workspace: Workspace, report: Report) -> Mapping[str, Example]:
    """The dataset's examples by id; empty where the dataset was deleted."""
    try:
        return {each.id: each for each in freeze.examples(workspace, report.dataset)}
    except NotFoundError:
        return {}
