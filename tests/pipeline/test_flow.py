"""The whole flow on a two-layer base: nothing is faked, everything is small."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from things import things, write_task

from freehold import pipeline, spec
from freehold.engines.llamacpp import LlamaCpp
from freehold.evaluation import adapter_parity, parity
from freehold.evaluation import report as reports
from freehold.evaluation.adapter_parity import Standing
from freehold.progress import SILENT
from freehold.records import CandidateKind, Verdict
from freehold.store import deployments
from freehold.store.database import connect
from freehold.store.workspace import Workspace


@pytest.fixture(scope="module")
def house(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The workspace that one run of the whole flow left behind, its task file beside it."""
    return _workspace(tiny_base, tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def outcome(house: Workspace) -> pipeline.Outcome:
    return pipeline.run(spec.load(write_task(house.root.parent, things())), house, SILENT)


def _workspace(tiny_base: Path, folder: Path) -> Workspace:
    workspace = Workspace(folder / ".freehold")
    shutil.copytree(tiny_base, workspace.models / "smollm2-135m-instruct")
    return workspace


def test_every_candidate_is_measured_on_the_same_examples(outcome: pipeline.Outcome, house: Workspace) -> None:
    kinds = {each.candidate.kind for each in outcome.report.figures}
    assert kinds == {CandidateKind.PROMPTED, CandidateKind.CLASSIFIER, CandidateKind.TUNED}
    rows = reports.read_rows(house, outcome.report)
    answered = [[row.example for row in each] for each in rows.values()]
    assert all(each == answered[0] for each in answered)
    assert all(row.answer in outcome.dataset.labels for each in rows.values() for row in each)


def test_the_decision_names_its_evidence(outcome: pipeline.Outcome) -> None:
    assert outcome.decision.verdict in set(Verdict)
    assert outcome.report.digest in outcome.decision.evidence.values()


def test_every_candidate_is_served(outcome: pipeline.Outcome, house: Workspace) -> None:
    served = deployments.all_current(connect(house.database_url))
    assert set(outcome.served) == set(served)
    assert "things:tuned-smollm2-135m-instruct" in served
    if outcome.decision.verdict is Verdict.SWITCH:
        assert outcome.served[0] == "things"


def test_what_a_person_chose_outlives_the_next_run(
    outcome: pipeline.Outcome, house: Workspace, freehold: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREEHOLD_HOME", str(house.root))
    assert freehold("deploy", "choose", "things", "things:classifier-tf-idf", "--reason", "cheaper") == 0
    pipeline.run(spec.load(house.root.parent / "task.yaml"), house, SILENT)
    standing = deployments.current(connect(house.database_url), "things")
    assert isinstance(standing.target, deployments.ClassifierTarget)


def test_a_tuned_model_that_answers_unlike_the_trainer_is_not_served(
    outcome: pipeline.Outcome,
    house: Workspace,
    freehold: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = parity.kept(house, next(each.target.adapter for each in _tuned(house)), ".served")
    assert found is not None
    assert all(each.evidence["parity"] == found.digest for each in _tuned(house))
    served = found.of(adapter_parity.SERVED)
    assert served is not None
    standing = Standing(served, found, "adapter as served: 97.0% of 100 answers are the trainer's")
    monkeypatch.setattr(adapter_parity, "before_deployment", lambda *_: standing)
    path = house.root.parent / "other.yaml"
    path.write_text((house.root.parent / "task.yaml").read_text().replace("task: things", "task: others"))
    assert freehold("run", path, "--json") == 3
    told = capsys.readouterr()
    assert "tuned smollm2-135m-instruct is not served: adapter as served: 97.0%" in told.err
    assert json.loads(told.out)["refused"]
    names = set(deployments.all_current(connect(house.database_url)))
    assert "others:classifier-tf-idf" in names
    assert "others:tuned-smollm2-135m-instruct" not in names
    path.write_text(path.read_text() + "deploy: {parity: warn}\n")
    assert freehold("run", path) == 0
    assert "others:tuned-smollm2-135m-instruct" in deployments.all_current(connect(house.database_url))


def _tuned(house: Workspace) -> list[Any]:
    """The deployments that a tuned adapter stands behind."""
    every = deployments.all_current(connect(house.database_url)).values()
    return [each for each in every if isinstance(each.target, deployments.AdapterTarget)]


def test_the_page_is_one_file_that_asks_nobody(outcome: pipeline.Outcome) -> None:
    page = outcome.page.read_text(encoding="utf-8")
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "src=" not in page


def test_a_second_run_does_nothing_again(
    outcome: pipeline.Outcome, house: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LlamaCpp, "start", lambda self: pytest.fail("an engine was started again"))
    monkeypatch.setattr("freehold.tuning.adapter.train", lambda *_: pytest.fail("it was tuned again"))
    again = pipeline.run(spec.load(house.root.parent / "task.yaml"), house, SILENT)
    assert (again.report.digest, again.decision.digest) == (outcome.report.digest, outcome.decision.digest)


def test_the_same_inputs_give_the_same_digests_elsewhere(
    outcome: pipeline.Outcome, tmp_path: Path, tiny_base: Path
) -> None:
    workspace = _workspace(tiny_base, tmp_path)
    again = pipeline.run(spec.load(write_task(tmp_path, things())), workspace, SILENT)
    assert again.dataset.digest == outcome.dataset.digest
    assert again.report.digest == outcome.report.digest
    assert again.decision.digest == outcome.decision.digest


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [3.0, 7.0, 12.0])
def test_killed_at_any_moment_it_goes_on(tmp_path: Path, tiny_workspace: Workspace, seconds: float) -> None:
    path = write_task(tmp_path, things())
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
_NUMBERS = "一二三四五六七八九十百千万亿零两半双单几"


@pytest.mark.parametrize("script", SCRIPTS)
def test_any_script_goes_through_unharmed(
    script: str,
    tmp_path: Path,
    tiny_workspace: Workspace,
    freehold: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Through the pipeline, the report, the terminal and the server."""
    texts, day = SCRIPTS[script]
    pairs = [(f"{mark * 3}{at} {day} {mark}{at * 37} {text}", label) for label, text in texts.items()
             for at, mark in enumerate(_NUMBERS)]  # fmt: skip
    outcome = pipeline.run(spec.load(write_task(tmp_path, pairs, script)), tiny_workspace, SILENT)
    assert set(outcome.dataset.labels) == set(texts)
    rows = [row for each in reports.read_rows(tiny_workspace, outcome.report).values() for row in each]
    assert {row.answer for row in rows} <= set(texts)
    page = outcome.page.read_text(encoding="utf-8")
    assert all(label in page for label in texts)
    assert 'dir="auto"' in page
    name = f"{script}:tuned-smollm2-135m-instruct"
    capsys.readouterr()
    assert freehold("ask", name, pairs[0][0]) == 0
    assert capsys.readouterr().out.strip() in texts
    assert _served(tiny_workspace, name, pairs[0][0]) in texts


def _served(workspace: Workspace, name: str, message: str) -> str | None:
    """What the real server answers to the real client."""
    import socket

    from openai import OpenAI

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "freehold", "serve", "--port", str(port)]
    environment = {**os.environ, "FREEHOLD_HOME": str(workspace.root)}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert "gateway on" in server.stdout.readline()
        client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=60)
        reply = client.chat.completions.create(model=name, messages=[{"role": "user", "content": message}])
        return reply.choices[0].message.content
    finally:
        server.terminate()
        server.wait(30)
