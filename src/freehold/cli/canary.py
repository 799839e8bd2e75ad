"""`freehold decision watch` and `rollback`: live pairs and a canary's observations, read from a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from freehold.cli.output import as_json, say
from freehold.cli.tasks import answered
from freehold.decision.backtest import reference, same
from freehold.decision.certificate import spell
from freehold.decision.power import percent
from freehold.decision.rollback import Observation, Ruling, rule
from freehold.decision.sequence import Watch, observe, verdict
from freehold.errors import DataError, NotFoundError
from freehold.records import Bounds, Interval, Plan, Record, Verdict
from freehold.store.database import connect
from freehold.store.traffic import shadowed
from freehold.store.workspace import Workspace

_LOOKS = 200
_STANDARD = Bounds()

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
MarginOption = Annotated[float, typer.Option(help="The loss that would still be accepted, such as 0.02.")]
ConfidenceOption = Annotated[float, typer.Option(help="Of every bound, at all times at once.")]

R = TypeVar("R", bound=Record)


class Pair(Record, frozen=True, kw_only=True):
    """One request that both sides answered, each scored in 0..1."""

    candidate: float
    against: float


def watch(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="JSON lines: {candidate: 0..1, against: 0..1}; left out: the workspace's judged shadow traffic.",
            metavar="[PAIRS]",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only the shadow traffic of this public model name.")] = None,
    margin: MarginOption = 0.02,
    confidence: ConfidenceOption = 0.95,
    json: JsonOption = False,
) -> None:
    """Bound the difference on live pairs, however often you look; says from which pair on it was decided."""
    _fractions(margin=margin, confidence=confidence)
    pairs = list(_pairs(path) if path else _shadow_pairs(Workspace.here(), model))
    plan = Plan(metric="live pairs", margin=margin, confidence=confidence, seed=0, stopping="any time")
    state, decided, outcome = Watch(confidence), None, Verdict.NEED_MORE_DATA
    step = max(1, len(pairs) // _LOOKS)
    for at in range(0, len(pairs), step):
        state = observe(state, pairs[at : at + step])
        if decided is None and (outcome := verdict(state, plan)) is not Verdict.NEED_MORE_DATA:
            decided = state.n
    found = {"verdict": outcome.value, "decided_at": decided, "n": state.n, "difference": state.mean}
    if json:
        as_json({**found, "low": max(-1.0, state.low), "high": min(1.0, state.high), "margin": margin})
        return
    say(f"  pairs      {state.n:,}")
    if state.mean is not None:
        bounds = Interval(value=state.mean, low=max(-1.0, state.low), high=min(1.0, state.high), n=state.n, method="")
        say(f"  difference {spell(bounds)} points")
    say(f"  verdict    {outcome.value}" + (f", since pair {decided:,}" if decided else ""))
    say(f"  bounds     each {percent(confidence)}, one-sided, at all times at once (Waudby-Smith and Ramdas 2024)")


def rollback(
    path: Annotated[Path, typer.Argument(help="JSON lines, one request of the canary each.", metavar="OBSERVATIONS")],
    margin: MarginOption = _STANDARD.margin,
    error_rate: Annotated[float, typer.Option(help="Share of requests that may fail.")] = _STANDARD.error_rate,
    latency_ms: Annotated[float, typer.Option(help="What counts as slow.")] = _STANDARD.latency_ms,
    slow_rate: Annotated[float, typer.Option(help="Share of requests that may be slow.")] = _STANDARD.slow_rate,
    json: JsonOption = False,
) -> None:
    """Explain whether a canary would go back, and why; changes nothing."""
    _fractions(margin=margin, error_rate=error_rate, slow_rate=slow_rate)
    bounds = Bounds(margin=margin, error_rate=error_rate, latency_ms=latency_ms, slow_rate=slow_rate)
    print_ruling(rule(bounds, list(_lines(path, Observation))), json)


def print_ruling(ruling: Ruling, json: bool) -> None:
    """Whether a canary goes back, why, how every watch stands, and what to review."""
    if json:
        as_json({"back": ruling.back, "reasons": ruling.reasons, "watches": ruling.told, "review": ruling.review})
        return
    say(f"  canary     {'goes back' if ruling.back else 'stays'}")
    for reason in ruling.reasons:
        say(f"             {reason}")
    for line in ruling.told:
        say(f"  watch      {line}")
    say(f"  review     {len(ruling.review):,} disputed: {', '.join(ruling.review[:5]) or 'none'}")


def _pairs(path: Path) -> Iterator[float]:
    for at, pair in enumerate(_lines(path, Pair), start=1):
        for side, score in (("candidate", pair.candidate), ("against", pair.against)):
            if not 0 <= score <= 1:
                raise DataError(f"{path}:{at}: {side} is {score}; a score lies between 0 and 1")
        yield pair.candidate - pair.against


def _shadow_pairs(workspace: Workspace, model: str | None) -> Iterator[float]:
    """Differences, shadow minus served, on the requests whose served answer was accepted or corrected."""
    if not workspace.root.exists():
        raise NotFoundError(f"{workspace.root}: no traffic was captured yet; `freehold serve` records it")
    for served, shadow, said in shadowed(connect(workspace.database_url), model):
        answer, beside = answered(served.answer or ""), answered(shadow.answer or "")
        right = reference(answer or "", said.verdict, said.correction)
        if right is not None and answer is not None and beside is not None:
            yield float(same(beside, right)) - float(same(answer, right))


def _lines(path: Path, kind: type[R]) -> Iterator[R]:
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as handle:
        for at, line in enumerate(handle, start=1):
            if not line.strip():
                raise DataError(f"{path}:{at}: is empty; write one JSON object a line")
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise DataError(f"{path}:{at}: {str(error)[0].lower()}{str(error)[1:]}") from None


def _fractions(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < 1:
            raise DataError(f"--{name.replace('_', '-')} is {value}; it lies between 0 and 1")
