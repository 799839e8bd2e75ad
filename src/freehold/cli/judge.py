"""`freehold judge …`: a language model as a judge, and how far to trust it."""

from pathlib import Path
from typing import Annotated

import typer

from freehold.cli.output import as_json, say, table
from freehold.evaluation.judge import agreement as agreements
from freehold.records import Interval

judge = typer.Typer(add_completion=False, rich_markup_mode=None, help="A language model as a judge, checked on people.")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@judge.callback()
def _group() -> None:
    pass


@judge.command()
def agreement(
    people: Annotated[Path, typer.Argument(help="People's votes: CSV with left,right,winner and the item's column.")],
    verdicts: Annotated[Path, typer.Argument(help="The judge's verdicts, one an item, in the same form.")],
    item: Annotated[str, typer.Option(help="The column that says which item a vote is on.")] = "id",
    labelled: Annotated[int | None, typer.Option(min=2, help="Use people's votes on this many items only.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of which items those are.")] = 0,
    json: JsonOption = False,
) -> None:
    """Compare a judge with people, and correct its estimates by their votes (prediction-powered inference)."""
    found = agreements.agree(agreements.items(people, verdicts, item, labelled, seed), seed=seed)
    if json:
        as_json(found)
        return
    say(f"  {found.items} items with {found.votes} votes by people")
    say(f"  agreement  {_share(found.agreement)} of people's votes are the judge's")
    kappa = found.kappa
    say(f"  kappa      {kappa.value:.2f} [{kappa.low:.2f}, {kappa.high:.2f}] judge against the people's majority")
    if found.among_people is not None:
        say(f"  people     alpha {found.among_people:.2f} among themselves")
    say()
    table(
        ["share won by", "people alone", "judge alone", "corrected", "items"],
        [
            [each.what, _share(each.people), _share(each.judge), _share(each.corrected), each.items]
            for each in (found.left, *sorted(found.models, key=lambda each: -each.judge.value))
        ],
    )


def _share(figure: Interval | None) -> str:
    return f"{figure.value:.1%} [{figure.low:.1%}, {figure.high:.1%}]" if figure else "–"
