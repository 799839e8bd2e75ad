"""Labels decoded along their own tokens: at each fork of the prefix tree the model chooses, everything else is forced.

Constrained decoding over a prefix tree of whole answers (De Cao et al. 2021, "Autoregressive Entity Retrieval"). The
tokens are those that the trainer saw for each label, so no probability goes to another spelling of it, and most labels
are told by their first token: such an answer costs its prompt and nothing more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from freehold.engines.engine import Labels, Sampling


@dataclass(frozen=True)
class Path:
    """A label and its token ids."""

    label: str
    tokens: tuple[int, ...]


class Labelled:
    """The paths that are still open, as far as all of them agree. Immutable."""

    def __init__(self, paths: Sequence[Path], at: int = 0) -> None:
        self._paths = tuple(paths)
        while len(self._paths) > 1 and len({path.tokens[at] for path in self._paths}) == 1:
            at += 1
        self._at = at

    @property
    def label(self) -> str | None:
        """The only label that is left, or None while there are several."""
        return self._paths[0].label if len(self._paths) == 1 else None

    @property
    def so_far(self) -> tuple[int, ...]:
        """The tokens that all open paths begin with."""
        return self._paths[0].tokens[: self._at]

    @property
    def next(self) -> frozenset[int]:
        """The ids between which the model chooses."""
        return frozenset(path.tokens[self._at] for path in self._paths)

    def after(self, token: int) -> "Labelled":
        """What is open after this one of `next`."""
        return Labelled([path for path in self._paths if path.tokens[self._at] == token], self._at + 1)


class Trees:
    """The trees of an engine's label sets, by its own tokenizer; each is made once."""

    def __init__(self, tokenize: Callable[[str], Sequence[int]]) -> None:
        self._tokenize = tokenize
        self._trees: dict[tuple[str, ...], tuple[Labelled | None, int]] = {}
        self._counts: dict[str, int] = {}

    def of(self, sampling: Sampling) -> Labelled | None:
        """The tree, where the request is for a label and for nothing that a tree cannot give."""
        constraint = sampling.constraint
        if (
            not isinstance(constraint, Labels)
            or not constraint.labels
            or sampling.stop
            or sampling.logprobs is not None
        ):
            return None
        if constraint.labels not in self._trees:
            tokens = {label: tuple(self._tokenize(label)) for label in constraint.labels}
            self._trees[constraint.labels] = labelled(tokens), max(map(len, tokens.values()))
        tree, longest = self._trees[constraint.labels]
        return tree if sampling.max_tokens > longest else None

    def count(self, label: str) -> int:
        """Tokens of a label and of the end of its turn."""
        if label not in self._counts:
            self._counts[label] = len(self._tokenize(label)) + 1
        return self._counts[label]


def labelled(tokens: Mapping[str, tuple[int, ...]]) -> Labelled | None:
    """The tree of these labels; None where one's tokens begin another's, so that no fork tells where it ends."""
    paths = sorted((Path(label, ids) for label, ids in tokens.items()), key=lambda path: path.tokens)
    # sorted, so that a path that begins others stands right before one of them
    return None if any(_begins(one, other) for one, other in pairwise(paths)) else Labelled(paths)


def _begins(one: Path, other: Path) -> bool:
    return other.tokens[: len(one.tokens)] == one.tokens
