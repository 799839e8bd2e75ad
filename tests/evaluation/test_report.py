"""Figures and reports: the rule of truth, digests that no clock moves, and the JSON contract."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluation_material import LABELS, dataset, example, examples
from msgspec.structs import replace

from freehold.errors import NotFoundError
from freehold.evaluation import report as reports
from freehold.evaluation.figures import figures
from freehold.records import Candidate, CandidateKind, Example, Provenance, Row
from freehold.spec import Task
from freehold.store.database import connect
from freehold.store.documents import Documents
from freehold.store.workspace import Workspace

TUNED = Candidate(name="tuned smollm2", kind=CandidateKind.TUNED, digest="a" * 64)
PLAIN = Candidate(name="classifier", kind=CandidateKind.CLASSIFIER, digest="b" * 64)


def rows(candidate: Candidate, held_out: list[Example], wrong: int, latency: float = 7.0) -> list[Row]:
    return [
        Row(
            candidate=candidate.digest,
            example=each.id,
            answer="other" if at < wrong else each.reference,
            score=float(at >= wrong),
            free_answer=each.reference,
            free_score=1.0,
            input_tokens=40,
            output_tokens=2,
            latency_ms=latency + at,
        )
        for at, each in enumerate(held_out)
    ]


def test_figures(task: Task) -> None:
    held_out = examples(30)
    found = figures(TUNED, rows(TUNED, held_out, 3), held_out, task)
    assert (found.metric.value, found.metric.n, found.metric.method) == (0.9, 30, "wilson")
    assert found.free is not None and found.free.value == 1
    assert [each.label for each in found.labels] == list(LABELS)
    assert found.labels[0].recall == 0.9 and found.labels[0].precision == 1.0
    assert found.confusion == ((9, 0, 0, 1), (0, 9, 0, 1), (0, 0, 9, 1))
    assert found.tokens_per_request == 42
    assert (found.latency_p50_ms, found.latency_p95_ms) == (22.0, 35.0)


def test_sessions_widen_the_interval(task: Task) -> None:
    apart = examples(40)
    together = [replace(each, session=f"s{at // 10}") for at, each in enumerate(apart)]
    alone = figures(TUNED, rows(TUNED, apart, 10), apart, task).metric
    grouped = figures(TUNED, rows(TUNED, together, 10), together, task).metric
    assert grouped.method == "cluster-bca-bootstrap"
    assert grouped.high - grouped.low > alone.high - alone.low


def test_the_rule_of_truth(task: Task) -> None:
    echo = [replace(each, provenance=Provenance.INCUMBENT) for each in examples(30)]
    report = reports.build(task, dataset(), [(TUNED, rows(TUNED, echo, 3))], echo)
    assert report.metric == "agreement with the incumbent"
    mixed = [*echo[:20], *examples(30)[20:]]
    report = reports.build(task, dataset(), [(TUNED, rows(TUNED, mixed, 3))], mixed)
    assert (report.metric, report.figures[0].metric.n, report.figures[0].metric.value) == ("accuracy", 10, 1.0)
    assert report.figures[0].secondary["agreement with the incumbent"].value == 17 / 20


def test_no_clock_in_the_digest(task: Task) -> None:
    held_out = examples(12)
    one = reports.build(task, dataset(), [(TUNED, rows(TUNED, held_out, 3, 7.0))], held_out)
    other = reports.build(task, dataset(), [(TUNED, rows(TUNED, held_out, 3, 70.0))], held_out)
    worse = reports.build(task, dataset(), [(TUNED, rows(TUNED, held_out, 4, 7.0))], held_out)
    assert one.digest == other.digest != worse.digest


def keep(task: Task, workspace: Workspace) -> str:
    held_out = examples(12)
    measured = [(TUNED, rows(TUNED, held_out, 3)), (PLAIN, rows(PLAIN, held_out, 1))]
    report = reports.build(task, dataset(), measured, held_out, reports.Checks(leaks=0))
    reports.keep(workspace, report, measured, "<!doctype html>")
    Documents(connect(workspace.database_url)).add("report", report.digest, task.task)
    return report.digest


def test_kept_and_read_back(task: Task, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / ".freehold")
    digest = keep(task, workspace)
    report = reports.read(workspace, digest)
    assert {name: len(each) for name, each in reports.read_rows(workspace, report).items()} == {
        "a" * 64: 12,
        "b" * 64: 12,
    }
    path = workspace.reports / f"report-{digest[:12]}.json"
    path.write_text(path.read_text().replace('"errors":0', '"errors":1', 1))
    with pytest.raises(NotFoundError, match="was altered"):
        reports.read(workspace, digest)


def test_the_command(
    task: Task, freehold: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert freehold("report") == 2
    assert "there is no report yet" in capsys.readouterr().err
    digest = keep(task, Workspace(tmp_path / ".freehold"))
    assert freehold("report", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert {"task", "dataset", "metric", "references", "candidates"} <= printed.keys()
    assert (printed["digest"], printed["references"]) == (digest, {"human": 12})
    first = printed["candidates"][0]
    assert (first["name"], first["kind"], first["n"], first["value"]) == ("tuned smollm2", "tuned", 12, 0.75)
    assert {"low", "high", "free_value", "tokens_per_request"} <= first.keys()
    assert set(first["latency_ms"]) == {"p50", "p95"}
    assert freehold("report") == 0
    assert "near_duplicate" in capsys.readouterr().out
    assert freehold("report", "--html") == 0
    assert Path(capsys.readouterr().out.strip()).read_text() == "<!doctype html>"


def test_an_incumbent_that_was_not_asked_everything(task: Task) -> None:
    held_out = [example(at) for at in range(10)]
    measured = [(TUNED, rows(TUNED, held_out, 1)), (PLAIN, rows(PLAIN, held_out[:4], 1))]
    report = reports.build(task, dataset(), measured, held_out)
    assert [each.metric.n for each in report.figures] == [10, 4]
