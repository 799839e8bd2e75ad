"""The whole flow on a two-layer base: nothing is faked, everything is small."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from things import things

from freehold import pipeline, spec
from freehold.engines.llamacpp import LlamaCpp
from freehold.evaluation import report as reports
from freehold.progress import SILENT
from freehold.records import CandidateKind, Verdict
from freehold.store import deployments
from freehold.store.database import connect
from freehold.store.workspace import Workspace

TaskOf = Callable[..., Path]


@pytest.fixture
def outcome(task_of: TaskOf, tiny_workspace: Workspace) -> pipeline.Outcome:
    return pipeline.run(spec.load(task_of(things())), tiny_workspace, SILENT)


def test_every_candidate_is_measured_on_the_same_examples(outcome: pipeline.Outcome, tiny_workspace: Workspace) -> None:
    kinds = {each.candidate.kind for each in outcome.report.figures}
    assert kinds == {CandidateKind.PROMPTED, CandidateKind.CLASSIFIER, CandidateKind.TUNED}
    rows = reports.read_rows(tiny_workspace, outcome.report)
    answered = [[row.example for row in each] for each in rows.values()]
    assert all(each == answered[0] for each in answered)
    assert all(row.answer in outcome.dataset.labels for each in rows.values() for row in each)


def test_the_decision_names_its_evidence(outcome: pipeline.Outcome) -> None:
    assert outcome.decision.verdict in set(Verdict)
    assert outcome.report.digest in outcome.decision.evidence.values()


def test_every_candidate_is_served(outcome: pipeline.Outcome, tiny_workspace: Workspace) -> None:
    served = deployments.all_current(connect(tiny_workspace.database_url))
    assert set(outcome.served) == set(served)
    assert "things:tuned-smollm2-135m-instruct" in served
    if outcome.decision.verdict is Verdict.SWITCH:
        assert outcome.served[0] == "things"


def test_the_page_is_one_file_that_asks_nobody(outcome: pipeline.Outcome) -> None:
    page = outcome.page.read_text(encoding="utf-8")
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "src=" not in page


def test_a_second_run_does_nothing_again(
    outcome: pipeline.Outcome, tiny_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LlamaCpp, "start", lambda self: pytest.fail("an engine was started again"))
    monkeypatch.setattr("freehold.tuning.adapter.train", lambda *_: pytest.fail("it was tuned again"))
    again = pipeline.run(spec.load(tmp_path / "task.yaml"), tiny_workspace, SILENT)
    assert (again.report.digest, again.decision.digest) == (outcome.report.digest, outcome.decision.digest)


def test_the_same_inputs_give_the_same_digests_elsewhere(
    outcome: pipeline.Outcome, tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, tmp_path: Path
) -> None:
    import shutil

    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("task.yaml", "rows.csv"):
        shutil.copy(tmp_path / name, elsewhere / name)
    workspace = Workspace(elsewhere / ".freehold")
    shutil.copytree(tiny_base, workspace.models / "smollm2-135m-instruct")
    again = pipeline.run(spec.load(elsewhere / "task.yaml"), workspace, SILENT)
    assert again.dataset.digest == outcome.dataset.digest
    assert again.report.digest == outcome.report.digest
    assert again.decision.digest == outcome.decision.digest


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [3.0, 7.0, 12.0])
def test_killed_at_any_moment_it_goes_on(
    task_of: TaskOf, tiny_workspace: Workspace, seconds: float, capfd: pytest.CaptureFixture[str]
) -> None:
    path = task_of(things())
    command = [sys.executable, "-m", "freehold", "run", str(path), "--json"]
    killed = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    time.sleep(seconds)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(finished.stdout)["verdict"] in set(Verdict)


SCRIPTS = {
    "arabic": ({"شكوى": "الطلب وصل متأخرا", "سؤال": "متى يفتح المتجر"}, "اليوم رقم"),
    "chinese": ({"投诉": "送来的东西坏了", "咨询": "请问几点开门"}, "今天第"),
    "indonesian": ({"keluhan": "barang yang datang rusak", "pertanyaan": "toko buka jam berapa"}, "hari ke"),
}
_NUMBERS = "一二三四五六七八九十百千万亿零两半双单几多少甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉"


@pytest.mark.parametrize("script", SCRIPTS)
def test_any_script_goes_through_unharmed(
    script: str, task_of: TaskOf, tiny_workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, day = SCRIPTS[script]
    pairs = [(f"{mark * 3}{at} {day} {mark}{at * 37} {text}", label) for label, text in texts.items()
             for at, mark in enumerate(_NUMBERS)]  # fmt: skip
    outcome = pipeline.run(spec.load(task_of(pairs, script)), tiny_workspace, SILENT)
    assert set(outcome.dataset.labels) == set(texts)
    rows = [row for each in reports.read_rows(tiny_workspace, outcome.report).values() for row in each]
    assert {row.answer for row in rows} <= set(texts)
    page = outcome.page.read_text(encoding="utf-8")
    assert all(label in page for label in texts)
    assert 'dir="auto"' in page
