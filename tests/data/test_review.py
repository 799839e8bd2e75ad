"""Labels that may be wrong, a person's verdicts on them, and what became of a row."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from data_room import Room, pairs

from freehold.cli import data as cli
from freehold.data import corrections, files, verdicts
from freehold.data.quality import suspects
from freehold.errors import DataError
from freehold.records import Example, Message, Provenance, Split

BANKING77 = Path(__file__).parents[2].parent / "shared" / "data" / "banking77" / "train.csv"
TASK = "task: t\ndescription: d\ndata: {source: m.csv}\n"
TOPICS = {
    "pay": ["payslip", "wage", "bonus", "overtime", "salary", "bank"],
    "safety": ["ladder", "boots", "spill", "alarm", "exit", "helmet"],
    "rota": ["shift", "weekend", "swap", "roster", "holiday", "late"],
}


def example(number: int, text: str, label: str) -> Example:
    message = Message(role="user", content=text)
    return Example(
        id=f"{number:064x}",
        salt="",
        split=Split.TRAIN,
        messages=(message,),
        reference=label,
        provenance=Provenance.HUMAN,
        origin=f"f:{number}",
    )


def topical(count: int) -> list[tuple[str, str]]:
    """Texts whose words tell their label."""
    draw = random.Random(0)
    labels = list(TOPICS)
    return [(" ".join([*draw.sample(TOPICS[labels[at % 3]], 3), f"n{at}"]), labels[at % 3]) for at in range(count)]


def csv_of(rows: list[tuple[str, str]]) -> str:
    return "text,answer\n" + "".join(f"{text},{label}\n" for text, label in rows)


@pytest.mark.skipif(not BANKING77.exists(), reason="needs ../shared/data/banking77")
def test_most_flipped_labels_of_banking77_are_among_the_worst_tenth() -> None:
    rows = [(fields["text"], fields["category"]) for _, fields in files.read(BANKING77)]
    draw = random.Random(0)
    flipped = set(draw.sample(range(len(rows)), len(rows) // 20))
    labels = sorted({label for _, label in rows})
    examples = [
        example(at, text, draw.choice([other for other in labels if other != label]) if at in flipped else label)
        for at, (text, label) in enumerate(rows)
    ]
    worst = {int(each.id, 16) for each in suspects(examples, 0)[: len(rows) // 10]}
    assert len(worst & flipped) >= 0.7 * len(flipped)


def test_a_flipped_label_is_first_and_the_right_one_is_suggested() -> None:
    examples = [example(at, text, label) for at, (text, label) in enumerate(topical(90))]
    examples[30] = example(30, examples[30].text, "rota")
    found = suspects(examples, 0)
    assert (found[0].origin, found[0].label, found[0].suggested) == ("f:30", "rota", "pay")
    assert found[0].margin < 0 < found[-1].margin and len(found) == 90


def test_a_label_that_stands_once_is_not_judged() -> None:
    examples = [example(at, text, label) for at, (text, label) in enumerate(topical(30))]
    found = suspects([*examples, example(99, "one of a kind", "other")], 0)
    assert len(found) == 30 and all(each.label != "other" for each in found)
    with pytest.raises(DataError, match="too few labels stand on two examples"):
        suspects([example(1, "a b", "x"), example(2, "c d", "y")], 0)


def test_a_verdict_becomes_a_human_reference(room: Room) -> None:
    room.file("m.csv", csv_of(topical(60)))
    before = room.build({"source": "m.csv", "provenance": "incumbent"})
    chosen = room.examples()[7]
    verdicts.keep(room.workspace, before, chosen, "rota")
    verdicts.keep(room.workspace, before, chosen, "safety")
    after = room.build({"source": "m.csv", "provenance": "incumbent"})
    mended = next(each for each in room.examples() if each.origin == chosen.origin)
    assert (mended.reference, mended.provenance, mended.incumbent_answer) == (
        "safety",
        Provenance.HUMAN,
        chosen.reference,
    )
    assert after.digest != before.digest and after.provenance[Provenance.HUMAN] == 1
    stored = corrections.file_of(room.workspace, "t").read_text()
    assert chosen.text not in stored


def test_verdicts_of_a_file_are_all_kept_or_none(room: Room) -> None:
    room.file("m.csv", csv_of(topical(60)))
    dataset = room.build({"source": "m.csv"})
    first, second = room.examples()[:2]
    bad = room.file("v.csv", f"id,answer\n{first.id[:16]},rota\n{second.id[:16]},rotta\n")
    with pytest.raises(DataError, match=r"v\.csv:3: 'rotta' is not one of the labels; did you mean rota\?"):
        verdicts.apply(room.workspace, dataset, room.examples(), bad)
    assert corrections.read(room.workspace, "t") == {}
    good = room.file("v.csv", f"id,answer\n{first.id[:16]},rota\n")
    assert verdicts.apply(room.workspace, dataset, room.examples(), good) == 1
    with pytest.raises(DataError, match="needs an `id` and an `answer`"):
        verdicts.apply(room.workspace, dataset, room.examples(), room.file("v.csv", "id,answer\n,rota\n"))


def test_the_commands(
    freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = topical(90)
    rows[30] = (rows[30][0], "rota")
    (tmp_path / "m.csv").write_text(csv_of([*rows, rows[0]]))
    (tmp_path / "t.yaml").write_text(TASK)
    assert freehold("data", "review", "t.yaml", "--limit", 5, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 5 and found[0]["origin"] == "m.csv:32" and found[0]["suggested"] == "pay"
    assert freehold("data", "review", "t.yaml") == 0
    assert "m.csv:32" in capsys.readouterr().out
    assert freehold("data", "why", found[0]["id"][:10]) == 0
    assert "m.csv:32  kept for" in capsys.readouterr().out
    assert freehold("data", "why", "zz") == 2
    assert "no example or dropped row" in capsys.readouterr().err

    said = iter(["s", "q"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(cli.typer, "prompt", lambda *_arguments, **_options: next(said))
    assert freehold("data", "review", "t.yaml") == 0
    capsys.readouterr()
    assert freehold("data", "review", "t.yaml", "--json") == 0
    assert all(each["origin"] != "m.csv:32" or each["label"] == "pay" for each in json.loads(capsys.readouterr().out))


def test_why_tells_a_dropped_row(freehold: Callable[..., int], room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    from freehold.data.freeze import dropped

    room.file("m.csv", pairs(30) + pairs(1).splitlines()[1] + "\n")
    dataset = room.build({"source": "m.csv"})
    row = dropped(room.workspace, dataset.digest)[0]
    assert freehold("data", "why", row.id) == 0
    assert "m.csv:32  dropped: duplicate, displaced by m.csv:2" in capsys.readouterr().out
    assert freehold("data", "why", row.id, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["because"] == "m.csv:2"
