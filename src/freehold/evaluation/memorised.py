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
from pathlib import Path
from typing import Literal, NamedTuple

from freehold.data.canaries import Canary, canaries, drawn, planted
from freehold.errors import RefusedError
from freehold.evaluation.statistics import wilson
from freehold.progress import Progress
from freehold.records import AdapterManifest, AnswerType, Dataset, Example, Interval, Message, Record, Split
from freehold.render import Prompt, Renderer
from freehold.store.workspace import Workspace, read_record, write_record
from freehold.tuning.scoring import Scorer

FILE = "memorised.json"
CHANCE = 0.05  # of saying "memorised" where nothing was, over all canaries together, and again over all texts
OTHERS = 500  # random numbers that a canary is ranked among
TEXTS = 200  # of each side
_FEWEST_TOKENS = 8  # that a second half must have to be judged


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
    prompt: Prompt
    renderer: Renderer


def path_of(workspace: Workspace, adapter: str) -> Path:
    """Where the measurement of an adapter lies."""
    return workspace.adapters / adapter / FILE


def read(workspace: Workspace, adapter: str) -> Memorised | None:
    """What was measured of an adapter, or None where nothing was."""
    path = path_of(workspace, adapter)
    return read_record(path, Memorised) if path.exists() else None


def passed(workspace: Workspace, adapter: str, rule: Literal["warn", "refuse"]) -> str | None:
    """Before an adapter leaves: a sentence to warn with, or None; raises `RefusedError` where the rule is to refuse."""
    measured = read(workspace, adapter)
    if measured is None:
        said = f"adapter {adapter[:12]}: whether it gives its training data back was not measured; `freehold data memorised {adapter[:12]}` does"
    elif measured.gives_back:
        said = f"adapter {adapter[:12]} gives training data back: {'; '.join(measured.reasons)}"
    else:
        return None
    if rule == "refuse":
        raise RefusedError(f"{said} (export.memorised: refuse)")
    return said


def measure(subject: Subject, scorer: Scorer, workspace: Workspace, progress: Progress) -> Memorised:
    """Measure an adapter and keep the record beside it."""
    manifest, dataset = subject.manifest, subject.dataset
    count = sum(planted(each) for each in subject.examples)
    secrets = canaries(_numbered(subject.examples), dataset.seed, dataset.answer_type) if count else []
    kept = {split: _drawn(subject, split) for split in (Split.TRAIN, Split.HELD_OUT)}
    total = 2 * len(secrets) + 2 * len(kept[Split.TRAIN]) + len(kept[Split.HELD_OUT])
    with progress.step("memorised", total) as step:
        exposures = []
        for each in secrets:
            exposures.append(_exposure(each, subject, scorer))
            step.advance(2, f"canary {each.number}: {exposures[-1].bits:.1f} bits")
        ours = [_written(scorer, half, step) for half in kept[Split.TRAIN]]
        theirs = [_written(scorer, half, step) for half in kept[Split.HELD_OUT]]
        with scorer.without_adapter():
            before = [_written(scorer, half, step) for half in kept[Split.TRAIN]]
    found = [h.name for h, now, once in zip(kept[Split.TRAIN], ours, before, strict=True) if now and not once]
    threshold = math.log2(max(1, len(exposures)) / CHANCE)
    reasons = [*_of_canaries(exposures, threshold), *_of_texts(ours, theirs, before)]
    record = Memorised(
        adapter=manifest.digest,
        dataset=dataset.digest,
        gives_back=bool(reasons),
        reasons=tuple(reasons),
        exposures=tuple(exposures),
        threshold_bits=round(threshold, 2),
        trained=_share(ours),
        held_out=_share(theirs),
        base=_share(before),
        found=tuple(found),
    )
    write_record(path_of(workspace, manifest.digest), record)
    return record


def _written(scorer: Scorer, half: Half, step: object) -> bool:
    (scored,) = scorer.endings(half.first, [half.second])
    step.advance()  # type: ignore[attr-defined]
    return scored.greedy
