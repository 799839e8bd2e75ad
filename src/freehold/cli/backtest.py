"""`freehold decision backtest`: the past traffic of a task, answered again by a deployed model.

Answers are kept as they come under `backtests/`, by deployment and message, so that an interrupted replay goes on.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import typer

from freehold.cli import costs
from freehold.cli.output import as_json, say, table
from freehold.cli.progress import Terminal
from freehold.cli.tasks import of_task
from freehold.data import freeze, leakage
from freehold.decision.backtest import Backtest, backtest, owned_cost
from freehold.decision.certificate import spell
from freehold.decision.page import money
from freehold.decision.traffic import Seen
from freehold.errors import UserError
from freehold.gateway.chat import Reply
from freehold.records import Interval, Split, canonical, digest
from freehold.store.database import connect
from freehold.store.deployments import current
from freehold.store.workspace import Workspace

_WIDTH = 60


def backtest_command(
    name: Annotated[str, typer.Argument(help="The deployed model that would have answered.")],
    of: Annotated[str, typer.Option("--of", help="The task of the traffic, as `freehold tasks` names it.")],
    on: Annotated[datetime, typer.Option("--on", formats=["%Y-%m-%d"], help="The day of the switch (UTC).")],
    sheet: Annotated[Path | None, typer.Option("--costs", help="A cost sheet, for what it would have cost.")] = None,
    option: Annotated[str, typer.Option(help="The sheet's option that stands for the model.")] = "tuned",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what would have been served, and at what cost, had we switched on a day in the past."""
    workspace = Workspace.here()
    since = on.replace(tzinfo=UTC).timestamp() * 1e6
    seen = [each for each in of_task(workspace, of) if each.at >= since and each.answer is not None]
    if not seen:
        raise UserError(f"{of} has no answered request on or after {on:%Y-%m-%d}; choose an earlier day with --on")
    seen, learned = _unlearned(workspace, name, seen)
    cost = owned_cost(costs.load(sheet), _known(sheet, option), seen) if sheet else None
    found = backtest(seen, _answers(workspace, name, seen), cost)
    if json:
        as_json({**_json(found), "left_out": learned})
        return
    _print(found, name, f"{on:%Y-%m-%d}")
    if learned:
        say(f"  left out   {learned:,} requests that {name} has learned from, or near-duplicates of such")


def _known(sheet: Path, option: str) -> str:
    return costs.owned(costs.load(sheet), option)[0]


class _Asked(NamedTuple):
    """A request as the leak check sees it."""

    text: str
    session: str | None
    origin: str


def _unlearned(workspace: Workspace, name: str, seen: Sequence[Seen]) -> tuple[list[Seen], int]:
    """The requests that the model was not trained on, nor on their near-duplicates or sessions; and how many it was.

    Raises `UserError` where none is left: what a model has learned says nothing of what it can do.
    """
    dataset = current(connect(workspace.database_url), name).evidence.get("dataset")
    if dataset is None:
        return list(seen), 0
    learned = [each for each in freeze.examples(workspace, dataset) if each.split is not Split.HELD_OUT]
    asked = [_Asked(each.user, each.session, each.id) for each in seen]
    known = {request for request, _ in leakage.leaks(asked, learned)}
    rest = [each for each in seen if each.id not in known]
    if not rest:
        raise UserError(
            f"{name} has learned from every one of these {len(seen):,} requests; choose a later day with --on"
        )
    return rest, len(known)


def _answers(workspace: Workspace, name: str, seen: Sequence[Seen]) -> dict[str, str]:
    """The model's answer to every request, by id: those that are kept, and the others asked now."""
    from freehold.gateway import backends
    from freehold.gateway.ask import ask_each

    deployment = current(connect(workspace.database_url), name)
    path = workspace.root / "backtests" / f"{digest(deployment.target)}.jsonl"
    kept = _kept(path)
    missing = list(dict.fromkeys(each.user for each in seen if each.user not in kept))
    waiting = iter(missing)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as handle, Terminal().step("replay", len(missing)) as step:

        def heard(reply: Reply) -> None:
            message = next(waiting)
            kept[message] = reply.text
            handle.write(canonical([message, reply.text]) + b"\n")
            handle.flush()
            step.advance()

        if missing:
            ask_each(workspace, backends.of(workspace), name, missing, heard)
    return {each.id: kept[each.user] for each in seen}


def _kept(path: Path) -> dict[str, str]:
    """What was answered before; a last line that was cut off is asked again."""
    if not path.exists():
        return {}
    whole = path.read_bytes().rpartition(b"\n")[0].splitlines()
    path.write_bytes(b"".join(line + b"\n" for line in whole))
    return dict(msgspec.json.decode(line, type=tuple[str, str]) for line in whole)


def _print(found: Backtest, name: str, day: str) -> None:
    days = f"{found.days} {'day' if found.days == 1 else 'days'}"
    say(f"  had {name} answered since {day}: {found.requests:,} requests over {days}")
    say(f"  different  {_share(found.different)} of the answers would have read otherwise")
    if found.difference is None:
        say("  quality    unknown: none of these answers was accepted or corrected")
    else:
        say(f"  quality    {_share(found.owned_right)} right, against {_share(found.served_right)} served")
        say(f"  difference {spell(found.difference)} points on {found.judged:,} judged")
        say("             an accepted answer is the reference of its request, which favours what was served")
    served = f"{found.served_cost:,.2f} {found.currency}" if found.served_cost is not None else "unknown: no price"
    say(f"  cost       {money(found.owned_cost)} against {served}")
    if found.mistakes:
        say("\n  would have been wrong")
        rows = [[_short(each.message), _short(each.owned), _short(each.reference or "")] for each in found.mistakes]
        table(["message", "answer", "right"], rows)


def _json(found: Backtest) -> dict[str, Any]:
    cost = found.owned_cost
    return {
        "requests": found.requests,
        "days": found.days,
        "different": found.different,
        "judged": found.judged,
        "served_right": found.served_right,
        "owned_right": found.owned_right,
        "difference": found.difference,
        "served_cost": str(found.served_cost) if found.served_cost is not None else None,
        "owned_cost": {key: f"{round(each, 9):f}" for key, each in cost._asdict().items()} if cost else None,
        "currency": found.currency,
        "mistakes": found.mistakes,
    }


def _share(interval: Interval | None) -> str:
    if interval is None:
        return "unknown"
    return f"{interval.value * 100:.1f} % [{interval.low * 100:.1f}, {interval.high * 100:.1f}]"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
