"""The data card: true counts, every script unharmed, nothing declared shown as unknown."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from data_room import Room, pairs

from freehold.data.card import card, markdown, page
from freehold.data.language import language, script

DATA = {"source": "m.csv", "redact": True}


@pytest.mark.parametrize(
    ("text", "system", "guess"),
    [
        ("When is the payslip for my overtime?", "LATIN", "English"),
        ("Wann kommt die Abrechnung für den Mai?", "LATIN", "German"),
        ("Kapan gaji saya bisa cair, pak?", "LATIN", "Indonesian"),
        ("متى يصل راتبي؟", "ARABIC", None),
        ("冷柜警报又响了", "CJK", None),
        ("冷凍庫の警報です", "HIRAGANA", "Japanese"),
        ("급여 명세서 어디 있어요", "HANGUL", "Korean"),
        ("ok", "LATIN", None),
        ("12:30 ???", None, None),
    ],
)
def test_script_and_language(text: str, system: str | None, guess: str | None) -> None:
    assert (script(text), language(text)) == (system, guess)


def test_the_card_counts_what_is_there(room: Room) -> None:
    room.file("m.csv", pairs(40) + "mail me at a@example.org or <b>b</b>,pay\n" + pairs(1).splitlines()[1] + "\n")
    dataset = room.build(DATA)
    made = card(dataset, room.examples(), room.task({**DATA, "licence": "CC BY 4.0"}).task.data)
    sections = {section.title: section.rows for section in made.sections}
    assert made.digest == dataset.digest
    assert sections["Sources"][1][:5] == ("m.csv", "42", "human 41", "CC BY 4.0", "unknown")
    assert ("duplicate", "1") in sections["Dropped rows"]
    assert ("EMAIL", "1") in sections["Hidden values"]
    assert sections["Checks"][1][1] == "0"
    assert sum(int(cell) for row in sections["Labels"][1:] for cell in row[1:]) == 41
    assert f"`{dataset.digest}`" in markdown(made) and "| m.csv | 42 |" in markdown(made)
    assert "<h2>Labels</h2>" in page(made)


def test_a_label_cannot_break_the_page(room: Room) -> None:
    room.file("m.csv", pairs(30, ("<script>x</script>", "a|b", "رواتب")))
    made = card(room.build({"source": "m.csv"}), room.examples(), room.task({"source": "m.csv"}).task.data)
    assert "<script>" not in page(made) and "رواتب" in page(made)
    assert "a\\|b" in markdown(made)


def test_the_command(freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.csv").write_text(pairs(30))
    (tmp_path / "t.yaml").write_text("task: t\ndescription: d\ndata: {source: m.csv}\n")
    assert freehold("data", "card", "t.yaml", "--json") == 0
    assert json.loads(capsys.readouterr().out)["task"] == "t"
    assert freehold("data", "card", "t.yaml") == 0
    assert "# Data card: t" in capsys.readouterr().out
    assert freehold("data", "card", "t.yaml", "--out", "card.html") == 0
    assert (tmp_path / "card.html").read_text().startswith("<!doctype html>")
    assert freehold("data", "card", "t.yaml", "--out", "card.pdf") == 2
