"""`freehold tasks`: what the captured traffic is made of, and which task to own first."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from freehold.cli.output import as_json, say, table
from freehold.decision.page import money
from freehold.decision.planner import Prospect, prospects
from freehold.decision.power import about
from freehold.decision.ranges import Range, exactly
from freehold.decision.tasks import Group, split
from freehold.decision.traffic import Seen
from freehold.engines.llamacpp_embedder import embedder_of
from freehold.errors import NotFoundError, UserError
from freehold.evaluation.scorers.similarity import MODEL as EMBEDDER
from freehold.records import Plan
from freehold.store.database import connect
from freehold.store.exchanges import Exchange, Feedback
from freehold.store.traffic import Spent, costed
from freehold.store.workspace import Workspace

_HOURS_A_DAY = 24
_READ = 600  # characters of a message that tell its meaning


def tasks(
    machine: Annotated[
        str | None, typer.Option(help="What the machine that would answer costs an hour: 0.04, or 0.03-0.06.")
    ] = None,
    margin: Annotated[
        float, typer.Option(help="The loss that would be accepted; sets how much feedback it takes.")
    ] = 0.05,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Split the captured traffic into tasks, and rank which to own first."""
    if not 0 < margin < 1:
        raise UserError(f"--margin is {margin}; it lies between 0 and 1")
    per_day = _per_day(machine)
    workspace = Workspace.here()
    seen = list(captured(workspace))
    plan = Plan(metric="accuracy", margin=margin, confidence=0.95, seed=0)
    found = prospects(_split(workspace, seen), plan, per_day)
    if json:
        as_json([_json(each) for each in found])
        return
    table(
        ["task", "requests", "spend a day", "answers", "data to tune", "judged", "saving if owned", "own first?"],
        [_row(each) for each in found],
    )
    covered = f"{found[0].days} {'day' if found[0].days == 1 else 'days'}"
    say(f"\n  {len(seen):,} requests over {covered} · told apart by system prompt, template and meaning")
    if not _embedder(workspace).is_dir():
        say(f"  meaning is told by words alone; `freehold pull {EMBEDDER}` tells assorted questions apart as well")
    if machine is None:
        say("  savings need what a machine costs: --machine 0.04 (an hour)")


def of_task(workspace: Workspace, name: str) -> Sequence[Seen]:
    """The captured requests of one task; raises `NotFoundError` that lists the tasks there are."""
    groups = {group.name: group.seen for group in _split(workspace, list(captured(workspace)))}
    if name not in groups:
        raise NotFoundError(f"the traffic holds no task {name}; it holds {', '.join(groups)}")
    return groups[name]


def _split(workspace: Workspace, seen: Sequence[Seen]) -> list[Group]:
    """The tasks in the traffic, told apart with the embedding model where it is on this disk."""
    if not _embedder(workspace).is_dir():
        return split(seen)
    embedder = embedder_of(_embedder(workspace))

    def embed(texts: Sequence[str]) -> list[tuple[float, ...]]:
        embedder.start()
        readable = [text[:_READ] if text.strip() else "-" for text in texts]
        return [each.vector for each in embedder.embed(readable, cut=True)]

    try:
        return split(seen, embed)
    finally:
        embedder.stop()


def _embedder(workspace: Workspace) -> Path:
    return workspace.models / EMBEDDER


def captured(workspace: Workspace) -> Iterator[Seen]:
    """The workspace's captured requests; raises `NotFoundError` where there are none."""
    nothing = NotFoundError(f"{workspace.root}: no traffic was captured yet; `freehold serve` records it")
    if not workspace.root.exists():
        raise nothing
    empty = True
    for exchange, spent, said in costed(connect(workspace.database_url)):
        empty = False
        yield _seen(exchange, spent, said)
    if empty:
        raise nothing


def _seen(exchange: Exchange, spent: Spent, said: Feedback | None) -> Seen:
    system, user = _asked(exchange.request or "")
    return Seen(
        id=exchange.id,
        at=exchange.at,
        model=exchange.model,
        system=system,
        user=user,
        answer=answered(exchange.answer or ""),
        session=exchange.session,
        verdict=said.verdict if said else None,
        correction=said.correction if said else None,
        attempts=spent.attempts,
        input_tokens=spent.input_tokens,
        output_tokens=spent.output_tokens,
        cost=spent.cost,
        currency=spent.currency,
    )


def _asked(request: str) -> tuple[str, str]:
    """System prompt and last message, in any of the dialects that the gateway records."""
    body = _object(request)
    turns = body.get("messages") or body.get("input") or body.get("prompt") or ""
    if isinstance(turns, str):
        return _text(body.get("system") or body.get("instructions")), turns
    turns = [turn for turn in turns if isinstance(turn, dict)]
    system = [_text(turn.get("content")) for turn in turns if turn.get("role") in ("system", "developer")]
    users = [_text(turn.get("content")) for turn in turns if turn.get("role") == "user"]
    stated = _text(body.get("system") or body.get("instructions"))
    return "\n".join([stated, *system]).strip(), users[-1] if users else ""


def answered(answer: str) -> str | None:
    """The text of a recorded answer, in any of the dialects; None where there is none."""
    body = _object(answer)
    choices = body.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        message = choices[0].get("message")
        return _text(message.get("content") if isinstance(message, dict) else choices[0].get("text")) or None
    return _text(body.get("content") or body.get("output_text")) or None


def _text(content: object) -> str:
    """Text as it is, or the joined text parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def _object(text: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return {}
    return found if isinstance(found, dict) else {}


def _per_day(machine: str | None) -> Range | None:
    if machine is None:
        return None
    wrong = UserError(f"--machine is {machine}; write what an hour costs: 0.04, or 0.03-0.06")
    try:
        low, high = (Decimal(part) for part in (machine.split("-") if "-" in machine else [machine, machine]))
    except (InvalidOperation, ValueError):
        raise wrong from None
    if not (low.is_finite() and high.is_finite() and 0 <= low <= high):
        raise wrong
    return Range(low, (low + high) / 2, high).times(exactly(_HOURS_A_DAY))


def _row(each: Prospect) -> list[object]:
    saving = f"{money(each.saving)} {each.currency} a day" if each.saving else "unknown"
    spend = f"{money(each.spend)} {each.currency}" if each.spend else "unknown"
    judged = f"{each.references:,} of ~{about(each.references_needed)}"
    return [each.task, f"{each.requests:,}", spend, each.answer, each.data, judged, saving, each.advice]


def _json(each: Prospect) -> dict[str, Any]:
    def plain(amount: Range | None) -> dict[str, str] | None:
        return {name: f"{round(value, 9):f}" for name, value in amount._asdict().items()} if amount else None

    return {**asdict(each), "spend": plain(each.spend), "saving": plain(each.saving)}
