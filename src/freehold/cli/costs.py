"""`freehold decision sheet`, `cost`, `break-even` and `what-if`: what it costs either way, from a cost sheet."""

from contextlib import suppress
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from functools import reduce
from pathlib import Path
from typing import Annotated, Any

import typer

from freehold.cli.amounts import recorded
from freehold.cli.evaluation import newest_report
from freehold.cli.output import as_json, say, table
from freehold.cli.tasks import of_task
from freehold.decision import cost_sheet, measured, scenarios
from freehold.decision.break_even import BreakEven, Span, break_even
from freehold.decision.cost_sheet import Sheet
from freehold.decision.costs import Cost, costs
from freehold.decision.page import money, span, thousand
from freehold.decision.pictures import break_even_curve, tornado
from freehold.decision.ranges import Range
from freehold.errors import NotFoundError, UndeterminedError, UserError
from freehold.evaluation import report as reports
from freehold.gateway.cascade import all_measured
from freehold.store.workspace import Workspace, write_atomically

SheetArgument = Annotated[Path, typer.Argument(help="The cost sheet; see docs/costs.md.", metavar="[SHEET]")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
OptionOption = Annotated[str | None, typer.Option("--option", help="Which option; left out: every one but the rented.")]

OfOption = Annotated[str | None, typer.Option("--of", help="Measure the traffic of this task (see `freehold tasks`).")]

DEFAULT_SHEET = Path("costs.yaml")

_TEMPLATE = """\
# What Freehold cannot measure. A figure is a number, a pair of bounds [low, high], or {low, value, high, source}.
# Leave out what you do not know: it stays unknown, and what depends on it says so. docs/costs.md lists every field.
currency: USD
# rates: {EUR: 1.08}           # what one unit of another currency is in this one
traffic:
  jobs: [15000, 21000]         # a month; a job is one request and its follow-ups
  # active_users: 120
  # growth: 0.02               # a month
amortise_months: 12
# start: 2026-12-01            # break-even dates are counted from here
options:
  incumbent:                   # measured: accepted share and tokens, where a report holds the incumbent
    prices:
      - {form: tokens, input: 0.15, output: 0.60, per: 1M, source: the vendor's price page}
    attempts: 1.02             # upstream attempts a request
    turns: [1.1, 1.3]          # requests a job, follow-ups included
  tuned:                       # measured: accepted share and machine time, from the newest report
    prices:
      - {form: machine, per_hour: 0.04, source: the price of a small virtual machine}
      - {form: tuning, hours: 1, per_hour: 0.04, times_a_year: 4}
      - {form: hours, what: labelling, hours: [8, 16], rate: 40, per: once}
      - {form: hours, what: running it, hours: [1, 3], rate: 60, per: month}
machines:                      # your own table, for `freehold decision what-if --machine`
  laptop: {per_hour: 0.02, speed: 1}
"""


def sheet(path: SheetArgument = DEFAULT_SHEET) -> None:
    """Write a cost sheet to fill in, never over an old one."""
    if path.exists():
        raise UserError(f"{path}: exists already; name another file or delete it first")
    write_atomically(path, _TEMPLATE.encode())
    say(f"wrote {path}; next: put your own figures in, then `freehold decision cost {path}`")


def cost(path: SheetArgument = DEFAULT_SHEET, of: OfOption = None, json: JsonOption = False) -> None:
    """Show what an accepted answer costs, for every option, as a range with its lines."""
    made = load(path, of)
    found = costs(made)
    if json:
        as_json([cost_json(each) for each in found])
        return
    print_costs(found)
    for each in found:
        _print_lines(each)


def print_costs(found: list[Cost]) -> None:
    """One row an option."""
    currency = found[0].currency
    headers = ["option", f"{currency} per 1,000 accepted", "a month", "once", "per active user"]
    rows = [
        [
            each.option,
            thousand(each.per_accepted),
            money(each.monthly),
            money(each.once),
            money(each.per_active_user) if each.per_active_user else "–",
        ]
        for each in found
    ]
    table(headers, rows)
    for each in found:
        if each.unknown:
            say(f"  {each.option}: {each.unknown}")


def break_even_command(
    path: SheetArgument = DEFAULT_SHEET,
    of: OfOption = None,
    option: OptionOption = None,
    svg: Annotated[Path | None, typer.Option("--svg", help="Also write the picture, two drawings in one page.")] = None,
    json: JsonOption = False,
) -> None:
    """Show from which volume and which day owning pays, and what that depends on."""
    made = load(path, of)
    found = [break_even(made, name) for name in owned(made, option)]
    if svg is not None:
        drawn = "\n".join(break_even_curve(each) + "\n" + tornado(each) for each in found)
        write_atomically(svg, f"<!doctype html><meta charset=utf-8><title>Break-even</title>\n{drawn}\n".encode())
    if json:
        as_json([_break_even_json(each) for each in found])
        return
    for each in found:
        print_break_even(each)
    if svg is not None:
        say(f"  picture    {svg}")


def what_if(
    changes: Annotated[list[str], typer.Argument(help="price=2 traffic=0.5 bigger=4 machine=NAME", metavar="CHANGE…")],
    path: Annotated[Path, typer.Option("--sheet", help="The cost sheet.")] = DEFAULT_SHEET,
    option: OptionOption = None,
    json: JsonOption = False,
) -> None:
    """Reckon the costs again: the rented price, the traffic, the base's size (so many times), or another machine."""
    before = load(path)
    after = before
    for change in changes:
        after = _changed(after, change, option)
    if json:
        both = {"before": before, "after": after}
        as_json({name: [cost_json(each) for each in costs(made)] for name, made in both.items()})
        return
    say("  as it is")
    print_costs(costs(before))
    say(f"\n  {' · '.join(changes)}")
    print_costs(costs(after))


def _changed(made: Sheet, change: str, option: str | None) -> Sheet:
    """The sheet after one `name=value`."""
    name, _, value = change.partition("=")
    names = [each for each in owned(made, option) if each in made.options]
    if name == "machine":
        return reduce(lambda sheet, each: scenarios.another_machine(sheet, each, value), names, made)
    if name == "traffic":
        return scenarios.traffic(made, _factor(change, value))
    if name == "bigger":
        return reduce(lambda sheet, each: scenarios.bigger_base(sheet, each, _factor(change, value)), names, made)
    if name == "price":
        if made.rented is None:
            raise UserError("price= needs to know which option is rented: name it with `incumbent:` in the sheet")
        return scenarios.vendor_price(made, made.rented, _factor(change, value))
    raise UserError(f"{change}: is not a change; write price=2, traffic=0.5, bigger=4 or machine=NAME")


def _factor(change: str, value: str) -> Decimal:
    try:
        factor = Decimal(value)
    except InvalidOperation:
        factor = Decimal(0)
    if not factor.is_finite() or factor <= 0:
        raise UserError(f"{change}: {value or 'nothing'} is not a factor; write a number above 0")
    return factor


def reckoned(path: Path) -> tuple[list[Cost], list[BreakEven]]:
    """Costs of every option of a sheet, and break-even of those where it can be known."""
    made = load(path)
    pays = []
    for name in owned(made, None):
        with suppress(UndeterminedError):
            pays.append(break_even(made, name))
    return costs(made), pays


def read(path: Path) -> Sheet:
    """A sheet as it was written."""
    try:
        return cost_sheet.parse(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `freehold decision sheet {path}` writes one to fill in") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text; a cost sheet is YAML in UTF-8") from None


def load(path: Path, of: str | None = None) -> Sheet:
    """A sheet with its gaps filled: from the traffic of a task as `freehold tasks` names it, from what cascades passed
    on, and from the newest report."""
    made = read(path)
    workspace = Workspace.here()
    if any(each.deployment for each in made.cascades.values()):
        made = measured.fill_cascades(made, all_measured(recorded()))
    if of is not None:
        made = measured.fill_from_traffic(made, of_task(workspace, of))
    try:
        report = newest_report(workspace)
    except NotFoundError:
        return made
    return measured.fill(made, report, reports.read_rows(workspace, report))


def owned(made: Sheet, option: str | None) -> list[str]:
    """The options to set against the rented one; raises `NotFoundError` on a name that the sheet does not hold."""
    names = [*made.options, *made.cascades]
    if option is not None and option not in names:
        raise NotFoundError(f"no option {option} in the sheet; it holds {', '.join(names)}")
    return [option] if option else [name for name in names if name != made.rented]


def print_break_even(found: BreakEven) -> None:
    """One idea a line."""
    say(f"  {found.owned} against {found.rented}, for equally many accepted answers")
    say(f"    volume     {span(found.volume, lambda value: f'{value:,.0f}')} jobs a month")
    say(f"    pays back  {span(found.months, lambda value: f'{value:,.1f}')} months")
    if any(found.dates):
        best, expected, worst = (each.isoformat() if each else "never" for each in found.dates)
        say(f"    date       {expected} [{best}, {worst}]")
    for each in found.sensitivity:
        halved, doubled = ("never" if value is None else f"{value:,.1f}" for value in (each.halved, each.doubled))
        say(f"    {each.driver} halved: {halved} months · doubled: {doubled} months")


def cost_json(found: Cost) -> dict[str, Any]:
    """A cost as JSON: amounts as decimal strings, unbounded as null."""
    return {
        "option": found.option,
        "currency": found.currency,
        "per_accepted": _range_json(found.per_accepted),
        "monthly": _range_json(found.monthly),
        "running": _range_json(found.running),
        "once": _range_json(found.once),
        "per_active_user": _range_json(found.per_active_user),
        "unknown": found.unknown,
        "lines": [
            {"item": line.item, "amount": _range_json(line.amount), "once": line.once, "source": line.source}
            for line in found.lines
        ],
        "inputs": [
            {"name": each.name, "amount": _range_json(each.amount), "source": each.source} for each in found.inputs
        ],
    }


def _break_even_json(found: BreakEven) -> dict[str, Any]:
    """Amounts as decimal strings, never as null."""
    return {
        **asdict(found),
        "jobs": _range_json(found.jobs),
        "volume": _span_json(found.volume),
        "months": _span_json(found.months),
        "dates": dict(zip(("best", "expected", "worst"), found.dates, strict=True)),
        "curve": [
            {"jobs": _plain(each.jobs), "rented": _range_json(each.rented), "owned": _range_json(each.owned)}
            for each in found.curve
        ],
        "sensitivity": [
            {"driver": each.driver, "halved": _plain(each.halved), "doubled": _plain(each.doubled)}
            for each in found.sensitivity
        ],
    }


def _span_json(span: Span) -> dict[str, str | None]:
    return {"best": _plain(span.best), "expected": _plain(span.expected), "worst": _plain(span.worst)}


def _plain(value: Decimal | None) -> str | None:
    """To nine places, without an exponent; None for never and for unbounded."""
    return None if value is None or value.is_infinite() else f"{round(value, 9).normalize():f}"


def _range_json(amount: Range | None) -> dict[str, str | None] | None:
    if amount is None:
        return None
    return {name: _plain(each) for name, each in amount._asdict().items()}


def _print_lines(each: Cost) -> None:
    """The bill's lines, and the quantities that it was reckoned with."""
    if not each.lines:
        return
    say(f"\n  {each.option}, {each.currency} a month")
    bill = [(line.item, money(line.amount) + (" once" if line.once else ""), line.source) for line in each.lines]
    reckoned_with = [(f"· {given.name}", _quantity(given.amount), given.source) for given in each.inputs]
    table(["  item", "amount", "source"], [[f"  {item}", *rest] for item, *rest in [*bill, *reckoned_with]])


def _quantity(amount: Range) -> str:
    """`412`, `1.2 [1.1, 1.3]`."""
    low, value, high = (f"{each:,.4g}" if each < 1000 else f"{each:,.0f}" for each in amount)
    return value if low == high else f"{value} [{low}, {high}]"
