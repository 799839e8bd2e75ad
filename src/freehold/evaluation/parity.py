"""Is what will be served what was trained? The same messages through trainer, adapter, merged copies and encodings.

Three things are compared on data that was not trained on: the token ids of the prompt (they must be equal), the
log-probability of the trainer's likeliest first token (its drift, in nats), and the answers. A way that agrees with the
trainer, computed in float32, on fewer than 99 % of the answers is refused.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from freehold.engines.engine import Answer, Completion, Constraint, Engine, Sampling
from freehold.errors import RefusedError
from freehold.evaluation.statistics import wilson
from freehold.progress import Progress
from freehold.records import Interval, Message, Record, digest
from freehold.render import Renderer
from freehold.store.workspace import Workspace, read_record, write_record

LEAST_AGREEMENT = 0.99
_RIVALS = 16


class Spoken(NamedTuple):
    """Log-probabilities (nats) of the likeliest first tokens, the greedy answer, and the time that it took (ms)."""

    first: dict[int, float]
    answer: str
    answer_ms: float


class Voice(Protocol):
    """Something that answers a prompt greedily."""

    def tokenize(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The ids that it makes of a conversation by itself."""

    def speak(self, ids: Sequence[int]) -> Spoken:
        """Answer one prompt."""


class Trainer(Voice, Protocol):
    """What was trained, which the others are held against."""

    def speak(self, ids: Sequence[int], among: Sequence[str] | None = None) -> Spoken:
        """Answer one prompt; an answer that can be none of `among` any more may end there."""


class Way(NamedTuple):
    """One way of serving: its name, and what opens it."""

    name: str
    open: Callable[[], AbstractContextManager[Voice]]


class Figures(Record, frozen=True, kw_only=True):
    """One way against the trainer, on the same prompts.

    `drift` is the mean, and `drift_most` the largest, difference of the log-probability (nats) of the trainer's
    likeliest first token. `ids_differ` counts prompts that it tokenises otherwise. `apart` are the examples on which
    the answers differ. `answer_ms` is the median time of an answer, asked one by one.
    """

    name: str
    agreement: Interval
    drift: float
    drift_most: float
    ids_differ: int
    apart: tuple[str, ...]
    answer_ms: float

    @property
    def passes(self) -> bool:
        return self.ids_differ == 0 and self.agreement.value >= LEAST_AGREEMENT


class Parity(Record, frozen=True, kw_only=True):
    """Every way that was compared, for one adapter and dataset. The digest leaves times out.

    `setting` is what served it then: a digest of the base, its encoding and the engine.
    """

    digest: str
    task: str
    adapter: str
    dataset: str
    examples: int
    ways: tuple[Figures, ...]
    setting: str = ""

    def of(self, name: str) -> Figures | None:
        """The figures of a way, where it was compared."""
        return next((each for each in self.ways if each.name == name), None)


@dataclass(frozen=True)
class Question:
    """An example that was not trained on, as every way is asked it."""

    example: str
    messages: tuple[Message, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True)
class EngineVoice:
    """An engine, asked as the gateway asks it. `adapter` None: what it holds is merged, or the base as it is."""

    engine: Engine
    renderer: Renderer
    max_tokens: int
    constraint: Constraint | None
    adapter: str | None = None

    def tokenize(self, messages: Sequence[Message]) -> tuple[int, ...]:
        return tuple(self.engine.tokenize(self.renderer.template.text(messages)))

    def speak(self, ids: Sequence[int]) -> Spoken:
        given = self._ask(ids, Sampling(max_tokens=self.max_tokens, constraint=self.constraint))
        found = self._ask(ids, Sampling(max_tokens=1, logprobs=_RIVALS)).logprobs
        first = {int(id): logprob for id, logprob in found[0].top.items()} if found else {}
        return Spoken(first, given.text, given.latency_ms)

    def _ask(self, ids: Sequence[int], sampling: Sampling) -> Answer:
        return self.engine.complete(Completion(prompt=tuple(ids), sampling=sampling, adapter=self.adapter))


@contextmanager
def started(engine: Engine) -> Iterator[Engine]:
    """An engine while it runs."""
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


class _Said(NamedTuple):
    """What one way said to every question."""

    spoken: list[Spoken]
    ids_differ: int


def compare(
    trainer: Callable[[], AbstractContextManager[Trainer]],
    ways: Sequence[Way],
    questions: Sequence[Question],
    progress: Progress,
) -> tuple[Figures, ...]:
    """Every way against the trainer, one after another, so that only one model is in memory at a time.

    The trainer is asked last: its greedy answer need not be decoded further than it agrees with one of theirs.
    """
    found = [_ask(way, questions, progress) for way in ways]
    with progress.step("parity: trainer", len(questions)) as step, trainer() as voice:
        wanted = []
        for at, question in enumerate(questions):
            wanted.append(voice.speak(question.ids, [each.spoken[at].answer for each in found]))
            step.advance()
    return tuple(_figures(way.name, wanted, each, questions) for way, each in zip(ways, found, strict=True))


def _ask(way: Way, questions: Sequence[Question], progress: Progress) -> _Said:
    spoken, differ = [], 0
    with progress.step(f"parity: {way.name}", len(questions)) as step, way.open() as voice:
        for question in questions:
            differ += voice.tokenize(question.messages) != question.ids
            spoken.append(voice.speak(question.ids))
            step.advance()
    return _Said(spoken, differ)


def _figures(name: str, wanted: Sequence[Spoken], found: _Said, questions: Sequence[Question]) -> Figures:
    both = list(zip(questions, wanted, found.spoken, strict=True))
    drifts = [_drift(mine.first, theirs.first) for _, mine, theirs in both]
    apart = tuple(question.example for question, mine, theirs in both if mine.answer != theirs.answer)
    return Figures(
        name=name,
        agreement=wilson(len(questions) - len(apart), len(questions)),
        drift=round(sum(drifts) / len(drifts), 4),
        drift_most=round(max(drifts), 4),
        ids_differ=found.ids_differ,
        apart=apart,
        answer_ms=round(median(each.answer_ms for each in found.spoken), 1),
    )


def _drift(wanted: dict[int, float], found: dict[int, float]) -> float:
    """How far the likeliest token's log-probability moved; one that is not listed is at most the least that is."""
    likeliest = max(wanted, key=lambda id: wanted[id])
    return abs(wanted[likeliest] - found.get(likeliest, min(found.values(), default=float("-inf"))))


def named(found: Parity) -> Parity:
    """The record under its digest."""
    timeless = [(each.name, each.agreement, each.drift, each.ids_differ, each.apart) for each in found.ways]
    content = [found.task, found.adapter, found.dataset, found.examples, found.setting, timeless]
    return replace(found, digest=digest(content))


def fastest(parity: Parity, names: Sequence[str]) -> Figures:
    """The quickest of these ways that agrees with the trainer; raises `RefusedError` with each one's reason."""
    compared = [each for each in parity.ways if each.name in names]
    able = [each for each in compared if each.passes]
    if not able:
        raise RefusedError("; ".join(refusal(each) for each in compared) or "none of these ways was compared")
    return min(able, key=lambda each: each.answer_ms)


def passing(parities: Sequence[Parity], names: Sequence[str]) -> list[str]:
    """The ways that agree with the trainer in every one of these comparisons, the quickest of them all first.

    Raises `RefusedError` where there is none, with the reason for each.
    """
    figures = {name: [each.of(name) for each in parities] for name in names}
    whole = {name: [each for each in found if each is not None] for name, found in figures.items()}
    able = [name for name in names if len(whole[name]) == len(parities) and all(each.passes for each in whole[name])]
    if not able:
        failed = [refusal(each) for found in whole.values() for each in found if not each.passes]
        raise RefusedError("; ".join(failed) or "none of these ways was compared")
    return sorted(able, key=lambda name: sum(each.answer_ms for each in whole[name]))


def require(figures: Figures) -> None:
    """Raise `RefusedError` where a way is not what was trained."""
    if not figures.passes:
        raise RefusedError(refusal(figures))


def refusal(figures: Figures) -> str:
    """Why a way is refused, in one sentence."""
    share, n, low, high = figures.agreement.value, figures.agreement.n, figures.agreement.low, figures.agreement.high
    if figures.ids_differ:
        return f"{figures.name}: {figures.ids_differ} of {n} prompts get other token ids than in training"
    return (
        f"{figures.name}: {share:.1%} of {n} answers are the trainer's, and {LEAST_AGREEMENT:.0%} is needed "
        f"({len(figures.apart)} differ; 95 % interval {low:.1%} to {high:.1%})"
    )


def keep(workspace: Workspace, parity: Parity, what: str = "") -> None:
    """Keep the newest comparison of an adapter; `what` tells one kind of them from another."""
    write_record(_path(workspace, parity.adapter, what), parity)


def kept(workspace: Workspace, adapter: str, what: str = "") -> Parity | None:
    """The newest comparison of an adapter, where there is one."""
    path = _path(workspace, adapter, what)
    return read_record(path, Parity) if path.is_file() else None


def _path(workspace: Workspace, adapter: str, what: str) -> Path:
    return workspace.root / "parity" / f"{adapter}{what}.json"
