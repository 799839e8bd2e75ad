"""Examples → batches of like length and of like size: attention pads them to the longest.

Token ids that begin every example (the system message, say) are split off as the shared prefix: the trainer computes
them once a step instead of once an example.
"""

import math
import random
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from freehold.render import Rendered

WINDOW = 4  # batches at most; in longer ones a batch is all short or all long examples (docs/results/speed.md)
FULL = 0.96  # of a batch's tokens, how far it is filled: examples do not come out even
PADDED = 1.5  # times a batch's tokens, what attention pads it to at most


class Tokens(NamedTuple):
    """An example after the shared prefix: the rest of the prompt, and the answer that the loss is taken over.

    The model reads all but the answer's last token, which is predicted and predicts nothing; `length` is of what it
    reads.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def read(self) -> tuple[int, ...]:
        return self.prompt + self.answer[:-1]

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.answer) - 1


def split_prefix(examples: Sequence[Rendered]) -> tuple[tuple[int, ...], list[Tokens]]:
    """The ids that every prompt begins with (each keeps one at least), and what is left of each example."""
    if not examples:
        return (), []
    shortest, longest = min(each.prompt for each in examples), max(each.prompt for each in examples)
    shared = 0
    limit = min(len(each.prompt) for each in examples) - 1
    while shared < limit and shortest[shared] == longest[shared]:
        shared += 1
    return shortest[:shared], [Tokens(each.prompt[shared:], each.answer) for each in examples]


def shuffled_batches(examples: Sequence[Tokens], batch_tokens: int, seed: int) -> list[list[Tokens]]:
    """One epoch: shuffled, sorted by length within windows of a few batches, cut at `batch_tokens`, shuffled again."""
    order = random.Random(seed)
    shuffled = list(examples)
    order.shuffle(shuffled)
    batches = [batch for window in _windows(shuffled, batch_tokens) for batch in ordered_batches(window, batch_tokens)]
    order.shuffle(batches)
    return batches


def _windows(examples: Sequence[Tokens], batch_tokens: int) -> list[list[Tokens]]:
    """The examples in their order, in parts that each fill a few whole batches."""
    total, done = sum(each.length for each in examples), 0
    batches = math.ceil(total / (FULL * batch_tokens))
    windows: list[list[Tokens]] = [[] for _ in range(math.ceil(batches / WINDOW))]
    for each in examples:
        windows[done * batches // total * len(windows) // batches].append(each)
        done += each.length
    return windows


def ordered_batches(examples: Sequence[Tokens], batch_tokens: int) -> list[list[Tokens]]:
    """All examples once, shortest first."""
    return _cut(sorted(examples, key=lambda each: each.length), batch_tokens)


def _cut(examples: Sequence[Tokens], batch_tokens: int) -> list[list[Tokens]]:
    """Runs of examples (sorted by length) of at most `batch_tokens` together; each has one example at least.

    As few as can be and as even: a short batch that was left over would count for a step like a full one.
    """
    fewest = len(_runs(examples, batch_tokens))
    even = bisect_left(range(batch_tokens), True, key=lambda size: len(_runs(examples, size)) <= fewest)
    return _runs(examples, even)


def _runs(examples: Sequence[Tokens], size: int) -> list[list[Tokens]]:
    """Runs as long as they can be within `size` tokens."""
    runs: list[list[Tokens]] = []
    tokens = 0
    for each in examples:
        tokens += each.length
        if not runs or tokens > size or each.length * (len(runs[-1]) + 1) > PADDED * size:
            runs.append([])
            tokens = each.length
        runs[-1].append(each)
    return runs
