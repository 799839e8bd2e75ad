"""The screen before the detectors: whatever it leaves out would have found nothing."""

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.data.detectors import DETECTORS, Detector
from freehold.data.redact import Redaction
from freehold.data.screen import Screen

SENTENCES = [
    msgspec.json.decode(line)["text"]
    for line in (Path(__file__).parent / "redaction" / "sentences.jsonl").read_bytes().splitlines()
]
UNSCREENED = tuple(Detector(kind, find) for kind, find, _ in DETECTORS)
# Sentences cut and put together anywhere, so that half a number stands beside another's half.
torn = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(SENTENCES), st.integers(0, 120), st.integers(0, 120)).map(
            lambda cut: cut[0][min(cut[1:]) : max(cut[1:])]
        ),
        st.text(st.sampled_from("0123456789 -./()+:@AaZz\x1f\n"), max_size=24),
    ),
    max_size=6,
).map("".join)


def test_what_the_screen_leaves_out_finds_nothing_in_any_labelled_sentence() -> None:
    for text in SENTENCES:
        assert Redaction().hide(text) == Redaction(UNSCREENED).hide(text)


@settings(deadline=None, max_examples=400)
@given(torn)
def test_what_the_screen_leaves_out_finds_nothing_in_any_text(text: str) -> None:
    assert Redaction().hide(text) == Redaction(UNSCREENED).hide(text)


def test_most_detectors_are_not_asked_about_a_plain_text() -> None:
    screen = Screen([detector.sign for detector in DETECTORS])
    assert screen.worth_asking("my shift on Monday was swapped") == ()
    asked = [DETECTORS[at].kind for at in screen.worth_asking("write to a@example.com")]
    assert asked == ["EMAIL"]


def test_a_detector_without_a_sign_is_always_asked() -> None:
    screen = Screen(["[0-9]", None])
    assert [list(screen.worth_asking(text)) for text in ("", "no", "7")] == [[1], [1], [0, 1]]


def test_a_text_that_cannot_be_screened_is_asked_about_in_full() -> None:
    screen = Screen(["[0-9]", "@"])
    assert list(screen.worth_asking("half a pair \ud83d")) == [0, 1]
    assert Redaction().hide("\ud83d a@example.com") == "\ud83d [EMAIL_1]"


def test_an_automaton_that_gives_up_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """RE2 answers that nothing matched, not even the empty sign, where its memory does not suffice."""
    screen = Screen(["[0-9]", "@"])
    monkeypatch.setattr(screen, "_set", SimpleNamespace(Match=lambda _text: []))
    assert list(screen.worth_asking("a@example.com")) == [0, 1]
