"""`freehold arena`: ratings from votes."""

import csv
import sys
from pathlib import Path
from typing import Annotated

import typer

from freehold.cli.evals import examples_of
from freehold.cli.evaluation import TaskOption, newest_report
from freehold.cli.output import as_json, say, table
from freehold.errors import NotFoundError
from freehold.evaluation import report as reports
from freehold.evaluation.arena import checks
from freehold.evaluation.arena import rank as ranking
from freehold.evaluation.arena import style as styles
from freehold.evaluation.arena import votes as ballots
from freehold.evaluation.arena.ballot import Ballot
from freehold.store.bouts import Bouts
from freehold.store.database import connect
from freehold.store.workspace import Workspace

arena = typer.Typer(add_completion=False, rich_markup_mode=None, help="Which model people prefer, from blind votes.")

VotesArgument = Annotated[Path, typer.Argument(help="A CSV file with the columns left,right,winner.", metavar="VOTES")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@arena.callback()
def _group() -> None:
    pass


@arena.command()
def rank(  # noqa: PLR0913 (one parameter an option)
    votes: VotesArgument,
    method: Annotated[ranking.Method, typer.Option(help="Bradley-Terry, or Elo in the order of the votes.")] = (
        ranking.Method.BT
    ),
    scale: Annotated[float, typer.Option(help="Rating points for a factor of `base` in strength.")] = 400.0,
    base: Annotated[float, typer.Option(help="That factor.")] = 10.0,
    init: Annotated[float, typer.Option(help="The average rating, or the anchor's.")] = 1000.0,
    anchor: Annotated[str | None, typer.Option(help="The model whose rating is `init`.")] = None,
    natural: Annotated[bool, typer.Option("--natural", help="Plain Bradley-Terry strengths that sum to 1.")] = False,
    rounds: Annotated[int, typer.Option(min=0, help="Bootstrap rounds; 0: sandwich intervals.")] = 100,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    among: Annotated[list[str] | None, typer.Option(help="A model to be told of even if nobody voted on it.")] = None,
    json: JsonOption = False,
) -> None:
    """Rate models by votes, best first, with 95 % intervals; models that the votes cannot tell apart share a rank."""
    ballot = ballots.read(votes)
    resampling = ranking.Resampling(rounds=rounds, seed=seed)
    if natural:
        ratings = ranking.natural(ballot, resampling)
    else:
        ratings = ranking.rank(ballot, method, ranking.Scale(scale, base, init, anchor), resampling)
    for each in ratings:
        if each.high is None or each.low is None:
            never = "lost" if each.high is None else "won"
            sys.stderr.write(f"{each.model} never {never}: the votes bound its rating on one side only\n")
    for name in sorted({*(among or ())} - {*ballot.models}):
        sys.stderr.write(f"{name} never played: no vote rates it\n")
    if json:
        as_json(ratings)
    else:
        digits = 4 if natural else 0
        table(["rank", "model", "rating", "95 % interval", "games"], [_line(each, digits) for each in ratings])


@arena.command()
def vote(
    voter: Annotated[str, typer.Option(help="Who votes: a name or a pseudonym, the same every time.")],
    count: Annotated[int, typer.Option(min=1, help="How many comparisons.")] = 10,
    task: TaskOption = None,
) -> None:
    """Vote blind on two candidates' kept answers: l, r, t for a tie, s to skip, q to stop."""
    ballot = _ballot(task)
    for at in range(count):
        shown = ballot.deal()
        say(f"\n  {at + 1} of {count}   {shown.question}\n\n  left    {shown.left}\n  right   {shown.right}\n")
        choice = _asked()
        if choice == "q":
            return
        if choice != "s":
            ballot.cast(shown.id, _CHOICES[choice], voter)


@arena.command(name="votes")
def kept_votes(task: TaskOption = None, json: JsonOption = False) -> None:
    """Print the votes that were cast, as the CSV that `rank`, `style` and `check` read."""
    lines = _ballot(task).lines()
    if json:
        as_json(lines)
        return
    if not lines:
        raise NotFoundError("nobody has voted yet; `freehold arena vote --voter NAME` takes votes")
    writer = csv.DictWriter(sys.stdout, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)


_CHOICES = {"l": "left", "r": "right", "t": "tie"}


def _asked() -> str:
    """One of l, r, t, s, q; the end of the input is q."""
    while True:
        sys.stdout.write("  better? l · r · t (tie) · s (skip) · q (stop)  ")
        sys.stdout.flush()
        line = sys.stdin.readline()
        choice = line.strip().lower()[:1] if line else "q"
        if choice in {*_CHOICES, "s", "q"}:
            return choice


def _ballot(task: str | None) -> Ballot:
    workspace = Workspace.here()
    report = newest_report(workspace, task)
    rows = reports.read_rows(workspace, report)
    return Ballot(report, rows, examples_of(workspace, report), Bouts(connect(workspace.database_url)))


def _line(each: ranking.Rating, digits: int) -> list[object]:
    low = "…" if each.low is None else f"{each.low:.{digits}f}"
    high = "…" if each.high is None else f"{each.high:.{digits}f}"
    return [each.rank, each.model, f"{each.rating:.{digits}f}", f"[{low}, {high}]", each.games]


@arena.command()
def style(
    votes: VotesArgument,
    columns: Annotated[list[str], typer.Argument(help="Styles: NAME for the columns left_NAME and right_NAME.")],
    anchor: Annotated[str | None, typer.Option(help="The model whose rating is 1000.")] = None,
    json: JsonOption = False,
) -> None:
    """Rate models at equal style, and show what each style is worth to voters."""
    sides = [f"{side}_{name}" for name in columns for side in ("left", "right")]
    found = styles.control(ballots.read(votes, sides), columns, ranking.Scale(anchor=anchor))
    if json:
        as_json(found)
        return
    table(["rank", "model", "rating", "95 % interval", "games"], [_line(each, 0) for each in found.ratings])
    table(
        ["style", "log odds a deviation", "95 % interval"],
        [
            [name, f"{each.value:+.3f}", f"[{each.low:+.3f}, {each.high:+.3f}]"]
            for name, each in found.coefficients.items()
        ],
    )


@arena.command()
def check(
    votes: VotesArgument,
    voter: Annotated[str, typer.Option(help="The column that says who voted.")] = "voter",
    json: JsonOption = False,
) -> None:
    """Look for voters who vote unlike everybody else."""
    ballot = ballots.read(votes, [voter])
    found = checks.suspicions(ballot, ballot.columns[voter])
    if json:
        as_json(found)
    elif found:
        rows = [[each.voter, each.what, "–" if each.p is None else f"{each.p:.2g}"] for each in found]
        table(["voter", "what", "p (corrected)"], rows)
    else:
        say(f"nothing stands out in {len(ballot)} votes by {len(set(ballot.columns[voter]))} voters")
