"""`freehold decision` on a workspace that holds decisions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

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
    assert [line.split()[3] for line in lines[1:3]] == ["need-more-data", "switch"]
    assert "the plan was changed after results on this dataset had been seen (margin 1 point" in lines[3]
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


SHEET = """\
currency: USD
traffic: {jobs: [8000, 12000]}
start: 2026-12-01
options:
  incumbent: {prices: [{form: request, price: 0.02, source: <vendor>}], accepted: 0.9}
  tuned: {prices: [{form: period, price: 40}, {form: fee, what: labelling, price: 300}], accepted: 0.9}
"""


def test_the_certificate_is_one_self_contained_page(two: list[Decision], freehold: Make, tmp_path: Path) -> None:
    (tmp_path / "costs.yaml").write_text(SHEET)
    assert freehold("decision", "page", "--costs", "costs.yaml", "--to", "page.html") == 0
    html = (tmp_path / "page.html").read_text()
    assert "switch to classifier: it is within 10 points of tuned" in html
    assert two[1].digest in html and two[1].evidence["report"] in html
    assert "When owning <bdi>tuned</bdi> pays" in html
    assert html.count("<svg") == 3
    assert "src=" not in html and "href=" not in html and "<script" not in html


def test_a_page_without_costs_says_that_they_are_unknown(two: list[Decision], freehold: Make, tmp_path: Path) -> None:
    assert freehold("decision", "page", "--to", "page.html") == 0
    assert "Unknown: no cost sheet was given" in (tmp_path / "page.html").read_text()


def test_names_are_escaped_on_the_page(material: Make) -> None:
    from freehold.decision.page import page

    decision = material(SCORES).decide()
    html = page(replace(decision, task="<b>&", candidate="<i>", reasons=("<u>",)))
    assert "<b>" not in html and "<i>" not in html and "<u>" not in html


def test_costs_on_the_command_line(freehold: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert freehold("decision", "sheet") == 0
    assert freehold("decision", "cost") == 0
    assert "tokens a request are unknown" in capsys.readouterr().out
    assert freehold("decision", "sheet") == 2
    (tmp_path / "costs.yaml").write_text(SHEET)
    assert freehold("decision", "cost", "--json") == 0
    found = {each["option"]: each for each in json.loads(capsys.readouterr().out)}
    assert found["incumbent"]["per_accepted"]["value"] == "0.022222222"
    assert found["incumbent"]["lines"] == [
        {
            "item": "requests",
            "amount": {"low": "160", "value": "200", "high": "240"},
            "once": False,
            "source": "<vendor>",
        }
    ]


def test_break_even_and_what_if_on_the_command_line(
    freehold: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "costs.yaml").write_text(SHEET)
    assert freehold("decision", "break-even", "--svg", "picture.html", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["months"] == {"best": "1.5", "expected": "1.875", "worst": "2.5"}
    assert found["dates"]["expected"] == "2027-02-01"
    assert (tmp_path / "picture.html").read_text().count("<svg") == 2
    assert freehold("decision", "what-if", "price=0.5", "traffic=2", "--json") == 0
    both = json.loads(capsys.readouterr().out)
    assert [both[when][0]["monthly"]["value"] for when in ("before", "after")] == ["200", "200"]
    for change in ("price=-1", "price=", "prize=2", "machine=moon", "bigger=nan"):
        assert freehold("decision", "what-if", change) == 2
        assert change.partition("=")[2] in capsys.readouterr().err


def test_watch_decides_once_and_for_all(freehold: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ['{"candidate": 1, "against": 1}'] * 200
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    assert freehold("decision", "watch", "pairs.jsonl", "--margin", "0.1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "switch"
    assert found["decided_at"] < 100


def test_rollback_explains_and_changes_nothing(
    freehold: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "seen.jsonl").write_text('{"id": "a", "latency_ms": 5, "failed": true}\n' * 40)
    assert freehold("decision", "rollback", "seen.jsonl") == 0
    assert "canary     goes back\n             errors: more than 2 % of 40 requests fail" in capsys.readouterr().out
    assert not (tmp_path / ".freehold").exists()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [("{", "pairs.jsonl:1:"), ('{"candidate": 2, "against": 0}', "a score lies between 0 and 1"), ("", "is empty")],
)
def test_a_wrong_line_is_told_with_its_number(
    line: str, sentence: str, freehold: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pairs.jsonl").write_text(line + "\n")
    assert freehold("decision", "watch", "pairs.jsonl") == 2
    assert sentence in capsys.readouterr().err
