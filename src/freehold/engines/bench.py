"""How fast an engine answers on this machine: tokens a second and time to first token, at several numbers of clients.

Closed loop: every client asks again as soon as it is answered, for a fixed time. Prompts share a head and differ in
their tails, as a task's do; answers are free text of a bounded length, so that levels compare.
"""

import random
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import closing

from freehold.engines.engine import Completion, Engine, Sampling
from freehold.errors import EngineError
from freehold.records import Record

PROMPT = (
    "<|im_start|>user\nThe freezer in aisle {} shows an alarm and nobody knows whom to call. What next?<|im_end|>\n"
)
TURN = "<|im_start|>assistant\n"
ANSWER_TOKENS = 32


class Level(Record, frozen=True, kw_only=True):
    """What so many clients at once got. Tokens a second are decoded ones; times are in milliseconds."""

    clients: int
    requests: int
    requests_per_second: float
    tokens_per_second: float
    first_token_p50_ms: float
    first_token_p95_ms: float
    cached: float


class Bench(Record, frozen=True, kw_only=True):
    """One engine on one machine. `cached` in a level is the share of prompt tokens that were not computed again."""

    engine: str
    version: str
    weights: str
    cores: int
    levels: tuple[Level, ...]


def measure(engine: Engine, clients: Sequence[int], seconds: float) -> tuple[Level, ...]:
    """A level for each number of clients; the engine is started and warm. Raises what the engine raises."""
    prompts = [tuple(engine.tokenize(PROMPT.format(number) + TURN)) for number in range(64)]
    return tuple(_Loop(engine, prompts, seconds).run(count) for count in clients)


class _Loop:
    """Clients that ask until the time is over, and what they saw."""

    def __init__(self, engine: Engine, prompts: Sequence[tuple[int, ...]], seconds: float) -> None:
        self._engine, self._prompts, self._seconds = engine, prompts, seconds
        self._first_ms: list[float] = []
        self._tokens: list[int] = []
        self._cached: list[float] = []
        self._failures: list[Exception] = []

    def run(self, clients: int) -> Level:
        begun = time.monotonic()
        threads = [threading.Thread(target=self._client, args=(seed, begun + self._seconds)) for seed in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]
        took = time.monotonic() - begun
        return Level(
            clients=clients,
            requests=len(self._tokens),
            requests_per_second=len(self._tokens) / took,
            tokens_per_second=sum(self._tokens) / took,
            first_token_p50_ms=statistics.median(self._first_ms),
            first_token_p95_ms=sorted(self._first_ms)[int(len(self._first_ms) * 0.95)],
            cached=statistics.mean(self._cached),
        )

    def _client(self, seed: int, end: float) -> None:
        dice = random.Random(seed)
        try:
            while True:
                self._ask(dice.choice(self._prompts))
                if time.monotonic() >= end:
                    return
        except Exception as error:  # handed to whoever asked for the measurement
            self._failures.append(error)

    def _ask(self, prompt: tuple[int, ...]) -> None:
        begun, first = time.monotonic(), None
        request = Completion(prompt=prompt, sampling=Sampling(max_tokens=ANSWER_TOKENS))
        with closing(self._engine.stream(request)) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                first = first or (time.monotonic() - begun) * 1000
                if piece.answer is not None:
                    self._first_ms.append(first)
                    self._tokens.append(piece.answer.output_tokens)
                    self._cached.append(piece.answer.cached_tokens / piece.answer.input_tokens)
                    return
        raise EngineError("the engine ended an answer without saying so")
