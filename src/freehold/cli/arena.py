"""`freehold arena`: ratings from votes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from freehold.cli.output import as_json, say, table
from freehold.evaluation.arena import checks
from freehold.evaluation.arena import rank as ranking
from freehold.evaluation.arena import style as styles
from freehold.evaluation.arena import votes as ballots

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
    if json:
        as_json(ratings)
    else:
        digits = 4 if natural else 0
        table(["rank", "model", "rating", "95 % interval", "games"], [_line(each, digits) for each in ratings])


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
