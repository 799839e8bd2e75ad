"""`freehold plan` says what the plan takes before anything is spent."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.data import build
from freehold.progress import SILENT
from freehold.spec import load
from freehold.store.workspace import Workspace

TASK = """\
task: triage
description: Route it.
data: {source: pairs.csv, input: text, answer: label}
tune: {method: none}
decide: {margin: 0.02}
"""
SENTENCE = "to show non-inferiority within 2 points at 10 % disagreement you need about 1,550 pairs"


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    rows = [f"{word} {at} {word[::-1]},{word}" for at in range(40) for word in ("payroll", "safety", "leave")]
    (tmp_path / "pairs.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    path = tmp_path / "freehold.yaml"
    path.write_text(TASK)
    return path


def test_before_there_is_data_the_plan_says_how_much_it_takes(
    task_file: Path, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (task_file.parent / "pairs.csv").unlink()
    assert freehold("plan") == 0
    printed = capsys.readouterr().out
    assert f"  power      {SENTENCE}\n" in printed
    assert "not read yet" in printed


def test_with_data_it_says_how_many_there_are(
    task_file: Path, freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("plan", "--json") == 0
    rows = {row["field"]: row for row in json.loads(capsys.readouterr().out)}
    dataset = build.build(load(task_file), Workspace(tmp_path / ".freehold"), SILENT)
    assert rows["power"]["value"] == f"{SENTENCE}; you have {dataset.counts['held_out']}"
    assert rows["answer.labels"] == {
        "field": "answer.labels",
        "value": ["leave", "payroll", "safety"],
        "source": "from the data: 3 distinct answers",
    }


def test_candidates_that_share_the_error_are_counted(
    task_file: Path, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    task_file.write_text(TASK.replace("tune: {method: none}\n", ""))
    assert freehold("plan") == 0
    assert "(about 1,970 where 2 comparisons share the error)" in capsys.readouterr().out
