"""One model before and after tuning, on the same prompts: what was lost, with its interval.

Questions are asked as the base's own chat template asks them, without the task's instruction, and decoded greedily;
text is scored in torch. An answer that failed counts as wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from freehold.engines.chat import Chat
from freehold.engines.engine import Engine, Sampling
from freehold.evaluation.asking import Asked, LocalChat
from freehold.evaluation.benchmarks import perplexity
from freehold.evaluation.benchmarks.sitting import Sitting
from freehold.evaluation.forgetting.sets import Question, SafetyPrompt, Sets
from freehold.evaluation.statistics import pairs, tango, wilson
from freehold.progress import SILENT, Progress
from freehold.records import Change, Kept, Message, digest
from freehold.render import Renderer
from freehold.store.answers import Answers

_ANSWER_TOKENS = 48


@dataclass(frozen=True)
class Speaker:
    """A model that can be asked and whose surprise can be measured: a base, with an adapter or without.

    `identity` are the digests of what it is made of, `adapter` its adapter's name in the engine.
    """

    name: str
    identity: tuple[str, ...]
    engine: Engine
    adapter: str | None
    scores: perplexity.Surprises


@dataclass(frozen=True)
class Room:
    """What both are asked with: the base's own rendering, the store, whoever wants to hear of it, and how many
    questions the engine takes at once."""

    renderer: Renderer
    store: Answers
    progress: Progress = SILENT
    concurrency: int = 1


def changes(candidate: str, before: Speaker, after: Speaker, sets: Sets, room: Room) -> tuple[Change, ...]:
    """Every figure of `candidate`, the tuned one, against its base's."""
    harmful = [each for each in sets.safety if each.refuse]
    harmless = [each for each in sets.safety if not each.refuse]
    asked: list[tuple[Kept, Sequence[Question | SafetyPrompt]]] = [
        (Kept.GENERAL, sets.general),
        (Kept.HARMFUL, harmful),
        (Kept.HARMLESS, harmless),
    ]
    found = [_share(candidate, what, _right(before, each, room), _right(after, each, room)) for what, each in asked]
    nats = [perplexity.surprises(_sitting(each, room), sets.text, room.progress) for each in (before, after)]
    return (*found, _language(candidate, nats[0], nats[1]))


def _right(speaker: Speaker, asked: Sequence[Question | SafetyPrompt], room: Room) -> list[float]:
    endpoint = LocalChat(speaker.engine, room.renderer, speaker.adapter)
    identity = digest(["forgetting", speaker.identity])
    texts = [each.question if isinstance(each, Question) else each.prompt for each in asked]
    sampling = Sampling(max_tokens=_ANSWER_TOKENS)
    requests = [Chat(messages=(Message(role="user", content=text),), sampling=sampling) for text in texts]
    asker = Asked(f"general {speaker.name}", identity, endpoint, room.store, room.concurrency)
    answers = asker.all(requests, room.progress)
    return [
        float(answer.error is None and each.right(answer.text)) for each, answer in zip(asked, answers, strict=True)
    ]


def _sitting(speaker: Speaker, room: Room) -> Sitting[perplexity.Surprises]:
    identity = digest(["perplexity", speaker.identity])
    return Sitting(speaker.name, speaker.scores, room.renderer, room.store, identity)


def _share(candidate: str, what: Kept, before: Sequence[float], after: Sequence[float]) -> Change:
    return Change(
        candidate=candidate,
        what=what,
        before=wilson(sum(before), len(before)),
        after=wilson(sum(after), len(after)),
        lost=tango(pairs(before, after)),
    )


def _language(candidate: str, before: Sequence[float], after: Sequence[float]) -> Change:
    ratio = perplexity.change(before, after)
    return Change(
        candidate=candidate,
        what=Kept.LANGUAGE,
        before=perplexity.perplexity(before),
        after=perplexity.perplexity(after),
        lost=replace(ratio, value=ratio.value - 1, low=ratio.low - 1, high=ratio.high - 1),
    )
