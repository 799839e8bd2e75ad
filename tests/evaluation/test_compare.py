"""Kept rows compare any two candidates later; pins hold; boards rank only what is comparable."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from evaluation_material import dataset, examples, make_task

from freehold.evaluation import leaderboard, pins
from freehold.evaluation import report as reports
from freehold.records import Candidate, CandidateKind, Report, Row
from freehold.store.database import connect
from freehold.store.documents import Documents
from freehold.store.workspace import Workspace

Call = Callable[..., int]
HELD_OUT = examples(40)
GOOD = Candidate(name="tuned", kind=CandidateKind.TUNED, digest="a" * 64)
PLAIN = Candidate(name="classifier", kind=CandidateKind.CLASSIFIER, digest="b" * 64)
LATER = Candidate(name="tuned", kind=CandidateKind.TUNED, digest="c" * 64)


def rows(candidate: Candidate, wrong: Sequence[int]) -> list[Row]:
    return [
        Row(
            candidate=candidate.digest,
            example=each.id,
            answer="safety" if at in wrong else each.reference,
            score=float(at not in wrong),
            input_tokens=40,
            latency_ms=3.0,
        )
        for at, each in enumerate(HELD_OUT)
    ]


def kept(workspace: Workspace, task: str, *measured: tuple[Candidate, list[Row]], digest: str = "d") -> Report:
    report = reports.build(make_task(task=task), dataset(digest=digest * 64), measured, HELD_OUT)
    reports.keep(workspace, report, measured, "")
    Documents(connect(workspace.database_url)).add("report", report.digest, task)
    return report


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / ".freehold")
    kept(workspace, "triage", (GOOD, rows(GOOD, range(4))), (PLAIN, rows(PLAIN, range(2, 14))))
    return workspace


def test_diff_shows_what_flipped(workspace: Workspace, freehold: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("eval", "diff", "tuned", "classifier", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["difference"]["value"], len(found["flips"])) == (40, pytest.approx(8 / 40), 12)
    assert found["difference"]["low"] < 8 / 40 < found["difference"]["high"]
    assert found["flips"][0]["left_score"] == 0 and found["flips"][-1]["left_score"] == 1
    assert freehold("eval", "diff", "tuned", "classifier") == 0
    assert "+20.0%" in capsys.readouterr().out


def test_diff_across_reports(workspace: Workspace, freehold: Call, capsys: pytest.CaptureFixture[str]) -> None:
    """The name is the newest one's; the older candidate of the same name is reached by its digest."""
    kept(workspace, "triage", (LATER, rows(LATER, [0])))
    assert freehold("eval", "diff", "tuned", "aaaaaa", "--json") == 0
    assert json.loads(capsys.readouterr().out)["difference"]["value"] == pytest.approx(3 / 40)
    assert freehold("eval", "diff", "tunde", "classifier") == 2
    assert "did you mean tuned?" in capsys.readouterr().err


def test_pins_hold_later_candidates(workspace: Workspace, freehold: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("eval", "check") == 2
    assert freehold("eval", "pin", "--answered-by", "tuned") == 0
    assert "36 cases pinned" in capsys.readouterr().out
    assert freehold("eval", "check", "tuned") == 0
    kept(workspace, "triage", (LATER, rows(LATER, [3, 5, 6])))
    capsys.readouterr()
    assert freehold("eval", "check", "--json") == 3
    printed = capsys.readouterr()
    found = json.loads(printed.out)[0]
    assert (found["holds"], found["broken"]) == (34, [HELD_OUT[5].id, HELD_OUT[6].id])
    assert "broken by tuned (2)" in printed.err
    assert freehold("eval", "pin", "--remove", HELD_OUT[5].id, HELD_OUT[6].id) == 0
    assert freehold("eval", "check") == 0
    assert freehold("eval", "pin", "nonsense") == 2
    assert pins.check(pins.Pins(task="triage", examples=("gone",)), "tuned", []).unmeasured == 1


def test_only_the_same_protocol_is_ranked_together(
    workspace: Workspace, freehold: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(workspace, "triage", (LATER, rows(LATER, range(30))))
    kept(workspace, "triage", (LATER, rows(LATER, [])), digest="e")
    kept(workspace, "orders", (LATER, rows(LATER, [])))
    assert freehold("eval", "leaderboard", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(board["task"], board["dataset"][0], len(board["entries"])) for board in found] == [
        ("orders", "d", 1),
        ("triage", "d", 3),
        ("triage", "e", 1),
    ]
    assert [(each["name"], each["rank"]) for each in found[1]["entries"]] == [
        ("tuned", 1),
        ("classifier", 1),
        ("tuned", 3),
    ]
    assert freehold("eval", "leaderboard") == 0
    assert "orders · accuracy" in capsys.readouterr().out
    assert freehold("eval", "leaderboard", "--html", tmp_path / "board.html") == 0
    assert "classifier" in (tmp_path / "board.html").read_text()
    assert "Nothing has been measured" in leaderboard.page([])
