"""Constraints as grammars."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.engines.engine import Gbnf, JsonSchema, Labels, Regex
from freehold.engines.grammar import labels_gbnf, permits, regex_gbnf, telling_prefixes, to_gbnf
from freehold.errors import UserError

label_lists = st.lists(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=8, unique=True
)


def test_labels_are_quoted() -> None:
    assert labels_gbnf(["yes", 'a "b"', "c\\d", "e\nf"]) == r'root ::= "yes" | "a \"b\"" | "c\\d" | "e\x0Af"'


@given(label_lists)
def test_a_telling_prefix_occurs_in_its_own_label_only(labels: list[str]) -> None:
    for prefix, label in telling_prefixes(labels).items():
        assert label.startswith(prefix)
        assert [other for other in labels if prefix in other] == [label]


@given(label_lists)
def test_a_label_without_a_telling_prefix_is_part_of_another(labels: list[str]) -> None:
    told = set(telling_prefixes(labels).values())
    for label in set(labels) - told:
        assert any(label in other for other in labels if other != label)


@pytest.mark.parametrize(
    ("pattern", "grammar"),
    [
        (r"ab", 'root ::= "a" "b"'),
        (r"^a+b?$", 'root ::= ("a")+ ("b"){0,1}'),
        (r"(yes|no)*", 'root ::= ((("y" "e" "s" | "n" "o")))*'),
        (r"[^a-z\]]\d{2,}", r"root ::= [^a-z\x5D] ([0-9]){2,}"),
        (r".", r"root ::= [^\n]"),
    ],
)
def test_a_regex_as_a_grammar(pattern: str, grammar: str) -> None:
    assert regex_gbnf(pattern) == grammar


@pytest.mark.parametrize("pattern", [r"(", r"(a)\1", r"(?=a)b", r"\bword", r"a{2000}"])
def test_a_regex_that_no_grammar_can_say_is_refused(pattern: str) -> None:
    with pytest.raises(UserError, match="regex"):
        regex_gbnf(pattern)


def test_a_grammar_passes_through() -> None:
    assert to_gbnf(Gbnf(grammar='root ::= "x"')) == 'root ::= "x"'


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        (Labels(labels=("a", "b")), "a", "ab"),
        (Regex(pattern="[0-9]+"), "12", "12a"),
        (JsonSchema(json_schema={"type": "integer"}), "3", '"3"'),
        (JsonSchema(json_schema={"type": "integer"}), "3", "three"),
    ],
)
def test_a_finished_answer_is_checked(constraint: Labels | Regex | JsonSchema, good: str, bad: str) -> None:
    assert permits(constraint, good)
    assert not permits(constraint, bad)


def test_the_parser_behind_re_is_the_one_we_know() -> None:
    assert re.compile("a|b") is not None
    assert regex_gbnf("a|b") == "root ::= [ab]"
