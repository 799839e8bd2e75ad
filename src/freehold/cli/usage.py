"""`freehold usage`: what was used and what it cost."""

import csv
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli.amounts import exact, recorded
from freehold.cli.output import as_json, say, table
from freehold.errors import UserError
from freehold.store.workspace import Workspace

if TYPE_CHECKING:
    from freehold.store.usage import Line

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_FIGURES = ("requests", "attempts", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


def usage(
    by: Annotated[str, typer.Option(help="What to add up by: any of key, model, day, tag, with commas.")] = "key,model",
    csv_rows: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    json: JsonOption = False,
) -> None:
    """What was used and what it cost: by key and model, or by what you name."""
    from freehold.gateway.prices import money
    from freehold.store import usage as bill

    wanted = [each.strip() for each in by.split(",")]
    wrong = [each for each in wanted if each not in ("key", "model", "day", "tag")]
    if wrong:
        raise UserError(f"--by: {wrong[0]!r} is none of key, model, day, tag")
    lines = bill.lines(recorded(), wanted)  # type: ignore[arg-type]  # checked above
    rows = [[getattr(line, each) or "–" for each in wanted] + _figures(line) for line in lines]
    if json:
        as_json([_line_document(line) for line in lines])
    elif csv_rows:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([*wanted, *_FIGURES, "cost", "currency", "unpriced"])
        for row, line in zip(rows, lines, strict=True):
            writer.writerow([*row, exact(line.cost) if line.currency else "", line.currency or "", line.unpriced])
    else:
        costs = [money(line.cost, line.currency) if line.currency else "unknown" for line in lines]
        ends = [[_cached(line), cost] for line, cost in zip(lines, costs, strict=True)]
        table(
            [*wanted, *_FIGURES, "prompt cached", "cost"], [[*row, *end] for row, end in zip(rows, ends, strict=True)]
        )
        _say_unverified({line.model for line in lines if line.model})


def _say_unverified(models: set[str]) -> None:
    """Name the prices that nobody has held against their source."""
    from freehold.gateway.prices import read

    prices, now = read(Workspace.here().root), time.time_ns() // 1000
    found = {model: prices.of(model, now) for model in sorted(models)}
    for model, price in found.items():
        if price is not None and not price.verified:
            say(
                f"  unverified: the price of {model} since {price.since} ({price.source}); yours belongs in prices.json"
            )


def _figures(line: "Line") -> list[int]:
    return [getattr(line, name) for name in _FIGURES]


def _cached(line: "Line") -> str:
    """The prefix cache's hit rate: the share of prompt tokens that were not computed again."""
    return f"{line.cached_tokens / line.input_tokens:.0%}" if line.input_tokens else "–"


def _line_document(line: "Line") -> dict[str, object]:
    import msgspec

    document: dict[str, object] = msgspec.to_builtins(line)
    document["cost_pico"] = document["cost"]
    document["cost"] = exact(line.cost) if line.currency else None
    return document
