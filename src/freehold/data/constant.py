"""What recorded requests all say the same: an instruction in the system message, a template around the user's words.

A tuned model need not be told it, and near-duplicates must not be judged on it. What is found is cut by
`render.pruned`, in training and serving alike.
"""

from collections.abc import Sequence

from freehold.data.row import Row
from freehold.records import Affixes, Pruning

FEWEST = 20
_SHARE = (9, 10)  # of the requests: an older wording must not hide today's
_LEAST = 20  # characters: what is shorter is chance


def constant(rows: Sequence[Row]) -> Pruning | None:
    """What nine tenths of the requests begin and end with, or None where there is nothing, or too few to tell."""
    if len(rows) < FEWEST:
        return None
    systems = [row.messages[0].content for row in rows if row.messages and row.messages[0].role == "system"]
    users = [row.last_user_turn for row in rows]
    pruning = Pruning(system=_affixes(systems, len(rows)), user=_affixes(users, len(rows)))
    return pruning if pruning != Pruning() else None


def _affixes(texts: list[str], requests: int) -> Affixes:
    need = -(-_SHARE[0] * requests // _SHARE[1])
    prefix = _shared(texts, need)
    rest = [text[len(prefix) :] for text in texts if text.startswith(prefix)]
    suffix = _shared([text[::-1] for text in rest], need)[::-1] if prefix not in texts else ""
    return Affixes(prefix=prefix, suffix=suffix)


def _shared(texts: list[str], need: int) -> str:
    """The longest beginning of at least `need` texts, cut at a word's end: the middle one has it if any does."""
    if len(texts) < need:
        return ""
    middle = sorted(texts)[len(texts) // 2]
    low, high = 0, len(middle)
    while low < high:
        length = (low + high + 1) // 2
        if sum(text.startswith(middle[:length]) for text in texts) >= need:
            low = length
        else:
            high = length - 1
    found = middle[:low]
    if low < len(middle):
        found = found[: max((at + 1 for at, letter in enumerate(found) if letter.isspace()), default=0)]
    return found if len(found) >= _LEAST else ""
