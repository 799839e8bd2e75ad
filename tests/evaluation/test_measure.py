"""Every example is asked once, in every way it can be, and what was kept is never asked again."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from evaluation_material import RuleEngine, example, examples
from msgspec.structs import replace

from freehold.engines.engine import Answer, Completion
from freehold.errors import EngineError
from freehold.evaluation.answerers import ClassifierAnswerer, EngineAnswerer, RecordedAnswerer, may_become, with_labels
from freehold.evaluation.classifier import Classifier
from freehold.evaluation.measure import measure
from freehold.evaluation.scorers import registry
from freehold.records import Candidate, CandidateKind
from freehold.render import Prompt, Renderer
from freehold.spec import Task
from freehold.store.answers import Answers
from freehold.store.database import connect

TUNED = Candidate(name="tuned", kind=CandidateKind.TUNED, digest="a" * 64)


def answerer(engine: RuleEngine, renderer: Renderer, task: Task) -> EngineAnswerer:
    return EngineAnswerer(engine, renderer, Prompt(system="Route."), task, concurrency=3)


def reading(text: str, _request: Completion) -> str:
    """Answers the label that the message names, but rambles about safety."""
    label = next(name for name in ("payroll", "safety", "scheduling") if f"{name} message" in text)
    return "it is about safety!" if label == "safety" else label


def test_free_and_constrained(task: Task, renderer: Renderer, answers: Answers) -> None:
    engine = RuleEngine(reading, renderer)
    held_out = examples(30)
    rows = measure(TUNED, answerer(engine, renderer, task), held_out, task, answers)
    assert [row.example for row in rows] == [each.id for each in held_out]
    assert sum(row.free_score or 0 for row in rows) == 20
    assert [row.answer for row in rows if row.free_answer == "it is about safety!"] == ["payroll"] * 10
    # Thirty free answers; only the ten that were no label were asked for again under the constraint.
    assert (engine.asked.count(False), engine.asked.count(True)) == (30, 10)


def test_a_free_answer_ends_where_it_can_no_longer_be_a_label(task: Task, renderer: Renderer, answers: Answers) -> None:
    def word_by_word(text: str, request: Completion) -> str:
        whole = reading(text, request)
        return whole[:1] if request.sampling.max_tokens == 1 else whole

    class Cut(RuleEngine):
        def complete(self, request: Completion) -> Answer:
            begun = request.sampling.max_tokens == 1
            return replace(super().complete(request), finish_reason="length" if begun else "stop")

    engine = Cut(word_by_word, renderer)
    rows = measure(TUNED, answerer(engine, renderer, task), examples(30), task, answers)
    assert [row.free_answer for row in rows].count("i") == 10  # of "it is about safety!"
    assert sum(row.free_score or 0 for row in rows) == 20
    assert (engine.asked.count(False), engine.asked.count(True)) == (30 + 20, 10)


@pytest.mark.parametrize(
    ("text", "may"), [("", True), (" pay", True), ("payroll\n", True), ("Pay", False), ("e", True), ("caf\ufffd", True)]
)
def test_what_may_become_a_label(text: str, may: bool) -> None:
    assert may_become(text, ["payroll", "école", "café"]) is may


def test_nothing_is_asked_twice(task: Task, renderer: Renderer, answers: Answers) -> None:
    engine = RuleEngine(reading, renderer)
    first = measure(TUNED, answerer(engine, renderer, task), examples(12), task, answers)
    asked = len(engine.asked)
    assert measure(TUNED, answerer(engine, renderer, task), examples(12), task, answers) == first
    assert len(engine.asked) == asked
    measure(TUNED, EngineAnswerer(engine, renderer, Prompt(system="Other."), task), examples(12), task, answers)
    assert len(engine.asked) > asked


def test_an_answer_cut_short_settles_nothing(task: Task, renderer: Renderer, answers: Answers) -> None:
    """`payroll` that ran into max_tokens may have gone on; the constrained answer is asked for."""

    class Cut(RuleEngine):
        def complete(self, request: Completion) -> Answer:
            return replace(super().complete(request), finish_reason="length")

    engine = Cut(reading, renderer)
    measure(TUNED, answerer(engine, renderer, task), examples(3), task, answers)
    assert engine.asked.count(True) == 3


def test_a_failure_is_a_row_and_is_tried_again(task: Task, renderer: Renderer, answers: Answers) -> None:
    def shaky(text: str, request: Completion) -> str:
        if "number 4" in text and broken:
            raise EngineError("the child has died")
        return reading(text, request)

    broken = True
    engine = RuleEngine(shaky, renderer)
    rows = measure(TUNED, answerer(engine, renderer, task), examples(9), task, answers)
    assert [(row.score, row.error) for row in rows if row.error] == [(0.0, "the child has died")]
    broken = False
    rows = measure(TUNED, answerer(engine, renderer, task), examples(9), task, answers)
    assert not any(row.error for row in rows)


def test_an_engine_that_never_answers_is_said(task: Task, renderer: Renderer, answers: Answers) -> None:
    def dead(_text: str, _request: Completion) -> str:
        raise EngineError("no child")

    with pytest.raises(EngineError, match="none of the 3 examples: no child"):
        measure(TUNED, answerer(RuleEngine(dead, renderer), renderer, task), examples(3), task, answers)


def test_a_scorer_that_fails_marks_its_row(
    task: Task, renderer: Renderer, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(answer: str, _reference: str) -> float:
        if answer == "scheduling":
            raise ValueError("no")
        return 1.0

    monkeypatch.setitem(registry.SCORERS, "accuracy", lambda _task: picky)
    rows = measure(TUNED, answerer(RuleEngine(reading, renderer), renderer, task), examples(6), task, answers)
    assert [row.error for row in rows if row.error] == ["the scorer failed: ValueError: no"] * 2
    assert sum(row.score for row in rows) == 4


def test_the_same_message_twice(task: Task, renderer: Renderer, answers: Answers) -> None:
    """Two examples may ask the same (by two people, say): one answer serves both."""
    twins = [example(at, text="payroll message") for at in range(5)]
    rows = measure(TUNED, answerer(RuleEngine(reading, renderer), renderer, task), twins, task, answers)
    assert [row.score for row in rows] == [1] * 5
    assert len(answers.of(TUNED.digest)) == 2


def test_classifier_and_record(task: Task, answers: Answers) -> None:
    train = examples(60)
    plain = Classifier.train([each.text for each in train], [each.reference for each in train])
    candidate = Candidate(name="classifier", kind=CandidateKind.CLASSIFIER, digest=plain.digest)
    rows = measure(candidate, ClassifierAnswerer(plain), examples(9), task, answers)
    assert all(row.score == 1 and row.free_answer is None for row in rows)
    recorded = [example(at, "safety", incumbent_answer="Safety" if at else "safety") for at in range(4)]
    incumbent = Candidate(name="rented", kind=CandidateKind.INCUMBENT, digest="b" * 64)
    rows = measure(incumbent, RecordedAnswerer(recorded), recorded, task, answers)
    assert [row.score for row in rows] == [1, 0, 0, 0]
    assert rows[1].free_answer == "Safety"


def test_labels_come_from_the_dataset() -> None:
    fields = {"task": "t", "description": "d", "data": {"source": "x.csv"}}
    assert with_labels(Task.model_validate(fields), ["a", "b"]).answer.labels == ("a", "b")  # type: ignore[union-attr]


_KILLED = """
import os, sys, threading
sys.path.insert(0, {tests!r})
from pathlib import Path
from evaluation_material import RuleEngine, examples, make_renderer, make_task
from test_measure import TUNED, answerer, reading
from freehold.evaluation.measure import measure
from freehold.store.answers import Answers
from freehold.store.database import connect

count, lock = 0, threading.Lock()
def killed(text, request):
    global count
    with lock:
        count += 1
        if count > 100:
            os.kill(os.getpid(), 9)
    return reading(text, request)

folder = Path({folder!r})
renderer, task = make_renderer(folder / "killed"), make_task()
measure(TUNED, answerer(RuleEngine(killed, renderer), renderer, task), examples(120), task,
        Answers(connect(f"sqlite:///{{folder / 'freehold.db'}}")))
"""


def test_kill_9_loses_at_most_a_batch(tmp_path: Path, task: Task, renderer: Renderer) -> None:
    code = textwrap.dedent(_KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    kept = Answers(connect(f"sqlite:///{tmp_path / 'freehold.db'}"))
    before = len(kept.of(TUNED.digest))
    assert before >= 64
    engine = RuleEngine(reading, renderer)
    rows = measure(TUNED, answerer(engine, renderer, task), examples(120), task, kept)
    assert len(rows) == 120 and not any(row.error for row in rows)
    assert engine.asked.count(False) == 120 - before // 2
