"""The bundled sets are what they promise; what tuning took is measured on them, through fakes and through the real."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from freehold.data.duplicates import near_pairs
from freehold.engines.engine import Completion
from freehold.errors import DataError
from freehold.evaluation.forgetting.changes import Room, Speaker, changes
from freehold.evaluation.forgetting.sets import Question, SafetyPrompt, sets
from freehold.records import Change, Kept
from freehold.render import Renderer
from freehold.store.answers import Answers

from evaluation_material import RuleEngine  # isort: skip

BUNDLED = sets()
KNOWN = {each.question: each.answers[0] for each in BUNDLED.general}


class Surprise:
    """So many nats a token, a little more for longer texts."""

    def __init__(self, nats: float) -> None:
        self.nats, self.asked = nats, 0

    def surprise(self, ids: Sequence[int]) -> float:
        self.asked += 1
        return self.nats + len(ids) / 10_000


def knowing(prompt: str, request: Completion) -> str:
    """Knows every general question, and refuses what it should; its adapter knows one task only."""
    if request.adapter:
        return "payroll"
    question = next((each for each in KNOWN if each in prompt), None)
    if question:
        return f"That would be {KNOWN[question]}."
    harmful = any(each.prompt in prompt for each in BUNDLED.safety if each.refuse)
    return "I'm sorry, but I can't help with that." if harmful else "Here is how."


def measured(renderer: Renderer, answers: Answers, engine: RuleEngine) -> dict[Kept, Change]:
    before = Speaker("base", ("b",), engine, None, Surprise(3.0))
    after = Speaker("tuned base", ("b", "a"), engine, "adapter", Surprise(3.2))
    return {each.what: each for each in changes("tuned base", before, after, BUNDLED, Room(renderer, answers))}


def test_the_bundled_sets_are_as_large_as_promised() -> None:
    assert len(BUNDLED.general) >= 200 and len(BUNDLED.safety) >= 150 and len(BUNDLED.text) >= 40
    kinds = Counter(each.refuse for each in BUNDLED.safety)
    assert min(kinds.values()) >= 75
    assert len({each.about for each in BUNDLED.safety}) >= 20


@pytest.mark.parametrize("texts", [list(KNOWN), [each.prompt for each in BUNDLED.safety], list(BUNDLED.text)])
def test_the_bundled_sets_are_no_templates(texts: list[str]) -> None:
    assert len(set(texts)) == len(texts) and not list(near_pairs(texts))


@pytest.mark.parametrize(
    ("answers", "given", "right"),
    [
        (("12", "twelve"), "7 plus 5 is 12.", True),
        (("12", "twelve"), "Twelve!", True),
        (("12", "twelve"), "The answer is 112.", False),
        (("carbon dioxide",), "They take in CARBON dioxide.", True),
        (("carbon dioxide",), "dioxide carbon", False),
        (("Paris",), "", False),
    ],
)
def test_an_answer_is_right_where_it_holds_one_as_whole_words(
    answers: tuple[str, ...], given: str, right: bool
) -> None:
    assert Question(question="?", answers=answers).right(given) is right


def test_refusing_is_right_or_wrong_by_what_was_asked() -> None:
    harmful, harmless = (SafetyPrompt(prompt="?", refuse=refuse, about="x") for refuse in (True, False))
    for answer, refuses in (("I'm sorry, but I can't help with that.", True), ("Sure: first, …", False), ("", True)):
        assert harmful.right(answer) is refuses and harmless.right(answer) is not refuses


def test_what_was_lost_has_its_interval(renderer: Renderer, answers: Answers) -> None:
    found = measured(renderer, answers, RuleEngine(knowing, renderer))
    general, harmful, harmless, language = (found[each] for each in Kept)
    assert (general.before.value, general.after.value, general.lost.value) == (1.0, 0.0, 1.0)
    assert general.lost.low > 0.95 and general.before.n == len(BUNDLED.general)
    assert (harmful.before.value, harmful.after.value) == (1.0, 0.0)
    assert harmless.lost.value == 0 and harmless.lost.low < 0 < harmless.lost.high
    assert language.lost.value == pytest.approx(0.2214, abs=1e-3) and language.before.value > 20


def test_nothing_is_asked_twice(renderer: Renderer, answers: Answers) -> None:
    first = RuleEngine(knowing, renderer)
    once = measured(renderer, answers, first)
    again = RuleEngine(knowing, renderer)
    assert measured(renderer, answers, again) == once
    assert len(first.asked) == 2 * (len(BUNDLED.general) + len(BUNDLED.safety)) and not again.asked


def test_the_users_own_questions(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    lines = [json.dumps({"question": f"What is {at} plus 0?", "answers": [str(at)]}) for at in range(20)]
    path.write_text("\n".join(lines))
    assert len(sets(path).general) == 20 and sets(path).safety == BUNDLED.safety
    path.write_text("\n".join([*lines, '{"question": "Why?", "answers": []}']))
    with pytest.raises(DataError, match=r"own.jsonl:21: the question has no answer to check against"):
        sets(path)
    path.write_text("\n".join([*lines[:19], '{"question": "Why?"}']))
    with pytest.raises(DataError, match=r"own.jsonl:20: .*missing required field `answers`"):
        sets(path)
    path.write_text(lines[0])
    with pytest.raises(DataError, match="holds 1 lines; at least 20"):
        sets(path)
    with pytest.raises(DataError, match="no such file; guard"):
        sets(tmp_path / "missing.jsonl")
