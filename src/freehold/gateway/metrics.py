"""What Prometheus reads at /metrics: counts and times, never content.

Source of the format: Prometheus text exposition format 0.0.4. Names that callers invent are no labels: a model that is
not deployed here counts as `upstream`.
"""

from bisect import bisect_left
from collections import Counter

import msgspec

from freehold.gateway.tokens import Tokens

_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Counts(msgspec.Struct):
    """Counters on their way from one process to another: labels and numbers."""

    requests: list[tuple[tuple[str, str, int], int]] = []
    attempts: list[tuple[tuple[str, str], int]] = []
    tokens: list[tuple[tuple[str, str], int]] = []
    guardrails: list[tuple[tuple[str, str, str], int]] = []
    guardrail_seconds: list[tuple[tuple[str, str], float]] = []
    cache: list[tuple[tuple[str, str], int]] = []
    buckets: list[int] = []
    seconds: float = 0.0


class Metrics:
    """Counters of one process, or of several together."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._buckets = [0] * (len(_BOUNDS_S) + 1)
        self._seconds = 0.0
        self._guardrails: Counter[tuple[str, str, str]] = Counter()
        self._guardrail_seconds: Counter[tuple[str, str]] = Counter()
        self._cache: Counter[tuple[str, str]] = Counter()

    def counts(self) -> Counts:
        """Everything that was counted so far."""
        return Counts(
            requests=list(self._requests.items()),
            attempts=list(self._attempts.items()),
            tokens=list(self._tokens.items()),
            guardrails=list(self._guardrails.items()),
            guardrail_seconds=list(self._guardrail_seconds.items()),
            cache=list(self._cache.items()),
            buckets=list(self._buckets),
            seconds=self._seconds,
        )

    def add(self, counts: Counts) -> None:
        """Count what another process counted, too."""
        self._requests.update(dict(counts.requests))
        self._attempts.update(dict(counts.attempts))
        self._tokens.update(dict(counts.tokens))
        self._guardrails.update(dict(counts.guardrails))
        self._cache.update(dict(counts.cache))
        for labels, seconds in counts.guardrail_seconds:
            self._guardrail_seconds[labels] += seconds  # type: ignore[assignment]  # a sum, and no count
        self._buckets = [own + other for own, other in zip(self._buckets, counts.buckets, strict=True)]
        self._seconds += counts.seconds

    def request(self, endpoint: str, model: str, status: int, seconds: float) -> None:
        self._requests[endpoint, model, status] += 1
        self._buckets[bisect_left(_BOUNDS_S, seconds)] += 1
        self._seconds += seconds

    def attempt(self, model: str, outcome: str, tokens: Tokens) -> None:
        self._attempts[model, outcome] += 1
        self._tokens[model, "input"] += tokens.input
        self._tokens[model, "cached"] += tokens.cached
        self._tokens[model, "output"] += tokens.output

    def guardrail(self, model: str, name: str, outcome: str, seconds: float) -> None:
        self._guardrails[model, name, outcome] += 1
        self._guardrail_seconds[model, name] += seconds  # type: ignore[assignment]  # a sum, and no count

    def cache(self, model: str, result: str) -> None:
        self._cache[model, result] += 1

    def text(self, gauges: dict[str, tuple[str, float]]) -> str:
        """Everything in Prometheus's words; `gauges` maps a name to its help and its value now."""
        lines = _head("freehold_requests_total", "counter", "Requests by endpoint, model and status.")
        for (endpoint, model, status), count in sorted(self._requests.items()):
            labels = f'endpoint="{endpoint}",model="{_escaped(model)}",status="{status}"'
            lines.append(f"freehold_requests_total{{{labels}}} {count}")
        lines += _head("freehold_attempts_total", "counter", "Attempts at targets by outcome.")
        for (model, outcome), count in sorted(self._attempts.items()):
            lines.append(f'freehold_attempts_total{{model="{_escaped(model)}",outcome="{outcome}"}} {count}')
        lines += _head(
            "freehold_tokens_total",
            "counter",
            "Tokens by model and direction; cached is the part of input not computed again.",
        )
        for (model, direction), count in sorted(self._tokens.items()):
            lines.append(f'freehold_tokens_total{{model="{_escaped(model)}",direction="{direction}"}} {count}')
        lines += self._ruled()
        lines += self._histogram()
        for name, (meaning, value) in gauges.items():
            lines += [*_head(name, "gauge", meaning), f"{name} {value:g}"]
        return "\n".join(lines) + "\n"

    def _ruled(self) -> list[str]:
        """What guardrails and caches did, where there are any."""
        lines: list[str] = []
        if self._guardrails:
            name = "freehold_guardrail_checks_total"
            lines += _head(name, "counter", "Guardrails checked, by what came of it.")
            for (model, guardrail, outcome), count in sorted(self._guardrails.items()):
                labels = f'model="{_escaped(model)}",guardrail="{_escaped(guardrail)}",outcome="{outcome}"'
                lines.append(f"{name}{{{labels}}} {count}")
            name = "freehold_guardrail_seconds_total"
            lines += _head(name, "counter", "Time that guardrails took.")
            for (model, guardrail), seconds in sorted(self._guardrail_seconds.items()):
                labels = f'model="{_escaped(model)}",guardrail="{_escaped(guardrail)}"'
                lines.append(f"{name}{{{labels}}} {seconds:.6f}")
        if self._cache:
            lines += _head("freehold_cache_requests_total", "counter", "Requests by whether the cache answered.")
            for (model, result), count in sorted(self._cache.items()):
                lines.append(f'freehold_cache_requests_total{{model="{_escaped(model)}",result="{result}"}} {count}')
        return lines

    def _histogram(self) -> list[str]:
        name = "freehold_request_seconds"
        lines, below = _head(name, "histogram", "Time from a request to its last byte."), 0
        for bound, count in zip(_BOUNDS_S, self._buckets, strict=False):
            below += count
            lines.append(f'{name}_bucket{{le="{bound:g}"}} {below}')
        total = sum(self._buckets)
        return [
            *lines,
            f'{name}_bucket{{le="+Inf"}} {total}',
            f"{name}_sum {self._seconds:.6f}",
            f"{name}_count {total}",
        ]


def _head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
