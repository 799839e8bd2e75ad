"""Near-duplicates: the LSH finds what comparing every pair finds, and the independent check agrees."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.data.duplicates import apart, distinct, near_pairs
from freehold.data.leakage import leaks
from freehold.data.row import Row
from freehold.data.shingles import alike, normal, shingles
from freehold.records import Message, Provenance


def row(index: int, text: str, answer: str = "a", session: str | None = None) -> Row:
    message = Message(role="user", content=text)
    return Row(index, f"f:{index}", (message,), answer, Provenance.HUMAN, session=session)


def rows_of(texts: Sequence[str]) -> list[Row]:
    return [row(index, text) for index, text in enumerate(texts)]


def every_pair(texts: Sequence[str]) -> list[tuple[int, int]]:
    grams = [shingles(text) for text in texts]
    ranks = range(len(texts))
    return [(i, j) for i in ranks for j in ranks if i < j and alike(grams[i], grams[j])]


# Few letters and edits of one another, so that near-duplicates are common.
short = st.text("ab é你", max_size=12)
edited = st.lists(st.text("abcdef ", min_size=20, max_size=60), min_size=1, max_size=4).flatmap(
    lambda bases: st.lists(
        st.builds(
            lambda base, at, letter: base[: at % len(base)] + letter + base[at % len(base) + 1 :],
            st.sampled_from(bases),
            st.integers(0, 60),
            st.sampled_from("abcxyz你"),
        ),
        max_size=12,
    )
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.lists(short, max_size=12), edited))
def test_lsh_finds_what_comparing_every_pair_finds(texts: list[str]) -> None:
    distinct_texts = list(dict.fromkeys(map(normal, texts)))
    assert list(near_pairs(distinct_texts)) == every_pair(distinct_texts)


@settings(max_examples=100, deadline=None)
@given(edited, edited)
def test_what_is_kept_apart_has_no_leak_and_what_is_not_has_one(pool: list[str], held: list[str]) -> None:
    rows = rows_of([*pool, *held])
    mine, others = rows[: len(pool)], rows[len(pool) :]
    far, close = apart(mine, others)
    assert leaks(others, far) == []
    assert len({other for _, other in leaks(others, mine)}) == len(close)


@settings(max_examples=100, deadline=None)
@given(edited, st.randoms(use_true_random=False))
def test_nothing_kept_is_like_something_kept_with_the_same_answer(texts: list[str], random: object) -> None:
    rows = [row(index, text, "ab"[len(text) * index % 2]) for index, text in enumerate(texts)]
    result = distinct(rows)
    kept = [(shingles(normal(each.text)), each.answer) for each in result.kept]
    like = [a == b for at, (first, a) in enumerate(kept) for second, b in kept[at + 1 :] if alike(first, second)]
    assert not any(like)
    assert result.conflicts == len(like)
    assert len(result.kept) + len(result.dropped) == len(rows)


def test_different_answers_are_never_merged() -> None:
    result = distinct(
        [row(0, "My card is late", "card"), row(1, "my CARD is late", "fees"), row(2, "My card is late", "card")]
    )
    assert [each.index for each in result.kept] == [0, 1]
    assert [(each.row.index, each.reason, each.because) for each in result.dropped] == [(2, "duplicate", "f:0")]
    assert result.conflicts == 1


def test_likeness_at_the_border_is_exact() -> None:
    """Jaccard 4/5 is a near-duplicate, anything less is not."""
    ten = frozenset(map(str, range(8)))
    assert alike(ten, frozenset(map(str, range(10))))
    assert not alike(ten, frozenset(map(str, range(11))))


def test_compatibility_forms_and_case_are_one_text() -> None:
    assert normal("ＦＵＬＬ width Straße ﬁn") == normal("full WIDTH strasse FIN")


def test_short_texts_are_like_themselves_only() -> None:
    assert list(near_pairs(["yes", "yes!", "no", ""])) == []


def test_a_shared_session_is_a_leak() -> None:
    assert leaks([row(0, "one thing here", session="s")], [row(1, "something else", session="s")]) == [("f:0", "f:1")]
