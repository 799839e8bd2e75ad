"""Who is examined, and where what was found stays: a run that was stopped goes on, and nothing is scored twice."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Generic, Protocol, TypeVar

from freehold.progress import Step
from freehold.records import digest
from freehold.store.answers import Answered, Answers

_SECONDS = 2.0


class Encodes(Protocol):
    """Whatever turns text into token ids (`render.Renderer`)."""

    def encode(self, text: str) -> tuple[int, ...]: ...


Scores = TypeVar("Scores")


@dataclass(frozen=True)
class Sitting(Generic[Scores]):
    """One model under examination. `identity` is a digest of base, adapter and purpose: findings are kept under it."""

    model: str
    scores: Scores
    encodes: Encodes
    store: Answers
    identity: str

    def found(
        self, prompts: Iterable[tuple[int, ...]], score: Callable[[tuple[int, ...]], str], step: Step
    ) -> Iterator[str]:
        """What `score` says of each prompt, in order: known, or scored now and kept within two seconds."""
        known, fresh, kept_at = self.store.of(self.identity), [], monotonic()
        try:
            for ids in prompts:
                name = digest(ids)
                if (name, False) in known:
                    found = known[name, False].text
                else:
                    found = score(ids)
                    fresh.append(_kept(name, found, len(ids)))
                if monotonic() - kept_at > _SECONDS:
                    self.store.keep(self.identity, fresh)
                    fresh, kept_at = [], monotonic()
                step.advance()
                yield found
        finally:
            self.store.keep(self.identity, fresh)


def _kept(prompt: str, found: str, tokens: int) -> Answered:
    return Answered(prompt=prompt, constrained=False, text=found, input_tokens=tokens, output_tokens=0, latency_ms=0.0)
