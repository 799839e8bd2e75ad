"""Two candidates before a judge, each pair in both orders: a win needs both.

A judge that changes its mind with the order has preferred neither answer: that is a tie, and counts as position bias.
"""

import math
from collections.abc import Mapping, Sequence

from freehold.errors import NotFoundError
from freehold.evaluation.arena.votes import LEFT, RIGHT, TIE
from freehold.evaluation.judge.conversations import Conversation
from freehold.evaluation.judge.judge import Judge
from freehold.evaluation.judge.wording import choice, comparing
from freehold.evaluation.scorers.tokens import words
from freehold.evaluation.statistics import bootstrap_mean, paired_bootstrap, wilson
from freehold.progress import SILENT, Progress
from freehold.records import Candidate, Example, Interval, Record, Row


class Pair(Record, frozen=True, kw_only=True):
    """One question and two answers to it. `scores` are the task metric's, where there is one.

    `group` names what it belongs to where pairs are not independent of each other: the turns of one conversation.
    """

    example: str
    question: str
    left: str
    right: str
    reference: str | None = None
    scores: tuple[float, float] | None = None
    group: str | None = None


class Ruling(Record, frozen=True, kw_only=True):
    """One pair judged. `winner` is left, right or tie; None where the judge spoke nonsense in either order."""

    example: str
    winner: str | None
    left_first: str | None
    right_first: str | None


class Bias(Record, frozen=True, kw_only=True):
    """What sways the judge besides quality.

    `consistent`: the share of pairs where the order made no difference; `first`: of the others, the share that went to
    whichever answer came first, with the exact p that it is a fair coin. `longer`: of decided pairs, the share that the
    longer answer won (0.5 were length no reason, and no sign of quality). `own`: how much more often than the task's
    metric the judge prefers its own answers (None where it is neither candidate, or there is no metric).
    """

    consistent: Interval | None
    first: Interval | None
    first_p: float | None
    longer: Interval | None
    own: Interval | None


class Duel(Record, frozen=True, kw_only=True):
    """Left against right before a judge: `won` is left's share, a tie being half.

    `nonsense` counts the pairs of which a verdict could not be read, `failed` those of which the judge gave none at
    all: neither counts for anybody.
    """

    judge: str
    left: str
    right: str
    won: Interval | None
    wins: int
    losses: int
    ties: int
    nonsense: int
    failed: int
    bias: Bias
    rulings: tuple[Ruling, ...]


_WORDS = {LEFT: "left", RIGHT: "right", TIE: "tie"}
_POINTS = {"left": 1.0, "tie": 0.5, "right": 0.0}


def duel(
    judge: Judge, names: tuple[str, str], pairs: Sequence[Pair], own: int | None = None, progress: Progress = SILENT
) -> Duel:
    """Judge every pair in both orders. `own` is `LEFT` or `RIGHT` where the judge itself is that candidate."""
    asked = [comparing(each.question, (each.left, each.right), judge.rubric, each.reference) for each in pairs]
    turned = [comparing(each.question, (each.right, each.left), judge.rubric, each.reference) for each in pairs]
    said = judge.say([*asked, *turned], progress)
    both = list(zip(said[: len(pairs)], said[len(pairs) :], strict=True))
    rulings = [_ruling(pair, *(choice(text or "") for text in texts)) for pair, texts in zip(pairs, both, strict=True)]
    points = [_POINTS[each.winner] for each in rulings if each.winner]
    failed = sum(None in texts for texts in both)
    return Duel(
        judge=judge.name,
        left=names[0],
        right=names[1],
        won=_won(pairs, rulings),
        wins=points.count(1.0),
        losses=points.count(0.0),
        ties=points.count(0.5),
        nonsense=sum(each.winner is None for each in rulings) - failed,
        failed=failed,
        bias=_bias(pairs, rulings, own),
        rulings=tuple(rulings),
    )


def _won(pairs: Sequence[Pair], rulings: Sequence[Ruling]) -> Interval | None:
    """Left's share; pairs of one group are resampled together."""
    read = [(_POINTS[ruling.winner], pair.group) for pair, ruling in zip(pairs, rulings, strict=True) if ruling.winner]
    if not read:
        return None
    groups = [group for _, group in read if group is not None]
    return bootstrap_mean([points for points, _ in read], clusters=groups if len(groups) == len(read) else None)


def of_rows(left: Sequence[Row], right: Sequence[Row], examples: Mapping[str, Example]) -> list[Pair]:
    """Pairs of kept answers to the same examples; raises `NotFoundError` where none is left to show to a judge."""
    theirs = {row.example: row for row in right if row.error is None}
    pairs = [
        Pair(
            example=row.example,
            question=examples[row.example].text,
            left=row.answer,
            right=theirs[row.example].answer,
            reference=examples[row.example].reference,
            scores=(row.score, theirs[row.example].score),
        )
        for row in left
        if row.error is None and row.example in theirs and row.example in examples
    ]
    if not pairs:
        raise NotFoundError(
            "the two candidates share no example whose text is still here; `freehold run` measures anew"
        )
    return pairs


def of_conversations(left: Sequence[Conversation], right: Sequence[Conversation]) -> list[Pair]:
    """Every turn that both models answered, each with the turns before it; raises `NotFoundError` where none is."""
    pairs = [
        Pair(
            example=f"{mine.question.question_id}, turn {turn + 1}",
            question=_turns(mine.question.turns[: turn + 1]),
            left=_turns(mine.answers[: turn + 1]),
            right=_turns(theirs.answers[: turn + 1]),
            reference=mine.question.reference_of(turn),
            group=str(mine.question.question_id),
        )
        for mine, theirs in zip(left, right, strict=True)
        for turn in range(min(len(mine.answers), len(theirs.answers)))
    ]
    if not pairs:
        raise NotFoundError("the two models answered no turn that could be compared")
    return pairs


def _turns(texts: Sequence[str]) -> str:
    """One text as it is; several under the number of their turn."""
    return texts[0] if len(texts) == 1 else "\n\n".join(f"[Turn {at}]\n{text}" for at, text in enumerate(texts, 1))


def which_is(judge: str, left: Candidate, right: Candidate) -> int | None:
    """`LEFT` or `RIGHT` where exactly that candidate is the judge's own model, else None."""
    own = [judge in (each.name, each.base) for each in (left, right)]
    return None if own[0] == own[1] else LEFT if own[0] else RIGHT


def _ruling(pair: Pair, forward: int | None, backward: int | None) -> Ruling:
    """`backward` was said with the sides exchanged."""
    back = backward if backward in (None, TIE) else LEFT + RIGHT - backward
    winner = None if forward is None or back is None else forward if forward == back else TIE
    return Ruling(example=pair.example, winner=_said(winner), left_first=_said(forward), right_first=_said(back))


def _said(verdict: int | None) -> str | None:
    return None if verdict is None else _WORDS[verdict]


def _bias(pairs: Sequence[Pair], rulings: Sequence[Ruling], own: int | None) -> Bias:
    read = [each for each in rulings if each.winner is not None]
    swayed = [each for each in read if each.left_first != each.right_first]
    decided = [each for each in swayed if {each.left_first, each.right_first} == {"left", "right"}]
    first = sum(each.left_first == "left" for each in decided)
    return Bias(
        consistent=wilson(len(read) - len(swayed), len(read)) if read else None,
        first=wilson(first, len(decided)) if decided else None,
        first_p=_coin(first, len(decided)) if decided else None,
        longer=_longer(pairs, rulings),
        own=_own(pairs, rulings, own),
    )


def _longer(pairs: Sequence[Pair], rulings: Sequence[Ruling]) -> Interval | None:
    won = []
    for pair, ruling in zip(pairs, rulings, strict=True):
        left, right = len(words(pair.left)), len(words(pair.right))
        if ruling.winner in ("left", "right") and left != right:
            won.append((ruling.winner == "left") == (left > right))
    return wilson(sum(won), len(won)) if won else None


def _own(pairs: Sequence[Pair], rulings: Sequence[Ruling], own: int | None) -> Interval | None:
    """The judge's preference for its own answers less the metric's on the same pairs (both: win 1, tie 0.5)."""
    both = [
        (_POINTS[ruling.winner], _metric_points(pair.scores))
        for pair, ruling in zip(pairs, rulings, strict=True)
        if ruling.winner and pair.scores
    ]
    if own is None or not both:
        return None
    sign = 1.0 if own == LEFT else -1.0
    return paired_bootstrap([sign * mine for mine, _ in both], [sign * metric for _, metric in both])


def _metric_points(scores: tuple[float, float]) -> float:
    return 0.5 if scores[0] == scores[1] else float(scores[0] > scores[1])


def _coin(heads: int, n: int) -> float:
    """Exact two-sided p of a fair coin."""
    most = max(heads, n - heads)
    return min(1.0, float(2 * sum(math.comb(n, k) for k in range(most, n + 1)) / 2**n))
