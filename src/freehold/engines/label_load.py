"""The load that the speed of serving is measured with: many clients that each ask for a label, again and again.

Closed loop: messages of 30 tokens under a shared system message, answers from 16 labels, each client asking again as
soon as it is answered, of adapters that it draws by their weights.
"""

import random
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from freehold.engines.engine import Completion, Engine, Labels, Sampling

LABELS = (
    *("payroll", "safety", "scheduling", "equipment", "stock", "training", "access", "benefits"),
    *("transport", "cleaning", "complaint", "praise", "security", "uniform", "it-help", "other"),
)
SYSTEM = "<|im_start|>system\nRoute each message to the team that owns it, and answer with its name only.<|im_end|>\n"
_WORDS = (
    *("freezer", "alarm", "till", "shift", "rota", "slip", "late", "again", "broken", "forklift", "aisle", "five"),
    *("please", "night", "manager", "vest", "missing", "ladder", "wet", "floor", "angry", "delivery", "pallet"),
)
_MESSAGE_TOKENS = 30


@dataclass(frozen=True)
class Load:
    """Who asks what: each client draws an adapter by these weights."""

    name: str
    adapters: Sequence[str | None]
    weights: Sequence[float]


@dataclass(frozen=True)
class Seen:
    """What the clients saw: seconds an answer, the shares of prompts that were cached, and how long all of it took."""

    latencies: Sequence[float]
    cached: Sequence[float]
    took_s: float

    @property
    def requests(self) -> int:
        return len(self.latencies)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.took_s

    def latency_s(self, percent: int) -> float:
        """A percentile of the seconds that an answer took."""
        return statistics.quantiles(self.latencies, n=100)[percent - 1]


def ask(engine: Engine, load: Load, seconds: float, clients: int) -> Seen:
    """Put the load to a started engine; raises what the engine raises, once every client has ended."""
    asked = prompts(engine)
    latencies, cached, failures = list[float](), list[float](), list[Exception]()
    begun = time.monotonic()

    def client(seed: int) -> None:
        dice = random.Random(seed)
        sampling = Sampling(max_tokens=12, constraint=Labels(labels=LABELS))
        try:
            while (now := time.monotonic()) < begun + seconds and not failures:
                adapter = dice.choices(load.adapters, load.weights)[0]
                answer = engine.complete(Completion(prompt=dice.choice(asked), sampling=sampling, adapter=adapter))
                latencies.append(time.monotonic() - now)
                cached.append(answer.cached_tokens / answer.input_tokens)
        except Exception as error:  # handed to whoever asked for the measurement
            failures.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return Seen(latencies, cached, time.monotonic() - begun)


def prompts(engine: Engine) -> list[tuple[int, ...]]:
    """Many of them, all with the same head."""
    head, tail = engine.tokenize(SYSTEM + "<|im_start|>user\n"), engine.tokenize("<|im_end|>\n<|im_start|>assistant\n")
    messages = [engine.tokenize(" ".join(random.Random(at).choices(_WORDS, k=34))) for at in range(256)]
    return [(*head, *message[:_MESSAGE_TOKENS], *tail) for message in messages]
