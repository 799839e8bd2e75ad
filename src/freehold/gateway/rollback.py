"""A canary that crosses its bounds goes back by itself: once, with a row that says why (`decision/rollback.py` rules).

Quality is paired in order: the n-th judged answer of the canary with the n-th judged answer of what it would replace.
Sessions fall to either by hash, so both see the same kind of work. What failed or was disputed is written under
`review/`, the next review queue.
"""

import asyncio
import logging
from collections.abc import Sequence

from msgspec.structs import replace

from freehold.decision.rollback import Observation, Ruling, rule
from freehold.errors import NotFoundError
from freehold.gateway.sources import Failure
from freehold.records import Record
from freehold.store.database import Store
from freehold.store.deployments import Deployment, RemoteTarget, Target, all_current, canary_since, deploy, target_name
from freehold.store.traffic import Attempted, attempted
from freehold.store.workspace import Workspace, read_record, write_record

log = logging.getLogger(__name__)

WATCH_EVERY_S = 10.0
# What a target is to blame for; a request that was wrong, too long or broken off by its client is not.
_BLAMED = {Failure.SERVER, Failure.TIMEOUT, Failure.RATE_LIMIT, Failure.BAD_KEY}


class ReviewQueue(Record, frozen=True, kw_only=True):
    """What a person should look at after a canary went back: exchange ids, and why it did."""

    name: str
    row: int
    reasons: tuple[str, ...]
    exchanges: tuple[str, ...]


def newest_queue(workspace: Workspace, name: str) -> ReviewQueue:
    """The queue that the name's last rollback left; raises `NotFoundError` where there was none."""
    found = [read_record(path, ReviewQueue) for path in (workspace.root / "review").glob("*.json")]
    of_name = [queue for queue in found if queue.name == name]
    if not of_name:
        raise NotFoundError(f"no canary of {name} has gone back; there is nothing to review")
    return max(of_name, key=lambda queue: queue.row)


async def watch(workspace: Workspace, store: Store) -> None:
    """Rule on every canary for ever."""
    while True:
        await asyncio.sleep(WATCH_EVERY_S)
        try:
            await asyncio.to_thread(watch_once, workspace, store)
        except Exception as error:  # the store is down: canaries stay as they are, loudly
            log.error("the canaries cannot be watched: %s", error)


def watch_once(workspace: Workspace, store: Store) -> list[str]:
    """Send back every canary that has crossed its bounds; returns their names."""
    back = [name for name, each in all_current(store).items() if each.shares and ruling(store, each).back]
    for name in back:
        go_back(workspace, store, name)
    return back


def go_back(workspace: Workspace, store: Store, name: str) -> Ruling:
    """Take the canary's shares away if it has crossed its bounds and is still there; otherwise change nothing."""
    deployment = all_current(store)[name]
    found = ruling(store, deployment)
    if found.back:
        row = deploy(store, replace(deployment, shares=()), "rolled back: " + "; ".join(found.reasons))
        log.warning("%s: the canary went back: %s", name, "; ".join(found.reasons))
        queue = ReviewQueue(name=name, row=row, reasons=found.reasons, exchanges=found.review)
        write_record(workspace.root / "review" / f"{name}-{row}.json", queue)
    return found


def ruling(store: Store, deployment: Deployment) -> Ruling:
    """How a deployment's canary stands; one that has no shares has gone back already, or never began."""
    seen = attempted(store, deployment.name, canary_since(store, deployment.name))
    canaries = {_source(deployment, share.target) for share in deployment.shares}
    return rule(deployment.bounds, _observations(seen, canaries), gone_back=not deployment.shares)


def _observations(seen: Sequence[Attempted], canaries: set[str]) -> list[Observation]:
    """One for each request that the canary was tried for."""
    tried: dict[str, list[Attempted]] = {}
    for each in seen:
        if each.target in canaries and (each.outcome == "ok" or each.outcome in _BLAMED):
            tried.setdefault(each.exchange, []).append(each)
    others = [
        _score(each) for each in seen if each.answered_by not in canaries and each.verdict and each.outcome == "ok"
    ]
    against = iter(others)
    found = []
    for name, attempts in tried.items():
        last = attempts[-1]
        judged = last.verdict is not None and last.answered_by in canaries
        pair = next(against, None) if judged else None
        found.append(
            Observation(
                id=name,
                latency_ms=sum(each.seconds for each in attempts) * 1000,
                failed=last.outcome != "ok",
                score=_score(last) if pair is not None else None,
                against=pair,
            )
        )
    return found


def _score(each: Attempted) -> float:
    return float(each.verdict == "accepted")


def _source(deployment: Deployment, target: Target) -> str:
    """The name that attempts at a target are recorded under (`routes.py`)."""
    if isinstance(target, RemoteTarget):
        return f"{target.base_url.rstrip('/')}#{target.model}"
    return f"{deployment.name}: {target_name(target)}"
