"""Redaction: the labelled sentences, exact restoring, streams, and no text that takes for ever."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from data_room import Room, pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.data.checksums import card, iban, luhn, verhoeff
from freehold.data.detectors import DETECTORS, own_pattern
from freehold.data.redact import Redaction
from freehold.errors import UserError

SENTENCES = [
    msgspec.json.decode(line)
    for line in (Path(__file__).parent / "redaction" / "sentences.jsonl").read_bytes().splitlines()
]
VALUES = [span["text"] for sentence in SENTENCES for span in sentence["spans"]]

FRAGMENTS = ["[EMAIL_1]", "[EMAIL_2]", "[ID_", "1]", "[", "_1]", "[CARD_9]"]
# Texts around values, placeholders and their fragments.
woven = st.lists(
    st.one_of(st.text(max_size=6), st.sampled_from([*VALUES, *FRAGMENTS])),
    max_size=8,
).map(" ".join)


def test_there_are_at_least_300_labelled_sentences() -> None:
    assert len(SENTENCES) >= 300
    assert sum(not sentence["spans"] for sentence in SENTENCES) >= 75


def test_every_labelled_value_is_hidden_under_its_kind() -> None:
    missed = []
    for sentence in SENTENCES:
        redaction = Redaction()
        hidden = redaction.hide(sentence["text"])
        kinds = Counter(span["kind"].upper() for span in sentence["spans"])
        shown = [span["text"] for span in sentence["spans"] if span["text"] in hidden]
        if shown or redaction.counts != kinds:
            missed.append((sentence["text"], hidden))
    assert missed == []


def test_sentences_without_a_value_are_left_alone() -> None:
    plain = [sentence["text"] for sentence in SENTENCES if not sentence["spans"]]
    assert [Redaction().hide(text) for text in plain] == plain


def test_the_same_value_has_the_same_placeholder_through_an_exchange() -> None:
    redaction = Redaction()
    first = redaction.hide("mail a@example.com or b@example.com")
    second = redaction.hide("b@example.com it is, not a@example.com")
    assert first == "mail [EMAIL_1] or [EMAIL_2]"
    assert second == "[EMAIL_2] it is, not [EMAIL_1]"
    assert (
        redaction.restore("Wrote to [EMAIL_2]; [EMAIL_7] is unknown") == "Wrote to b@example.com; [EMAIL_7] is unknown"
    )
    assert redaction.counts == {"EMAIL": 4}


@settings(deadline=None)
@given(woven)
def test_restoring_gives_back_every_character(text: str) -> None:
    redaction = Redaction()
    assert redaction.restore(redaction.hide(text)) == text


@settings(deadline=None)
@given(woven)
def test_redacted_text_is_redacted_to_itself(text: str) -> None:
    """What was captured redacted and is redacted again for training reads as it was served."""
    once = Redaction().hide(text)
    again = Redaction()
    assert again.hide(once) == once
    assert not again.counts


@settings(deadline=None)
@given(woven, st.lists(st.integers(0, 60), max_size=8))
def test_a_streamed_answer_is_restored_like_a_whole_one(text: str, cuts: list[int]) -> None:
    redaction = Redaction()
    hidden = redaction.hide(text)
    places = [0, *sorted(min(cut, len(hidden)) for cut in cuts), len(hidden)]
    stream = redaction.restoring()
    fed = "".join(stream.feed(hidden[at:to]) for at, to in pairwise(places))
    assert fed + stream.finish() == text


def test_a_stream_holds_back_only_what_may_be_a_placeholder() -> None:
    redaction = Redaction()
    redaction.hide("a@example.com")
    stream = redaction.restoring()
    assert [stream.feed(piece) for piece in ("Hi [", "EMA", "IL_1", "] and [see", " below]")] == [
        "Hi ",
        "",
        "",
        "a@example.com and [see",
        " below]",
    ]


def test_a_number_beside_another_is_not_overlooked() -> None:
    text = "+90 532 123 45 67 5100 0000 0000 0008 +55 21 99876-5432 4858 4107 1959 9041 12 or BSN 999999999 123456782"
    assert Redaction().hide(text) == "[PHONE_1] [CARD_1] [PHONE_2] [CARD_2] 12 or BSN 999999999 [ID_1]"


def test_every_text_of_a_json_value_is_hidden_and_keys_stay() -> None:
    value: Any = {"a@example.com": ["b@example.com", 7, None, {"x": "to b@example.com"}]}
    redaction = Redaction()
    hidden = redaction.hide_all(value)
    assert hidden == {"a@example.com": ["[EMAIL_1]", 7, None, {"x": "to [EMAIL_1]"}]}


def test_own_patterns_come_beside_the_built_in_ones() -> None:
    redaction = Redaction((own_pattern("STAFF_NUMBER", r"\bE-\d{4}\b"), *DETECTORS))
    hidden = redaction.hide("E-4417 and a@example.com and E-4417")
    assert hidden == "[STAFF_NUMBER_1] and [EMAIL_1] and [STAFF_NUMBER_1]"
    assert redaction.restore(hidden) == "E-4417 and a@example.com and E-4417"


@pytest.mark.parametrize(
    ("kind", "pattern", "says"),
    [("staff", "x", "capital letters"), ("STAFF", "(", "not a regular expression"), ("STAFF", "x*", "the empty text")],
)
def test_an_own_pattern_that_cannot_work_is_refused(kind: str, pattern: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        own_pattern(kind, pattern)


@pytest.mark.parametrize(
    "text",
    [
        "@" + "a" * 100_000,
        "a@" + "a." * 50_000,
        "a@a" + ".a-" * 30_000,
        "eyJ-" * 25_000,
        "1" * 100_000,
        "+1 " * 30_000,
        "1::" * 30_000,
        "[EMAIL_1" * 10_000,
        "a@example.com " * 7_000,
        "password is " * 8_000,
        "password" + " " * 100_000 + "x",
        "DE12 " * 20_000,
    ],
    ids=lambda text: text[:12],
)
def test_no_text_takes_for_ever(text: str) -> None:
    """Patterns that could be made to backtrack without end would hang here."""
    redaction = Redaction()
    assert redaction.restore(redaction.hide(text)) == text


def test_check_digits_of_published_numbers() -> None:
    assert luhn("79927398713") and not luhn("79927398710")
    assert iban("DE89370400440532013000") and not iban("DE89370400440532013001")
    assert card("4111111111111111") and not card("4111111111111112") and not card("1234567812345670")
    assert verhoeff("2363") and not verhoeff("2364")


@given(st.sampled_from([text for text in VALUES if text.isdigit()]), st.integers(0, 40), st.integers(1, 9))
def test_a_card_with_one_wrong_digit_is_no_card(value: str, at: int, more: int) -> None:
    place = at % len(value)
    changed = value[:place] + str((int(value[place]) + more) % 10) + value[place + 1 :]
    assert not (card(value) and card(changed))


def test_a_dataset_is_redacted_where_the_task_says_so(room: Room) -> None:
    room.file("m.csv", pairs(30) + "write to anna@example.org or anna@example.org,pay\n")
    plain = room.build({"source": "m.csv"})
    assert any("anna@example.org" in example.text for example in room.examples()) and not plain.redacted
    hidden = room.build({"source": "m.csv", "redact": True})
    assert hidden.redacted and hidden.digest != plain.digest
    assert [example.text for example in room.examples()][-1] == "write to [EMAIL_1] or [EMAIL_1]"
    folder = room.workspace.datasets / hidden.digest
    assert not any(b"anna" in path.read_bytes() for path in folder.iterdir())
