"""What to label first, out to a file and back as people's references."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from data_room import Room

from freehold.data import sampling
from freehold.errors import DataError
from freehold.records import Dataset, Example, Provenance, Split

TOPICS = {
    "pay": ["payslip", "wage", "bonus", "overtime", "salary", "bank"],
    "safety": ["ladder", "boots", "spill", "alarm", "exit", "helmet"],
    "rota": ["shift", "weekend", "swap", "roster", "holiday", "late"],
}
WRONG = 0.2


@pytest.fixture
def traffic(room: Room) -> tuple[Dataset, list[Example], set[str]]:
    """Three hundred messages whose words tell their label, a fifth of them answered wrong; and the wrong ones' ids."""
    draw = random.Random(3)
    rows = []
    for at in range(300):
        right = list(TOPICS)[at % 3]
        said = right if draw.random() > WRONG else draw.choice([each for each in TOPICS if each != right])
        rows.append({"text": " ".join([*draw.sample(TOPICS[right], 4), f"n{draw.random():.9f}"]), "answer": said})
    room.jsonl("x.jsonl", rows)
    dataset = room.build({"source": "x.jsonl", "provenance": "incumbent"})
    wrong = {each.id for each in room.examples() if each.text.split()[0] not in TOPICS[each.reference]}
    return dataset, room.examples(), wrong


def test_training_picks_are_doubtful_and_proof_picks_are_drawn(
    traffic: tuple[Dataset, list[Example], set[str]],
) -> None:
    dataset, examples, wrong = traffic
    splits = {each.id: each.split for each in examples}
    picks = sampling.sample(dataset, examples, 40, "training")
    assert len({each.id for each in picks}) == 40 and all(splits[each.id] is not Split.HELD_OUT for each in picks)
    assert sum(each.id in wrong for each in picks) > 2 * WRONG * 40
    proof = sampling.sample(dataset, examples, 30, "proof")
    assert all(splits[each.id] is Split.HELD_OUT and each.margin is None for each in proof)
    assert sampling.sample(dataset, examples, 30, "proof") == proof
    assert sampling.sample(dataset, examples, 10, "proof") == proof[:10]


def test_free_text_is_spread_without_a_model(room: Room) -> None:
    rows = [{"text": f"tell me of {topic} {at}", "answer": f"it is {at}"} for at in range(20) for topic in "xyz"]
    room.jsonl("x.jsonl", [{**row, "text": row["text"] + f" {hash(row['text']) % 10**9:x}" * 3} for row in rows])
    dataset = room.build({"source": "x.jsonl", "provenance": "incumbent"}, answer={"type": "text"})
    picks = sampling.sample(dataset, room.examples(), 5, "training")
    assert len({each.id for each in picks}) == 5 and all(each.margin is None for each in picks)


def test_what_people_said_already_is_not_asked_again(room: Room) -> None:
    room.file("m.csv", "text,answer\n" + "".join(f"{at * 7919:x}{at:x}words{at},{'ab'[at % 2]}\n" for at in range(40)))
    dataset = room.build({"source": "m.csv"})
    with pytest.raises(DataError, match="trusted reference already"):
        sampling.sample(dataset, room.examples(), 5, "training")


def test_out_and_back_again(
    freehold: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    traffic: tuple[Dataset, list[Example], set[str]],
) -> None:
    (tmp_path / "t.yaml").write_text("task: t\ndescription: d\ndata: {source: x.jsonl, provenance: incumbent}\n")
    assert freehold("data", "sample", "t.yaml", "--count", 6, "--out", "l.csv", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 6
    with (tmp_path / "l.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows[:4]:
        row["answer"] = "safety"
    with (tmp_path / "l.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert freehold("data", "review", "t.yaml", "--apply", "l.csv") == 0
    assert "4 verdicts kept" in capsys.readouterr().out
    room = Room(tmp_path)
    dataset = room.build({"source": "x.jsonl", "provenance": "incumbent"})
    assert dataset.provenance[Provenance.HUMAN] == 4
