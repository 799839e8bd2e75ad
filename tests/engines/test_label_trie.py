"""The prefix tree of labels: every label is reached by its own tokens, and only they are chosen between."""

from hypothesis import given
from hypothesis import strategies as st

from freehold.engines.label_trie import labelled

tokens = st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple)


@given(st.sets(tokens, min_size=1, max_size=12))
def test_every_label_is_reached_by_its_own_tokens(paths: set[tuple[int, ...]]) -> None:
    tree = labelled({str(path): path for path in paths})
    begun = any(one != other and other[: len(one)] == one for one in paths for other in paths)
    assert (tree is None) == begun
    if tree is None:
        return
    for path in paths:
        walk = tree
        while walk.label is None:
            assert len(walk.next) > 1  # what is forced is not asked
            assert walk.so_far == path[: len(walk.so_far)]
            walk = walk.after(path[len(walk.so_far)])
        assert walk.label == str(path)


def test_one_label_is_known_before_anything_is_asked() -> None:
    tree = labelled({"pay": (7, 8)})
    assert tree is not None
    assert tree.label == "pay"
    assert tree.next == {7}
