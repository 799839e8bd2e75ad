"""The bundled task is what its README says: many messages, written one by one, no two alike."""

import csv
from collections import Counter
from pathlib import Path

from freehold import spec
from freehold.data.duplicates import near_pairs

FOLDER = Path(__file__).parents[2] / "examples" / "frontline"


def _rows() -> list[dict[str, str]]:
    with (FOLDER / "messages.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_enough_messages_of_every_label() -> None:
    answer = spec.load(FOLDER / "freehold.yaml").task.answer
    assert isinstance(answer, spec.LabelAnswer)
    counts = Counter(row["category"] for row in _rows())
    assert set(counts) == set(answer.labels or ())
    assert len(counts) == 12
    assert sum(counts.values()) >= 720
    assert min(counts.values()) >= 40


def test_fewer_than_two_in_a_hundred_are_near_duplicates() -> None:
    texts = [row["text"] for row in _rows()]
    alike = {at for pair in near_pairs(texts) for at in pair}
    assert len(alike) / len(texts) < 0.02


def test_messages_are_as_people_write_them() -> None:
    texts = [row["text"] for row in _rows()]
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) == 1
    assert max(lengths) >= 50
    assert sum(any(ord(character) > 0x24F for character in text) for text in texts) >= 20  # other scripts, emoji
    assert len({text.split()[0].lower() for text in texts}) > 250  # no skeleton to begin with
