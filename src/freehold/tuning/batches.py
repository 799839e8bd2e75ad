"""Examples → batches of like size.

Token ids that begin every example (the system message, say) are split off as the shared prefix: the trainer computes
them once a step instead of once an example.
"""

import random
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from freehold.render import Rendered

PADDED = 4  # times a batch's tokens at most: what attention seats them in where no kernel of ours computes it


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
    """One epoch: shuffled, then cut at `batch_tokens`.

    Nothing is sorted: batches of like length are batches of few labels, and what is learned from them is less.
    """
    shuffled = list(examples)
    random.Random(seed).shuffle(shuffled)
    return _cut(shuffled, batch_tokens)


def ordered_batches(examples: Sequence[Tokens], batch_tokens: int) -> list[list[Tokens]]:
    """All examples once, shortest first."""
    return _cut(sorted(examples, key=lambda each: each.length), batch_tokens)


def _cut(examples: Sequence[Tokens], batch_tokens: int) -> list[list[Tokens]]:
    """Runs of examples of at most `batch_tokens` together; each has one example at least.

    As few as can be and as even: a short batch that was left over would count for a step like a full one.
    """
    fewest = len(_runs(examples, batch_tokens))
    even = bisect_left(range(batch_tokens), True, key=lambda size: len(_runs(examples, size)) <= fewest)
    return _runs(examples, even)


def _runs(examples: Sequence[Tokens], size: int) -> list[list[Tokens]]:
    """Runs as long as they can be within `size` tokens."""
    runs: list[list[Tokens]] = []
    tokens = longest = 0
    for each in examples:
        tokens, longest = tokens + each.length, max(longest, each.length)
        if not runs or tokens > size or longest * (len(runs[-1]) + 1) > PADDED * size:
            runs.append([])
            tokens = longest = each.length
        runs[-1].append(each)
    return runs
