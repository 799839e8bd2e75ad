"""`freehold decision` on a workspace that holds decisions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from freehold.decision import certificate
from freehold.records import CandidateKind, Decision, canonical
from freehold.store import decisions
from freehold.store.database import connect
from freehold.store.workspace import Workspace

Make = Callable[..., Any]
SCORES = {CandidateKind.TUNED: [*([1.0] * 99), 0.0], CandidateKind.CLASSIFIER: [0.0, 0.0, 0.0, *([1.0] * 97)]}


@pytest.fixture
def two(material: Make, tmp_path: Path) -> list[Decision]:
    """Two decisions in the workspace: the first needed more data under a stricter plan."""
    first = material(SCORES, margin=0.01).decide()
    second = material(SCORES).decide([first])
    workspace = Workspace(tmp_path / ".freehold")
    store = connect(workspace.database_url)
    for each in (first, second):
        decisions.keep(workspace, store, each)
    return [first, second]


def test_the_contract_of_json(two: list[Decision], freehold: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("decision", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {"verdict", "candidate", "against", "reasons", "evidence"} <= set(found)
    assert (found["verdict"], found["candidate"], found["against"]) == ("switch", "classifier", "tuned")
    assert set(found["evidence"]) == {"report", "dataset", "rows", "candidate", "against"}
    assert found["digest"] == two[1].digest


def test_a_person_reads_one_idea_a_line(
    two: list[Decision], freehold: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("decision") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("  decision   switch to classifier: it is within 10 points of tuned (difference −2.0 [")
    assert any(line.startswith("  power      with 100 pairs") for line in lines)


def test_the_log_shows_what_was_believed_when(
    two: list[Decision], freehold: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("decision", "log") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[3] for line in lines[1:]] == ["need-more-data", "switch"]
    assert freehold("decision", "log", "--json") == 0
    log = json.loads(capsys.readouterr().out)
    assert log[1]["succeeds"] == log[0]["digest"]


def test_no_decision_yet_is_a_sentence_and_makes_no_workspace(
    freehold: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("decision", "--json") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "there is no decision yet; `freehold run` makes one" in printed.err
    assert not (tmp_path / ".freehold").exists()


def test_an_altered_decision_is_refused(
    two: list[Decision], freehold: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = decisions.path_of(Workspace(tmp_path / ".freehold"), two[1].digest, "json")
    path.write_bytes(canonical(replace(two[1], candidate="tuned")))
    assert freehold("decision") == 2
    assert "was altered" in capsys.readouterr().err


def test_the_same_evidence_is_decided_on_once(two: list[Decision], material: Make) -> None:
    made = material(SCORES)
    assert certificate.settled(made.report, made.plan, two) == two[1]
    assert certificate.settled(made.report, replace(made.plan, margin=0.2), two) is None
