"""`freehold data …`: what is in the data, and whether it can be trusted."""

from pathlib import Path
from typing import Annotated

import typer

from freehold.cli.output import as_json, say, table
from freehold.progress import SILENT

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_SHOWN = 20


@app.callback()
def data() -> None:
    """What is in the data, and whether it can be trusted."""


@app.command()
def contamination(
    train: Annotated[Path, typer.Argument(help="Training data: a file or a folder of files.")],
    against: Annotated[Path, typer.Option(help="The benchmark: a file or a folder of files.")],
    column: Annotated[str | None, typer.Option(help="The benchmark's column that holds its items.")] = None,
    json: JsonOption = False,
) -> None:
    """Which items of a benchmark stand in the training data."""
    from freehold.data import contamination as search
    from freehold.data.corpus import documents, items

    found = search.contamination(documents(train), items(against, column), SILENT)
    if json:
        return as_json(found)
    share = found.contaminated / found.benchmark_items
    say(f"{found.contaminated:,} of {found.benchmark_items:,} benchmark items ({share:.1%}) stand in the training data")
    say(f"searched {found.documents:,} texts, {found.characters:,} characters, for n-grams of {search.LENGTH} words")
    if found.without_words:
        say(f"{found.without_words:,} items hold no word and cannot be judged")
    if found.items:
        table(["item", "found in", "n-gram"], [[each.item, each.found_in, each.ngram] for each in found.items[:_SHOWN]])
    if len(found.items) > _SHOWN:
        say(f"… and {len(found.items) - _SHOWN:,} more; --json lists all")
