"""A guard in the task file: what tuning took is measured through the real engine and trainer, and can refuse."""

from collections.abc import Callable
from pathlib import Path

import pytest
from things import things, write_task

from freehold import pipeline, spec
from freehold.evaluation import pins
from freehold.evaluation import report as reports
from freehold.evaluation.forgetting import sets
from freehold.progress import SILENT
from freehold.records import CandidateKind, Kept
from freehold.store.workspace import Workspace

_FEW = 12


@pytest.fixture
def _fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of each bundled set: a two-layer base babbles, and all of them would take minutes."""
    whole = sets.sets()
    few = sets.Sets(general=whole.general[:_FEW], safety=whole.safety[80 : 80 + _FEW], text=whole.text[:_FEW])
    monkeypatch.setattr(sets, "sets", lambda _questions: few)


@pytest.mark.usefixtures("_fewer")
def test_the_whole_way(tmp_path: Path, tiny_workspace: Workspace, freehold: Callable[..., int]) -> None:
    path = write_task(tmp_path, things()[::3])
    path.write_text(path.read_text() + "guard: {perplexity: 0.01}\n")
    outcome = pipeline.run(spec.load(path), tiny_workspace, SILENT)
    changes = {each.what: each for each in outcome.report.changes}
    assert set(changes) == set(Kept)
    assert changes[Kept.GENERAL].before.n == _FEW and changes[Kept.LANGUAGE].lost.value != 0
    tuned = next(each.candidate for each in outcome.report.figures if each.candidate.kind is CandidateKind.TUNED)
    assert outcome.decision.candidate != tuned.name
    assert any(f"{tuned.name} is refused: " in reason for reason in outcome.decision.reasons)
    assert "What else changed" in outcome.page.read_text() and "general questions" in outcome.page.read_text()

    rows = reports.read_rows(tiny_workspace, outcome.report)[tuned.digest]
    pins.pin(tiny_workspace, "things", [row.example for row in rows])
    again = pipeline.run(spec.load(path), tiny_workspace, SILENT)
    check = next(each for each in again.report.pins if each.candidate == tuned.name)
    assert check.holds + len(check.broken) == len(rows)
    assert again.report.changes == outcome.report.changes
    assert freehold("eval", "forgetting", path) == 0


def test_nothing_tuned_is_nothing_forgotten(
    tmp_path: Path, freehold: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_task(tmp_path, things())
    path.write_text(
        path.read_text().replace(
            "{method: lora, rank: 4, learning_rate: 0.01, epochs: 1, batch_tokens: 256}", "{method: none}"
        )
    )
    assert freehold("eval", "forgetting", path) == 2
    assert "nothing is tuned; write lora or upper-lora" in capsys.readouterr().err
