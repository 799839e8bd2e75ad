"""The dataset of a task: what is read, what falls out and why, and that the same input gives the same digest."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from data_room import Room, pairs

from freehold.data import build
from freehold.data.freeze import dropped
from freehold.data.leakage import leaks
from freehold.data.row import Row
from freehold.errors import DataError, NotFoundError
from freehold.progress import SILENT
from freehold.records import Example, Message, Provenance, Split
from freehold.spec import load
from freehold.store.workspace import Workspace

BANKING77 = Path(__file__).parents[2].parent / "shared" / "data" / "banking77"


def as_row(example: Example) -> Row:
    return Row(0, example.origin, example.messages, example.reference, example.provenance, session=example.session)


def test_a_csv_is_split_stratified_and_counted(room: Room) -> None:
    room.file("m.csv", pairs(300))
    dataset = room.build({"source": "m.csv"})
    assert dataset.counts == {Split.TRAIN: 210, Split.VALIDATION: 30, Split.HELD_OUT: 60}
    assert dataset.labels == ("pay", "rota", "safety")
    assert dataset.provenance == {Provenance.HUMAN: 300}
    assert Counter(e.reference for e in room.examples() if e.split is Split.HELD_OUT) == Counter(
        pay=20, rota=20, safety=20
    )
    assert dataset.sources[0].name == "m.csv" and dataset.sources[0].rows == 300


def test_same_input_and_seed_give_the_same_digest_in_any_folder(room: Room, tmp_path: Path) -> None:
    room.file("m.csv", pairs(60))
    first = room.build({"source": "m.csv"})
    shutil.rmtree(room.workspace.root)
    again = room.build({"source": "m.csv"})
    other = tmp_path / "elsewhere"
    other.mkdir()
    for name in ("m.csv", "task.yaml"):
        shutil.copy(tmp_path / name, other / name)
    moved = build.build(load(other / "task.yaml"), Workspace(other / ".freehold"), SILENT)
    assert first == again == moved
    assert room.build({"source": "m.csv"}, seed=1).digest != first.digest


def test_another_byte_in_the_source_changes_every_salt(room: Room) -> None:
    room.file("m.csv", pairs(60))
    room.build({"source": "m.csv"})
    before = {example.salt for example in room.examples()}
    room.file("m.csv", pairs(60) + "one more message about the walk-in cooler,pay\n")
    room.build({"source": "m.csv"})
    assert not before & {example.salt for example in room.examples()}


def test_duplicates_fall_out_with_their_reason_and_origin(room: Room) -> None:
    long = "the walk-in freezer alarm is going off again and nobody is here to help me"
    room.file("m.csv", pairs(40) + f"{long},safety\n{long.upper()},safety\n{long}!,safety\n{long},pay\n")
    dataset = room.build({"source": "m.csv"})
    assert dataset.dropped["duplicate"] == 1 and dataset.dropped["near_duplicate"] == 1
    assert dataset.conflicts == 1
    reasons = {each.origin: (each.reason, each.because) for each in dropped(room.workspace, dataset.digest)}
    assert reasons["m.csv:43"] == ("duplicate", "m.csv:42")
    assert reasons["m.csv:44"] == ("near_duplicate", "m.csv:42")


def test_a_held_out_file_is_kept_whole_and_its_neighbours_leave_training(room: Room) -> None:
    header, *lines = pairs(60).splitlines()
    room.file("m.csv", "\n".join([header, *lines]) + "\n")
    shouted = [f"{text.upper()},{label}" for text, _, label in (line.partition(",") for line in lines[:10])]
    room.file("test.csv", "\n".join([header, *shouted]) + "\n")
    dataset = room.build({"source": "m.csv", "held_out": "test.csv"})
    assert dataset.counts[Split.HELD_OUT] == 10
    assert dataset.dropped == {"neighbour_of_held_out": 10}
    found = room.examples()
    held = [as_row(e) for e in found if e.split is Split.HELD_OUT]
    assert leaks(held, [as_row(e) for e in found if e.split is not Split.HELD_OUT]) == []


def test_sessions_are_never_parted(room: Room) -> None:
    lines = pairs(120).splitlines()
    body = [f"{line},s{at // 4}" for at, line in enumerate(lines[1:])]
    room.file("m.csv", "\n".join([lines[0] + ",session", *body]) + "\n")
    dataset = room.build({"source": "m.csv"})
    sides: dict[str | None, set[Split]] = {}
    for example in room.examples():
        sides.setdefault(example.session, set()).add(example.split)
    assert all(len(splits) == 1 for splits in sides.values())
    assert dataset.counts[Split.HELD_OUT] == 24


def test_the_limit_cuts_training_and_validation_only(room: Room) -> None:
    room.file("m.csv", pairs(300))
    dataset = room.build({"source": "m.csv", "limit": 70})
    assert dataset.counts == {Split.TRAIN: 70, Split.VALIDATION: 10, Split.HELD_OUT: 60}
    assert dataset.dropped == {"over_limit": 160}


def chat(text: str, answer: str | None, **more: object) -> dict[str, Any]:
    turns = [{"role": "system", "content": "Sort."}, {"role": "user", "content": text}]
    return {"messages": turns + ([{"role": "assistant", "content": answer}] if answer is not None else []), **more}


def test_exchanges_in_both_forms_with_feedback(room: Room) -> None:
    texts = [line.split(",") for line in pairs(40).splitlines()[1:]]
    rows: list[Any] = [chat(text, answer) for text, answer in texts]
    recorded = chat("the boiler hisses", None, model="gpt-4o-mini", user="anna@example.org")
    reply = {"choices": [{"message": {"role": "assistant", "content": "safety"}}]}
    rows += [
        {"request": recorded, "response": reply, "feedback": "accepted"},
        chat("who changed my shift", "pay", feedback={"verdict": "corrected", "correction": "rota"}),
        chat("no idea what this is", "pay", feedback="rejected"),
        chat("who wrote this one", "pay", provenance="human"),
    ]
    room.jsonl("x.jsonl", rows)
    dataset = room.build({"source": "x.jsonl", "provenance": "incumbent"})
    by_text = {example.text: example for example in room.examples()}
    assert dataset.provenance == {
        Provenance.HUMAN: 1,
        Provenance.CORRECTED: 1,
        Provenance.ACCEPTED: 1,
        Provenance.INCUMBENT: 40,
    }
    assert dataset.dropped == {"rejected": 1}
    corrected = by_text["who changed my shift"]
    assert (corrected.reference, corrected.incumbent_answer) == ("rota", "pay")
    accepted = by_text["the boiler hisses"]
    assert (accepted.reference, accepted.incumbent_answer) == ("safety", "safety")
    assert accepted.messages[0] == Message(role="system", content="Sort.")
    assert accepted.subject and "anna" not in accepted.subject
    assert by_text["who wrote this one"].incumbent_answer is None


def test_parquet_pairs_and_nested_types(room: Room) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [line.split(",") for line in pairs(40).splitlines()[1:]]
    table = pa.table({"text": [text for text, _ in cells], "answer": [answer for _, answer in cells]})
    pq.write_table(table, room.folder / "m.parquet")
    assert room.build({"source": "m.parquet"}).counts[Split.HELD_OUT] == 8
    assert room.examples()[0].origin == "m.parquet:1"
    pq.write_table(pa.table({"text": [["a"], ["b"]], "answer": ["x", "y"]}), room.folder / "n.parquet")
    with pytest.raises(DataError, match=r"n\.parquet:1: column text holds a list, not text"):
        room.build({"source": "n.parquet"})


def test_json_answers_are_checked_against_the_schema(room: Room) -> None:
    answer = {"type": "json", "schema": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}}
    texts = [line.split(",")[0] for line in pairs(30).splitlines()[1:]]
    room.jsonl("j.jsonl", [{"text": text, "answer": {"n": at}} for at, text in enumerate(texts)])
    room.build({"source": "j.jsonl"}, answer=answer)
    assert room.examples()[3].reference == '{"n":3}'
    room.jsonl("j.jsonl", [{"text": "a", "answer": {"n": 1}}, {"text": "b", "answer": '{"n": "two"}'}])
    with pytest.raises(
        DataError, match=r"j\.jsonl:2: the answer does not satisfy answer\.schema at \$\.n: 'two' is not"
    ):
        room.build({"source": "j.jsonl"}, answer=answer)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (("رواتب", "سلامة"), "الثلاجة رقم {} لا تعمل منذ الصباح الباكر"),
        (("工资", "安全"), "{}号仓库的冷柜警报又响了请派人来看看"),
        (("gaji", "keselamatan"), "Alarm pendingin nomor {} berbunyi lagi sejak tadi pagi"),
    ],
)
def test_any_script_comes_through_unharmed(room: Room, labels: tuple[str, ...], text: str) -> None:
    texts = [f"{chr(0x4E00 + at * 37)}{chr(0x627 + at % 26)}{at * 7919} " * 3 + text.format(at) for at in range(40)]
    room.jsonl("m.jsonl", [{"text": each, "answer": labels[at % 2]} for at, each in enumerate(texts)])
    dataset = room.build({"source": "m.jsonl"})
    assert set(dataset.labels) == set(labels)
    assert {example.text for example in room.examples()} <= set(texts)


def test_labels_and_only_labels_are_composed(room: Room) -> None:
    text = "le cafe\u0301 est froid ce matin"
    room.file("m.csv", pairs(30, ("café", "cafe\u0301", "thé")) + f"{text},thé\n")
    dataset = room.build({"source": "m.csv"})
    assert dataset.labels == ("café", "thé")
    assert text in {example.text for example in room.examples()}


GOOD = "text,answer\na message,pay\nanother one,rota\n"


@pytest.mark.parametrize(
    ("name", "content", "labels", "says"),
    [
        ("m.csv", "", None, "m.csv: is empty"),
        ("m.csv", "text,answer\n", None, "holds no rows"),
        ("m.csv", GOOD + "third,\n", None, "m.csv:4: has no answer; column answer is empty"),
        ("m.csv", GOOD + ' ,"pay"\n', None, "m.csv:4: has no input; column text is empty"),
        (
            "m.csv",
            GOOD + "third,payy\n",
            ["pay", "rota"],
            "m.csv:4: the answer 'payy' is not one of the 2 labels: pay, rota; did you mean pay?",
        ),
        ("m.csv", "text,answer\na,pay\nb,pay\n", None, "fewer than two labels (the only one is 'pay')"),
        (
            "m.csv",
            "txt,answer\na,pay\n",
            None,
            "there is no column 'text' (data.input); the columns are txt, answer; did you mean txt?",
        ),
        ("m.csv", GOOD, None, "2 distinct examples are too few"),
        ("m.csv", GOOD + "a,b,pay\n", None, "m.csv:4: has 3 fields where the header names 2"),
        ("m.csv", GOOD + '"open,pay\nx,y\n', None, "m.csv:4: unexpected end of data; is a quotation mark left open?"),
        ("m.csv", GOOD.encode() + b"caf\xe9,pay\n", None, "m.csv:4: byte 0xE9 is not UTF-8"),
        ("m.csv", GOOD.encode("utf-16"), None, "m.csv: is UTF-16"),
        ("m.csv", "text,text\na,b\n", None, "two columns are named 'text'"),
        ("m.txt", GOOD, None, "its ending does not say what it holds"),
        ("m.jsonl", '{"text":"a","answer":"x"}\n{"text": "b", \n', None, "m.jsonl:2: is not JSON"),
        ("m.jsonl", "[1]\n", None, "m.jsonl:1: is not a JSON object"),
        ("m.jsonl", '{"text":"a","answer":"x"}\n{"prompt":"b"}\n', None, "m.jsonl:2: there is no column 'text'"),
        ("m.jsonl", '{"messages":[{"role":"user","content":"a"}]}\n', None, "m.jsonl:1: has no answer; the last turn"),
        ("m.jsonl", '{"messages":[{"role":"robot","content":"a"}]}\n', None, "m.jsonl:1: a turn has no known role"),
        ("m.jsonl", '{"messages":"a"}\n', None, "m.jsonl:1: messages is not a list of turns"),
        ("m.jsonl", '{"request":{"messages":[{"role":"user","content":"a"}]}}\n', None, "response.choices is missing"),
        ("m.jsonl", '{"text":"a","answer":"x","feedback":"meh"}\n', None, "m.jsonl:1: feedback is 'meh'"),
        ("m.jsonl", '{"text":"a","answer":"x","provenance":"me"}\n', None, "m.jsonl:1: provenance is 'me'"),
        ("m.jsonl", '{"text":7,"answer":"x"}\n', None, "m.jsonl:1: column text holds a int, not text"),
        ("m.parquet", "PAR1 not", None, "m.parquet: cannot be read as Parquet"),
    ],
)
def test_bad_input_is_one_sentence_that_names_the_place(
    room: Room, name: str, content: str | bytes, labels: list[str] | None, says: str
) -> None:
    room.file(name, content)
    answer = {"answer": {"type": "label", "labels": labels}} if labels else {}
    with pytest.raises(DataError) as caught:
        room.build({"source": name}, **answer)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not room.workspace.datasets.exists()


def test_a_missing_file_and_no_captures_are_told_apart(room: Room) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        room.build({"source": "gone.csv"})
    with pytest.raises(DataError, match="has recorded no exchanges with t;"):
        room.build({"source": "captured"})


def test_other_answers_may_be_dropped(room: Room) -> None:
    room.file("m.csv", pairs(60))
    labels = {"type": "label", "labels": ["pay", "rota"]}
    dataset = room.build({"source": "m.csv", "other_answers": "drop"}, answer=labels)
    assert dataset.labels == ("pay", "rota") and dataset.dropped == {"other_answer": 20}


def test_quoted_line_breaks_keep_the_line_of_the_row(room: Room) -> None:
    room.file("m.csv", '\ufefftext,answer\n"two\nlines",pay\n' + pairs(20).partition("\n")[2])
    room.build({"source": "m.csv"})
    assert [example.origin for example in room.examples()][:2] == ["m.csv:2", "m.csv:4"]
    assert room.examples()[0].text == "two\nlines"


def test_an_unfinished_dataset_is_no_dataset(room: Room) -> None:
    room.file("m.csv", pairs(30))
    dataset = room.build({"source": "m.csv"})
    assert build.read(room.workspace, dataset.digest) == dataset
    (room.workspace.datasets / dataset.digest / "dataset.json").unlink()
    with pytest.raises(NotFoundError):
        build.read(room.workspace, dataset.digest)


@pytest.mark.skipif(not BANKING77.exists(), reason="needs ../shared/data/banking77")
def test_banking77_keeps_the_official_test_and_drops_its_neighbours(room: Room) -> None:
    """Comparing every pair by the same definition gives 109 training rows near 100 test messages."""
    source = {"source": str(BANKING77 / "train.csv"), "held_out": str(BANKING77 / "test.csv"), "answer": "category"}
    dataset = room.build(source)
    assert len(dataset.labels) == 77 and dataset.counts[Split.HELD_OUT] == 3080
    assert dataset.dropped["neighbour_of_held_out"] == 109
    assert sum(dataset.counts.values()) + sum(dataset.dropped.values()) == 13083
    twelve = {"type": "label", "labels": list(dataset.labels[:12])}
    small = room.build({**source, "other_answers": "drop"}, answer=twelve)
    assert small.labels == dataset.labels[:12] and small.counts[Split.HELD_OUT] == 480
