"""A deployment's service objectives, and how much of each one's error budget is left.

An objective allows a share of requests to fail it: one minus the availability, and one in twenty for a p95. The budget
is that many requests of the last 30 days; what is left is the part that failures have not used up (Beyer and others
2018, *The Site Reliability Workbook*, chapter 2).
"""

import time

from freehold.records import Record
from freehold.store.database import Store
from freehold.store.deployments import Deployment
from freehold.store.traffic import service

WINDOW_DAYS = 30
_SLOW_SHARE = 0.05
_US_A_DAY = 86_400_000_000


class Budget(Record, frozen=True, kw_only=True):
    """One objective over the window. `left` is the share (of 1) of its error budget; below 0 it is overspent.

    `left` is None where nothing was asked yet. `failed` of `n` requests missed the objective, `allowed` may.
    """

    objective: str
    n: int
    failed: int
    allowed: float
    left: float | None


def budgets(store: Store, deployment: Deployment, now_us: int | None = None) -> list[Budget]:
    """The error budget of each objective that a deployment has; a client that hung up is nobody's failure."""
    slo = deployment.slo
    if slo is None:
        return []
    since = (time.time_ns() // 1000 if now_us is None else now_us) - WINDOW_DAYS * _US_A_DAY
    seen = service(store, deployment.name, since, slo.p95_ms)
    found = []
    if slo.availability is not None:
        found.append(_budget(f"availability {slo.availability:.4g}", seen.n, seen.failed, 1 - slo.availability))
    if slo.p95_ms is not None:
        found.append(_budget(f"p95 {slo.p95_ms:g} ms", seen.n - seen.failed, seen.slow, _SLOW_SHARE))
    return found


def _budget(objective: str, n: int, failed: int, share: float) -> Budget:
    allowed = n * share
    left = 1 - failed / allowed if allowed else None
    return Budget(objective=objective, n=n, failed=failed, allowed=allowed, left=left)
