"""How many label requests a second one machine answers, and what many adapters cost: `python bench/serving.py WEIGHTS`.

64 closed-loop clients, 30-token messages under a shared system message, answers from 16 labels (issue 8, Speed). The
adapters are random ones of rank 16 on every projection: they cost what real ones cost. Besides requests a second it
prints the processor time a request took, which stays honest on a machine that does other work as well. `merged` is one
adapter merged into a Q4_0 copy of the base, served by children of one thread each.
"""

import argparse
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from freehold.engines.engine import Completion, Labels, Sampling
from freehold.engines.llamacpp import LlamaCpp
from freehold.engines.merge import merge
from freehold.engines.plan import plan
from freehold.engines.random_adapter import write_random_adapter

LABELS = (
    *("payroll", "safety", "scheduling", "equipment", "stock", "training", "access", "benefits"),
    *("transport", "cleaning", "complaint", "praise", "security", "uniform", "it-help", "other"),
)
SYSTEM = "<|im_start|>system\nRoute each message to the team that owns it, and answer with its name only.<|im_end|>\n"
WORDS = (
    *("freezer", "alarm", "till", "shift", "rota", "slip", "late", "again", "broken", "forklift", "aisle", "five"),
    *("please", "night", "manager", "vest", "missing", "ladder", "wet", "floor", "angry", "delivery", "pallet"),
)


@dataclass(frozen=True)
class Load:
    """Who asks what: each client draws an adapter by these weights."""

    name: str
    adapters: Sequence[str | None]
    weights: Sequence[float]


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


def measure(engine: LlamaCpp, load: Load, seconds: float, clients: int) -> Figures:
    """Closed loop: every client asks again as soon as it is answered."""
    messages = [engine.tokenize(" ".join(random.Random(at).choices(WORDS, k=34)))[:30] for at in range(256)]
    head, tail = engine.tokenize(SYSTEM + "<|im_start|>user\n"), engine.tokenize("<|im_end|>\n<|im_start|>assistant\n")
    latencies: list[float] = []
    cached: list[float] = []
    end = time.monotonic() + seconds

    def client(seed: int) -> None:
        dice = random.Random(seed)
        while time.monotonic() < end:
            message, adapter = dice.choice(messages), dice.choices(load.adapters, load.weights)[0]
            sampling = Sampling(max_tokens=12, constraint=Labels(labels=LABELS))
            begun = time.monotonic()
            answer = engine.complete(Completion(prompt=(*head, *message, *tail), sampling=sampling, adapter=adapter))
            latencies.append(time.monotonic() - begun)
            cached.append(answer.cached_tokens / answer.input_tokens)

    before, begun = _cpu_s(engine), time.monotonic()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, used = time.monotonic() - begun, _cpu_s(engine) - before
    count, spread = len(latencies), statistics.quantiles(latencies, n=100)
    return Figures(count, count / took, used / count * 1000, spread[49], spread[98], statistics.mean(cached))


def _cpu_s(engine: LlamaCpp) -> float:
    keepers = [psutil.Process(replica.pid) for replica in engine.replicas if replica.pid is not None]
    processes = [each for keeper in keepers for each in (keeper, *keeper.children())]
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--adapters", type=int, default=16)
    parser.add_argument("--only", help="one of: merged, base, one, even, skewed")
    parser.add_argument("--program", help="a native llama-server instead of xllamacpp's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = {f"adapter-{at}": Path(folder) / f"{at}.gguf" for at in range(options.adapters)}
        for at, path in enumerate(files.values()):
            write_random_adapter(options.weights, path, at)
        names = list(files)
        loads = {
            "base": Load("no adapter", [None], [1]),
            "one": Load("one adapter", names[:1], [1]),
            "even": Load(f"{len(names)} adapters, even", names, [1] * len(names)),
            "skewed": Load(f"{len(names)} adapters, Zipf", names, [1 / (at + 1) for at in range(len(names))]),
        }
        if options.only in (None, "merged"):
            copy = Path(folder) / "merged.gguf"
            merge(options.weights, files[names[0]], copy, "Q4_0")
            alone = plan(2, 512, program=options.program).settings  # a child a core, one thread each
            run(LlamaCpp(copy, settings=alone), [Load("one, merged as Q4_0", [None], [1])], options)
        if options.only != "merged":
            chosen = plan(len(files), 512, program=options.program)
            print(chosen.reason)
            asked = [load for key, load in loads.items() if options.only in (None, key)]
            run(LlamaCpp(options.weights, files, chosen.settings), asked, options)


def run(engine: LlamaCpp, loads: Sequence[Load], options: argparse.Namespace) -> None:
    """Measure each load on a warm engine and print its line."""
    engine.start()
    try:
        for load in loads:
            measure(engine, load, 2, options.clients)
            print(f"{load.name:<22}{measure(engine, load, options.seconds, options.clients)}", flush=True)
    finally:
        engine.stop()


if __name__ == "__main__":
    main()
