"""Each scorer against its definition, on every script."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import UserError
from freehold.evaluation.scorers.exact import exact_match
from freehold.evaluation.scorers.json_fields import canonical_match, field_accuracy, schema_valid
from freehold.evaluation.scorers.registry import beside_the_metric, scorer
from freehold.evaluation.scorers.rouge import _common, rouge_l
from freehold.evaluation.scorers.tokens import words
from freehold.spec import Task

WORDS = st.lists(st.sampled_from("abcde"), max_size=14)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


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


def test_scorers_fit_their_task() -> None:
    data = {"source": "x.csv"}
    text = Task.model_validate({"task": "t", "description": "d", "data": data, "answer": {"type": "text"}})
    schema = {"type": "object", "required": ["a"]}
    fields = Task.model_validate(
        {"task": "t", "description": "d", "data": data, "answer": {"type": "json", "schema": schema}}
    )
    assert set(beside_the_metric(text)) == {"exact_match"}
    assert beside_the_metric(fields)["schema_valid"]('{"b": 1}', "{}") == 0
    with pytest.raises(UserError, match="did you mean rouge_l"):
        scorer("rouge-l", text)
    with pytest.raises(UserError, match="schema_valid needs"):
        scorer("schema_valid", text)
