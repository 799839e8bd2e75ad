"""Contamination: what is planted is found, what is not is not, and the fast words are the plain words."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from data_room import Room
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.data.contamination import LENGTH, Contamination, contamination
from freehold.data.corpus import Text, documents, items
from freehold.data.words import between, word_hashes, words
from freehold.progress import SILENT

letters = st.text("ab é,.-'你好กข \n٣ЖﬁＡß😀+", max_size=40)


def search(train: list[str], benchmark: list[str]) -> Contamination:
    return contamination(
        [Text(f"train:{at}", text) for at, text in enumerate(train)],
        [Text(f"bench:{at}", text) for at, text in enumerate(benchmark)],
        SILENT,
    )


def slowly(train: list[str], benchmark: list[str]) -> list[str]:
    """The definition, word for word."""
    texts = [f" {' '.join(words(text))} " for text in train]
    found = []
    for at, item in enumerate(benchmark):
        mine = words(item)
        length = min(LENGTH, len(mine))
        grams = [f" {' '.join(mine[start : start + length])} " for start in range(len(mine) - length + 1)]
        if length and any(gram in text for gram in grams for text in texts):
            found.append(f"bench:{at}")
    return found


@given(st.lists(letters, max_size=5))
def test_hashed_words_are_the_words(texts: list[str]) -> None:
    spelled = [word for text in texts for word in [*words(text), None]]
    hashes = word_hashes(texts).tolist()[1:] if texts else []
    assert len(hashes) == len(spelled)
    pairs = set(zip(spelled, hashes, strict=True))
    assert len(pairs) == len({word for word, _ in pairs}) == len({number for _, number in pairs})
    assert all((word is None) == (number == between()) for word, number in pairs)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=40).map(" ".join), max_size=4),
    st.lists(st.lists(st.sampled_from("abcde"), max_size=18).map(" ".join), min_size=1, max_size=6),
)
def test_the_search_finds_what_the_definition_says(train: list[str], benchmark: list[str]) -> None:
    assert [item.item for item in search(train, benchmark).items] == slowly(train, benchmark)


def test_thirteen_words_are_enough_and_twelve_of_a_longer_item_are_not() -> None:
    item = "One two three, four five six seven eight nine ten eleven twelve THIRTEEN fourteen!"
    mine = words(item)
    assert search([f"before {' '.join(mine[1:])} after"], [item]).contaminated == 1
    assert search([f"before {' '.join(mine[:12])} after"], [item]).contaminated == 0
    assert search(["a SHORT  item; here"], ["Short item"]).items[0].ngram == "short item"


def test_scripts_without_spaces_are_compared_by_character() -> None:
    text = "仓库的冷柜警报又响了请派人来看看好吗谢谢"
    assert search([f"大家早上好。{text[3:17]}明天见"], [text]).contaminated == 1
    assert search([f"大家早上好。{text[3:15]}明天见"], [text]).contaminated == 0


def test_an_item_does_not_match_across_two_texts_or_two_fields() -> None:
    assert search(["it ends with alpha", "beta starts it"], ["alpha beta"]).contaminated == 0
    assert search(["it ends with alpha\0beta starts it"], ["alpha beta"]).contaminated == 0


def test_items_without_words_are_counted_and_never_found() -> None:
    found = search(["anything ..."], ["...", "", "thing"])
    assert (found.contaminated, found.benchmark_items, found.without_words) == (0, 3, 2)


def test_every_kind_of_file_and_a_folder(room: Room) -> None:
    planted = "why does the freezer alarm ring at night"
    room.file("bench.csv", f"question,choice,answer\n{planted}?,yes,A\nsomething else,no,B\n")
    (room.folder / "train").mkdir()
    room.jsonl("train/a.jsonl", [{"messages": [{"role": "user", "content": f"Hello. {planted.upper()}!!"}]}])
    room.file("train/b.md", "# Notes\n\nnothing\n")
    room.file("train/c.png", b"\x89PNG")
    found = contamination(documents(room.folder / "train"), items(room.folder / "bench.csv"), SILENT)
    assert [(each.item, each.found_in) for each in found.items] == [("bench.csv:2", "a.jsonl:1")]
    assert found.documents == 2


def test_a_plain_file_is_searched_across_its_pieces(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.data.corpus._DOCUMENT_CHARS", 300)
    lines = [f"line {at} of it" for at in range(60)]
    room.file("t.txt", "\n".join(lines))
    pieces = list(documents(room.folder / "t.txt"))
    assert len(pieces) > 2
    wanted = [Text(f"b:{at}", " ".join(lines[at : at + 4])) for at in range(57)]
    assert contamination(pieces, wanted, SILENT).contaminated == 57


def test_the_command_prints_the_contract(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "what is the capital of france, really"}\n')
    (tmp_path / "bench.csv").write_text("question,answer\nWhat is the capital of France?,Paris\nWho?,me\n")
    assert freehold("data", "contamination", "train.jsonl", "--against", "bench.csv", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["contaminated"] == 1 and document["benchmark_items"] == 2
    assert document["items"][0]["item"] == "bench.csv:2" and document["items"][0]["found_in"] == "train.jsonl:1"
    assert freehold("data", "contamination", "train.jsonl", "--against", "bench.csv") == 0
    assert "1 of 2 benchmark items (50.0%)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("train", "against", "says"),
    [
        (["gone.jsonl"], ["bench.csv"], "gone.jsonl: no such file"),
        (
            ["train.jsonl"],
            ["bench.csv", "--column", "questoin"],
            "bench.csv:2: there is no column 'questoin'; they are",
        ),
        (["train.jsonl"], ["header.csv"], "the benchmark holds no items"),
        (["broken.jsonl"], ["bench.csv"], "broken.jsonl:2: is not JSON"),
    ],
)
def test_bad_input_exits_2(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    train: list[str], against: list[str], says: str,
) -> None:  # fmt: skip
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "broken.jsonl").write_text('{"text": "a"}\n{"text"\n')
    (tmp_path / "bench.csv").write_text("question\nWhat?\n")
    (tmp_path / "header.csv").write_text("question\n")
    assert freehold("data", "contamination", *train, "--against", *against) == 2
    assert says in capsys.readouterr().err
