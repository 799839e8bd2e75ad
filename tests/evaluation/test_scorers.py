"""Each scorer against its definition, on every script."""

import json
import math
from pathlib import Path

import pytest
from evaluation_material import dataset, example, make_task
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from freehold import spec
from freehold.engines.fake_embedder import FakeEmbedder
from freehold.errors import EngineError, UserError
from freehold.evaluation.answerers import with_labels
from freehold.evaluation.beside import faults, scored
from freehold.evaluation.figures import figures
from freehold.evaluation.report import build
from freehold.evaluation.scorers import spent
from freehold.evaluation.scorers.bleu import bleu
from freehold.evaluation.scorers.chrf import chrf
from freehold.evaluation.scorers.exact import exact_match
from freehold.evaluation.scorers.json_fields import canonical_match, field_accuracy, schema_valid
from freehold.evaluation.scorers.language import same_language
from freehold.evaluation.scorers.program import pass_at_k, passes
from freehold.evaluation.scorers.refusal import refused
from freehold.evaluation.scorers.registry import beside_the_metric, scorer
from freehold.evaluation.scorers.rouge import _common, rouge_l
from freehold.evaluation.scorers.similarity import Similarity
from freehold.evaluation.scorers.tokens import words
from freehold.records import Candidate, CandidateKind, Row
from freehold.spec import Task

WORDS = st.lists(st.sampled_from("abcde"), max_size=14)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


COMPARED = [
    ("the cat sat on mat", "the cat sat on the mat"),
    ("The quick brown fox jumps over the lazy dog", "A quick brown fox jumped over a lazy dog"),
    ("police kill the gunman", "police killed the gunman"),
    (
        "It is a guide to action which ensures that the military always obeys the commands of the party",
        "It is a guide to action that ensures that the military will forever heed Party commands",
    ),
    ("Die Maschine steht still", "Die Maschine läuft wieder"),
]
"""Answer and reference; the third pair is Lin 2004's example, the fourth Papineni et al. 2002's."""


def _slow_common(left: list[str], right: list[str]) -> int:
    rows = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            rows[i + 1][j + 1] = rows[i][j] + 1 if a == b else max(rows[i][j + 1], rows[i + 1][j])
    return rows[-1][-1]


def test_exact_match_sees_one_word_typed_two_ways() -> None:
    assert exact_match(" café\n", "cafe\u0301") == 1
    assert exact_match("payroll.", "payroll") == 0


@given(WORDS, WORDS)
def test_bit_parallel_subsequence_is_the_textbook_one(left: list[str], right: list[str]) -> None:
    assert _common(left, right) == _slow_common(left, right)


def test_rouge_l_of_the_paper() -> None:
    """Lin 2004, section 3.1: "police killed the gunman" against two rewordings: 3/4 and 2/4."""
    reference = "police killed the gunman"
    assert rouge_l("police kill the gunman", reference) == pytest.approx(0.75)
    assert rouge_l("the gunman kill police", reference) == pytest.approx(0.5)
    assert rouge_l("", "") == 1 and rouge_l("", "x") == 0


def test_words_of_scripts_without_spaces() -> None:
    assert words("工资没到!") == list("工资没到")
    assert words("โอที") == list("โอที")
    assert words("الرواتب لم تصل") == ["الرواتب", "لم", "تصل"]
    assert words("वेतन नहीं") == ["वेतन", "नहीं"]
    assert words("Gaji BELUM masuk.") == ["gaji", "belum", "masuk"]


@given(JSON)
def test_json_matches_itself_in_any_spelling(value: object) -> None:
    assert canonical_match(json.dumps(value, indent=3), json.dumps(value, sort_keys=True)) == 1
    assert field_accuracy(json.dumps(value), json.dumps(value)) == 1


@pytest.mark.parametrize(
    ("answer", "same"),
    [('{"b": 1.0, "a": [true]}', 1), ('{"a": [1], "b": 1}', 0), ('{"a": [true]}', 0), ("not json", 0)],
)
def test_json_compares_as_json_schema_does(answer: str, same: int) -> None:
    assert canonical_match(answer, '{"a": [true], "b": 1}') == same


@pytest.mark.parametrize("answer", ['{"a": NaN}', '{"a": 1, "a": 1}', "[" * 100_000, ""])
def test_what_is_not_json_never_matches(answer: str) -> None:
    assert canonical_match(answer, answer) == 0
    assert schema_valid(answer, {}) == 0


def test_field_accuracy_counts_missing_and_extra() -> None:
    assert field_accuracy('{"a": 1, "c": 3}', '{"a": 1, "b": {"x": 2}}') == pytest.approx(1 / 3)


def test_scorers_fit_their_task(tmp_path: Path) -> None:
    data = {"source": "x.csv"}
    text = Task.model_validate({"task": "t", "description": "d", "data": data, "answer": {"type": "text"}})
    schema = {"type": "object", "required": ["a"]}
    fields = Task.model_validate(
        {"task": "t", "description": "d", "data": data, "answer": {"type": "json", "schema": schema}}
    )
    assert set(beside_the_metric(text, tmp_path)) == {"exact_match"}
    assert beside_the_metric(fields, tmp_path)["schema_valid"]('{"b": 1}', "{}") == 0
    with pytest.raises(UserError, match="did you mean rouge_l"):
        scorer("rouge-l", text)
    with pytest.raises(UserError, match="schema_valid needs"):
        scorer("schema_valid", text)


def test_chrf_is_sacrebleus() -> None:
    """Sentence chrF2 worked out by hand from the definition, and sacrebleu 2.6.0's figures (`sentence_chrf`)."""
    # "ab" in "abc": order 1: P 2/2, R 2/3; order 2: P 1/1, R 1/2; no longer order fits both
    precision, recall = 1.0, (2 / 3 + 1 / 2) / 2
    assert chrf("a b", "abc") == pytest.approx(5 * precision * recall / (4 * precision + recall))
    assert chrf("工资没到", "工资没到") == 1 and chrf("x", "y") == 0 and chrf("", "") == 1
    assert [round(chrf(*each), 6) for each in COMPARED] == [0.669286, 0.68471, 0.762404, 0.630506, 0.466555]


def test_bleu_of_the_definition() -> None:
    """By hand, and sacrebleu 2.6.0's figures (`sentence_bleu`, add-k smoothing with k = 1, texts in lower case)."""
    answer, reference = "the cat sat on mat", "the cat sat on the mat"
    orders = [5 / 5, (3 + 1) / (4 + 1), (2 + 1) / (3 + 1), (1 + 1) / (2 + 1)]
    expected = math.exp(1 - 6 / 5) * math.prod(orders) ** 0.25
    assert bleu(answer, reference) == pytest.approx(expected)
    assert bleu(reference, reference) == pytest.approx(1) and bleu("dog", reference) == 0
    assert [round(bleu(*each), 6) for each in COMPARED] == [0.651113, 0.320732, 0.5, 0.455087, 0.451801]


@pytest.mark.parametrize(
    "text",
    [
        "I’m sorry, but I can't help with that.",
        "As an AI language model, I",
        "抱歉,我不能",
        "عذراً، لا أستطيع",
        "Maaf, saya",
        "",
    ],
)
def test_refusals(text: str) -> None:
    assert refused(text)


@pytest.mark.parametrize("text", ["payroll", "Sorry to hear that! Your refund is on its way.", "I can help. First,"])
def test_answers_are_not_refusals(text: str) -> None:
    assert not refused(text)


def test_programs_are_run_against_their_tests() -> None:
    right = "Here:\n```python\ndef add(a, b):\n    return a + b\n```"
    tests = "assert add(2, 3) == 5"
    assert passes(right, tests) == 1
    assert passes(right.replace("+", "-"), tests) == 0
    assert passes("def add(a, b) return", tests) == 0


def test_pass_at_k_of_the_paper() -> None:
    """Chen et al. 2021: 1 − C(n−c, k) / C(n, k)."""
    for n, c, k in ((10, 3, 1), (10, 3, 5), (20, 0, 10), (5, 4, 2)):
        assert pass_at_k(n, c, k) == pytest.approx(1 - math.comb(n - c, k) / math.comb(n, k))


def test_the_users_own(tmp_path: Path) -> None:
    data = {"source": "x.csv"}
    path = tmp_path / "mine.py"
    path.write_text("def half(answer, reference):\n    return 0.5\ndef wild(answer, reference):\n    return 7\n")
    names = ["chrf", r"regex:\d{4}", f"python:{path}:half"]
    text = Task.model_validate(
        {"task": "t", "description": "d", "data": data, "answer": {"type": "text"}, "scorers": names}
    )
    found = beside_the_metric(text, tmp_path)
    assert set(found) == {"exact_match", *names}
    assert [found[name](" 1234 ", "") for name in names[1:]] == [1.0, 0.5]
    with pytest.raises(ValueError, match=r"in 0\.\.1"):
        scorer(f"python:{path}:wild", text)("a", "b")
    for wrong in ("regex:(", f"python:{path}:none", "python:nowhere.py:f", "chrff"):
        with pytest.raises(UserError):
            scorer(wrong, text)


def test_the_users_own_file_lies_beside_the_task_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "mine.py").write_text("def half(answer, reference):\n    return 0.5\n")
    named = "python:mine.py:half"
    written = f"task: t\ndescription: d\nanswer: {{type: text}}\ndata: {{source: x.csv}}\nscorers: ['{named}']\n"
    (folder / "freehold.yaml").write_text(written)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    task = spec.load(Path("../project/freehold.yaml")).task
    assert beside_the_metric(with_labels(task, ("a",)), tmp_path)[named]("", "") == 0.5
    (folder / "mine.py").unlink()
    (elsewhere / "mine.py").write_text("def half(answer, reference):\n    return 0.1\n")
    with pytest.raises(UserError, match=r"project/mine\.py is no file"):
        scorer(named, task)


def row(**facts: object) -> Row:
    return Row(**({"candidate": "c", "example": "e", "answer": "a", "score": 1.0} | facts))  # type: ignore[arg-type]


def test_what_an_answer_took() -> None:
    answered = row(input_tokens=400, output_tokens=100, latency_ms=250.0)
    assert spent.latency("300")(answered) == 1 and spent.latency("200")(answered) == 0
    assert spent.cost("0.5,2")(answered) == pytest.approx(0.4)  # 1,000 answers: 0.4 M at 0.5 and 0.1 M at 2
    assert spent.cost("3.6")(answered) == pytest.approx(0.25)  # 1,000 answers: 250 s of an hour at 3.6
    for unknown in (spent.latency("300"), spent.cost("0.5,2"), spent.cost("3.6")):
        with pytest.raises(ValueError, match="known"):
            unknown(row())
    assert [spent.by_the_clock(name) for name in ("latency:5", "cost:1", "cost:1,2", "chrf")] == [
        True, True, False, False
    ]  # fmt: skip
    for wrong in ("", "fast", "1,2,3", "-1", "nan"):
        with pytest.raises(UserError, match="is not"):
            spent.cost(wrong)


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ("Der Zug ist nicht da und ich warte", "Ich habe die Karte nicht", 1),
        ("The train is not here and I wait", "Ich habe die Karte nicht und warte", 0),
        ("工资", "Gehalt", 0),
        ("ok", "Ich habe die Karte nicht", 1),
    ],
)
def test_language(answer: str, reference: str, same: float) -> None:
    assert same_language(answer, reference) == same


def test_similarity_starts_its_embedder_once_and_stops_it() -> None:
    opened: list[FakeEmbedder] = []

    def embedder() -> FakeEmbedder:
        opened.append(FakeEmbedder())
        return opened[-1]

    score = Similarity(embedder)
    assert score("", "x") == 0 and score("", " ") == 1 and not opened
    assert score("the gate is open", "the gate is open") == pytest.approx(1)
    assert 0 <= score("something else entirely", "the gate is open") < 0.5
    score.stop()
    assert len(opened) == 1
    with pytest.raises(EngineError, match="stopped"):
        opened[0].embed(["x"])


def test_similarity_through_the_real_model(minilm_folder: Path) -> None:
    text = Task.model_validate(
        {
            "task": "t",
            "description": "d",
            "data": {"source": "x"},
            "answer": {"type": "text"},
            "scorers": ["similarity"],
        }
    )
    score = beside_the_metric(text, minilm_folder.parent)["similarity"]
    assert isinstance(score, Similarity)
    try:
        near = score("The freezer is broken again.", "Our cold store does not work any more.")
        far = score("The freezer is broken again.", "When will I get my salary?")
    finally:
        score.stop()
    assert near > far + 0.2


def test_a_scorer_that_fails_marks_its_row_and_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def fussy(answer, reference):\n    return 1.0 if answer == 'a' else 1 / 0\n")
    name = f"python:{path}:fussy"
    task = make_task(scorers=["latency:100", "cost:1,1", name])
    rows = [row(input_tokens=3, latency_ms=50.0), row(answer="b", input_tokens=3, latency_ms=500.0), row(error="gone")]
    asked = [example(at) for at in range(3)]
    found = scored(rows, asked, task, tmp_path)
    assert found[1].faults == {name: "ZeroDivisionError: division by zero"} and name not in found[1].scores
    assert [each.scores.get("latency:100") for each in found] == [1.0, 0.0, None]
    candidate = Candidate(name="c", kind=CandidateKind.REMOTE, digest="c")
    secondary = figures(candidate, found, asked, task).secondary
    assert (secondary[name].n, secondary["latency:100"].n) == (2, 2)
    found = [replace(mine, example=each.id) for mine, each in zip(found, asked, strict=True)]
    report = build(task, dataset(), [(candidate, found)], asked)
    told = {each.scorer: each for each in faults(report, {"c": found})}[name]
    assert (told.rows, told.of, told.why) == (1, 3, "ZeroDivisionError: division by zero")
    assert (secondary["cost:1,1"].value, secondary["cost:1,1"].method) == (pytest.approx(0.003), "all alike")
