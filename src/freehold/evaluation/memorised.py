"""Does an adapter give its training data back? Two measurements, and what they come to.

Canaries (Carlini et al. 2019, "The Secret Sharer", section 4): how much likelier than other numbers the model finds a
planted one, as exposure in bits. Without memorisation an exposure of e bits comes with chance 2^-e.

Extraction (Carlini et al. 2023, "Quantifying memorization across neural language models"): shown the first half of a
text, does greedy decoding write the second half, token for token? Texts that were trained on are held against texts
that were held out, and against the base, which has seen neither here: what all three can do is no memory.
"""

import math
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import msgspec

from freehold.data.canaries import DIGITS, Canary, canaries, drawn, number_of, planted
from freehold.errors import RefusedError
from freehold.evaluation.statistics import wilson
from freehold.progress import Progress, Step
from freehold.records import AdapterManifest, AnswerType, Dataset, Example, Interval, Message, Record, Split
from freehold.render import Prompt, Renderer
from freehold.store.workspace import Workspace, read_record, write_record
from freehold.tuning.scoring import Scored

FILE = "memorised.json"
CHANCE = 0.05  # of saying "memorised" where nothing was, over all canaries together, and again over all texts
OTHERS = 500  # random numbers that a canary is ranked among
TEXTS = 200  # of each side
FEWEST_TOKENS = 8  # that a second half must have to be judged


class Exposure(Record, frozen=True, kw_only=True):
    """One canary. `rank` is its place among `of` numbers, likeliest first; `bits` the exposure, by a skewed normal
    distribution fitted to the others where the canary is likelier than all of them (section 4.3 of the paper).
    """

    canary: int
    repeats: int
    bits: float
    base_bits: float
    rank: int
    of: int


class Memorised(Record, frozen=True, kw_only=True):
    """What an adapter gives back.

    `trained`, `held_out` and `base` are shares of texts whose second half is written from the first: by the adapter on
    texts it was trained on and on held-out ones, and by the base on the former. `found` are the examples that the
    adapter writes and the base does not. `gives_back` is the verdict, and `reasons` say why.
    """

    adapter: str
    dataset: str
    gives_back: bool
    reasons: tuple[str, ...]
    exposures: tuple[Exposure, ...]
    threshold_bits: float
    trained: Interval | None
    held_out: Interval | None
    base: Interval | None
    found: tuple[str, ...]


class Half(NamedTuple):
    """A text cut in two, as token ids; `name` is the example's id."""

    name: str
    first: tuple[int, ...]
    second: tuple[int, ...]


class Subject(NamedTuple):
    """What is measured: an adapter, the dataset that it learned from, and how it is asked."""

    manifest: AdapterManifest
    dataset: Dataset
    examples: Sequence[Example]
    renderer: Renderer

    @property
    def prompt(self) -> Prompt:
        return msgspec.convert(self.manifest.render, Prompt)


class Scores(Protocol):
    """Where likelihoods come from: `tuning.scoring.Scorer`, or a fake."""

    def endings(self, prefix: Sequence[int], endings: Sequence[Sequence[int]]) -> Sequence[Scored]: ...

    def without_adapter(self) -> AbstractContextManager[None]: ...


def read(workspace: Workspace, adapter: str) -> Memorised | None:
    """What was measured of an adapter, or None where nothing was."""
    path = _path(workspace, adapter)
    return read_record(path, Memorised) if path.exists() else None


class Rule(Record, frozen=True, kw_only=True):
    """What a task's file said when it was last run: whether what is memorised may leave."""

    memorised: Literal["warn", "refuse"] = "warn"


def keep_rule(workspace: Workspace, task: str, rule: Literal["warn", "refuse"]) -> None:
    """Remember a task file's `export.memorised`: an export sees no task file."""
    write_record(workspace.root / "rules" / f"{task}.json", Rule(memorised=rule))


def rule_of(workspace: Workspace, task: str) -> Literal["warn", "refuse"]:
    """What holds for a task's adapters."""
    path = workspace.root / "rules" / f"{task}.json"
    return read_record(path, Rule).memorised if path.exists() else "warn"


def passed(workspace: Workspace, adapter: str, rule: Literal["warn", "refuse"]) -> str | None:
    """Before an adapter leaves: a sentence to warn with, or None; raises `RefusedError` where the rule is to refuse."""
    measured, short = read(workspace, adapter), adapter[:12]
    if measured is None:
        said = f"nobody measured whether adapter {short} gives training data back; `freehold data memorised {short}`"
    elif measured.gives_back:
        said = f"adapter {short} gives training data back: {'; '.join(measured.reasons)}"
    else:
        return None
    if rule == "refuse":
        raise RefusedError(f"{said} (export.memorised: refuse)")
    return said


def measure(subject: Subject, scores: Scores, workspace: Workspace, progress: Progress) -> Memorised:
    """Measure an adapter and keep the record beside it."""
    dataset = subject.dataset
    count = max((number_of(each) for each in subject.examples if planted(each)), default=0)
    secrets = canaries(count, dataset.seed, dataset.answer_type)
    mine, others = _halves(subject, Split.TRAIN), _halves(subject, Split.HELD_OUT)
    with progress.step("memorised", 2 * len(secrets) + 2 * len(mine) + len(others)) as step:
        ranked = [_ranks(each, subject, scores, step) for each in secrets]
        ours, theirs = _written(mine, scores, step), _written(others, scores, step)
        with scores.without_adapter():
            unseen = [_ranks(each, subject, scores, step) for each in secrets]
            before = _written(mine, scores, step)
    exposures = tuple(_exposure(*each) for each in zip(secrets, ranked, unseen, strict=True))
    threshold = math.log2(max(1, count) / CHANCE)
    reasons = (*_of_canaries(exposures, threshold), *_of_texts(ours, theirs, before))
    record = Memorised(
        adapter=subject.manifest.digest,
        dataset=dataset.digest,
        gives_back=bool(reasons),
        reasons=reasons,
        exposures=exposures,
        threshold_bits=round(threshold, 2),
        trained=_share(ours),
        held_out=_share(theirs),
        base=_share(before),
        found=tuple(h.name for h, now, once in zip(mine, ours, before, strict=True) if now and not once),
    )
    write_record(_path(workspace, subject.manifest.digest), record)
    return record


def _path(workspace: Workspace, adapter: str) -> Path:
    return workspace.adapters / adapter / FILE


# -- canaries --------------------------------------------------------------------------------------------------------


def _ranks(canary: Canary, subject: Subject, scores: Scores, step: Step) -> list[float]:
    """Negative log-likelihoods (nats): the canary's first, then those of random numbers in its place."""
    draw = random.Random(canary.secret)
    template, encode = subject.renderer.template, subject.renderer.encode
    if canary.question is not None:
        asked = subject.prompt.messages([Message(role="user", content=canary.question)])
        head = template.text(asked) + canary.before.rstrip()
    else:
        asked = subject.prompt.messages([Message(role="user", content=canary.before.rstrip())])
        whole = template.text(asked)
        head = whole[: whole.rfind(canary.before.rstrip()) + len(canary.before.rstrip())]
    numbers = [canary.secret, *(drawn(draw) for _ in range(OTHERS))]
    found = scores.endings(encode(head), [encode(f" {number}") for number in numbers])
    step.advance(1, f"canary {canary.number}")
    return [each.nats for each in found]


def _exposure(canary: Canary, nats: Sequence[float], base_nats: Sequence[float]) -> Exposure:
    return Exposure(
        canary=canary.number,
        repeats=canary.repeats,
        bits=round(bits(nats), 2),
        base_bits=round(bits(base_nats), 2),
        rank=_rank(nats),
        of=len(nats),
    )


def _rank(nats: Sequence[float]) -> int:
    return 1 + sum(other <= nats[0] for other in nats[1:])


def bits(nats: Sequence[float]) -> float:
    """The exposure of the first of these numbers: log2 of one over the share that is as likely.

    Where it is likelier than all that were drawn, the tail is that of a skewed normal distribution fitted to them.
    """
    from scipy.stats import skewnorm

    if _rank(nats) > 1:
        return math.log2(len(nats) / _rank(nats))
    below = float(skewnorm.cdf(nats[0], *skewnorm.fit(nats[1:])))
    most = DIGITS * math.log2(10)
    return min(most, max(math.log2(len(nats)), -math.log2(below) if below > 0 else most))


def _of_canaries(exposures: Sequence[Exposure], threshold: float) -> list[str]:
    exposed = [each for each in exposures if each.bits > threshold and each.bits > each.base_bits]
    if not exposed:
        return []
    most = max(each.bits for each in exposed)
    found = f"{len(exposed)} of {len(exposures)} planted secrets are exposed"
    return [f"{found}, by up to {most:.1f} bits (chance alone stays under {threshold:.1f})"]


# -- extraction ------------------------------------------------------------------------------------------------------


def _halves(subject: Subject, split: Split) -> list[Half]:
    """A draw of a split's texts, each cut at a word near its middle; those too short to judge are left out."""
    pool = [each for each in subject.examples if each.split is split and not planted(each)]
    random.Random(subject.dataset.seed).shuffle(pool)
    found = (_half(each, subject) for each in pool)
    return list(islice((half for half in found if half is not None), TEXTS))


def _half(example: Example, subject: Subject) -> Half | None:
    """The answer's halves where answers are free text, else those of what came in: the rest is a label."""
    whole = subject.renderer.template.text(subject.prompt.messages(example.messages))
    if subject.dataset.answer_type is AnswerType.TEXT:
        head, said = whole, example.reference
    else:
        head, met, _ = whole.rpartition(example.text)
        said = example.text if met else ""
    cut = said.find(" ", len(said) // 2)
    if cut < 0:
        return None
    first, second = subject.renderer.encode(head + said[:cut]), subject.renderer.encode(said[cut:])
    return Half(example.id, first, second) if len(second) >= FEWEST_TOKENS else None


def _written(halves: Sequence[Half], scores: Scores, step: Step) -> list[bool]:
    found = []
    for half in halves:
        found.append(scores.endings(half.first, [half.second])[0].greedy)
        step.advance(1, "texts")
    return found


def _share(written: Sequence[bool]) -> Interval | None:
    return wilson(sum(written), len(written)) if written else None


def _of_texts(ours: Sequence[bool], theirs: Sequence[bool], before: Sequence[bool]) -> list[str]:
    """More than the adapter does with texts that it never saw, and than the base does (Fisher's exact test)."""
    from scipy.stats import fisher_exact

    if not ours or not theirs:
        return []
    mine, others = sum(ours), sum(theirs)
    table = [[mine, len(ours) - mine], [others, len(theirs) - others]]
    if mine <= sum(before) or float(fisher_exact(table, alternative="greater").pvalue) >= CHANCE:
        return []
    found = f"the second half of {mine} of {len(ours)} training texts is written from the first"
    return [f"{found}, of held-out ones {others} of {len(theirs)}"]
