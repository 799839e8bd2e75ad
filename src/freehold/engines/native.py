"""Which llama.cpp answers: xllamacpp's, built for AVX2 only, or this machine's own; measured, not believed."""

from pathlib import Path

from freehold.engines import environments
from freehold.engines.bench import Bench
from freehold.store.workspace import read_record

WHEEL, NATIVE = "llamacpp", "llamacpp (native)"


def preferred(benches: Path) -> str | None:
    """The native `llama-server` where the kept figures of `freehold bench` show it faster than the wheel; else None."""
    program = environments.native_server()
    return str(program) if program is not None and (gain(benches) or 0.0) > 1.0 else None


def gain(benches: Path) -> float | None:
    """Requests a second, native against wheel, at most clients, on weights measured with both; None where none were."""
    found = [read_record(path, Bench) for path in sorted(benches.glob("*.json"))]
    rates = {(each.weights, each.engine): each.levels[-1].requests_per_second for each in found if each.levels}
    both = [rates[weights, NATIVE] / rate for (weights, engine), rate in rates.items()
            if engine == WHEEL and rate > 0 and (weights, NATIVE) in rates]  # fmt: skip
    return min(both) if both else None
