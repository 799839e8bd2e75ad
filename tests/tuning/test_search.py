"""The search halves, never repeats what it did, and never looks at held-out examples."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from freehold.errors import DataError, UserError
from freehold.progress import SILENT
from freehold.records import Example, Message, Provenance, Split
from freehold.render import Prompt, Rendered, Renderer
from freehold.store.workspace import Workspace
from freehold.tuning import search as searching
from freehold.tuning.adapter import training_job
from freehold.tuning.recipe import LoraRecipe
from freehold.tuning.train import Trained, TrainingJob, train

RECIPE = LoraRecipe(rank=4, alpha=8.0, learning_rate=1e-2, epochs=1, batch_tokens=64)


class _Tuning:
    """What the search asks of a tuning."""

    recipe, seed = RECIPE, 0


@pytest.fixture
def jobs(tiny_base: Path, colours: list[Rendered], monkeypatch: pytest.MonkeyPatch) -> list[TrainingJob]:
    """Every job that was trained, in order, with a training set of 64 examples."""
    trained: list[TrainingJob] = []

    def noted(job: TrainingJob, *arguments: object) -> Trained:
        trained.append(job)
        return train(job, *arguments)  # type: ignore[arg-type]

    whole = TrainingJob("j", tiny_base, (colours * 4)[:64], colours[:6], RECIPE, seed=0)
    monkeypatch.setattr(searching, "training_job", lambda *_: whole)
    monkeypatch.setattr(searching, "train", noted)
    return trained


def _search(workspace: Workspace, count: int) -> list[searching.Trial]:
    return searching.search(_Tuning(), [], workspace, count, SILENT)  # type: ignore[arg-type]


def test_the_better_half_goes_on_with_twice_as_much(tmp_path: Path, jobs: list[TrainingJob]) -> None:
    trials = _search(Workspace(tmp_path), 4)
    assert [(trial.rung, trial.examples) for trial in trials] == [(0, 32)] * 4 + [(1, 64)] * 2
    first = sorted(trials[:4], key=lambda trial: trial.validation_loss)
    assert {trial.recipe for trial in first[:2]} == {trial.recipe for trial in trials[4:]}
    assert trials[-1].validation_loss == min(trial.validation_loss for trial in trials[4:])
    assert RECIPE in {trial.recipe for trial in trials[:4]}


def test_a_search_goes_on_where_it_was_interrupted(
    tmp_path: Path, jobs: list[TrainingJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _search(Workspace(tmp_path / "whole"), 2)
    noted, jobs[:] = searching.train, []

    def killed(job: TrainingJob, *arguments: object) -> Trained:
        if jobs:
            raise KeyboardInterrupt
        return noted(job, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(searching, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        _search(Workspace(tmp_path / "cut"), 2)
    monkeypatch.setattr(searching, "train", noted)
    resumed = _search(Workspace(tmp_path / "cut"), 2)
    assert [trial.validation_loss for trial in resumed] == [trial.validation_loss for trial in whole]
    assert len(jobs) == 2
    _search(Workspace(tmp_path / "cut"), 2)
    assert len(jobs) == 2


def test_settings_differ_and_follow_from_the_seed() -> None:
    drawn = searching.settings(RECIPE, 9, seed=3)
    assert len(set(drawn)) == 9
    assert drawn[0] == RECIPE
    assert drawn == searching.settings(RECIPE, 9, seed=3) != searching.settings(RECIPE, 9, seed=4)
    assert all(each.alpha == 2 * each.rank for each in drawn)


def test_one_setting_is_no_search(tmp_path: Path, jobs: list[TrainingJob]) -> None:
    with pytest.raises(UserError, match="at least 2"):
        _search(Workspace(tmp_path), 1)


def test_nothing_to_validate_on(tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = TrainingJob("j", tiny_base, [], [], RECIPE, seed=0)
    monkeypatch.setattr(searching, "training_job", lambda *_: empty)
    with pytest.raises(DataError, match="no validation examples"):
        _search(Workspace(tmp_path), 2)


def _example(at: int, split: Split) -> Example:
    said = (Message(role="user", content=f"colour number {at}"),)
    facts = {"provenance": Provenance.HUMAN, "origin": f"test:{at}", "reference": "warm"}
    return Example(id=str(at), salt="", split=split, messages=said, **facts)  # type: ignore[arg-type]


def test_what_is_trained_and_compared_on_holds_no_held_out_example(tiny_base: Path) -> None:
    tuning = SimpleNamespace(
        base=SimpleNamespace(name=tiny_base.name, context_length=512),
        dataset=SimpleNamespace(json_schema=None),
        **{"digest": "j", "recipe": RECIPE, "seed": 0, "prompt": Prompt(system="Name the colour.")},
    )
    examples = [_example(at, split) for at, split in enumerate([*Split] * 3)]
    job = training_job(tuning, examples, SimpleNamespace(models=tiny_base.parent))  # type: ignore[arg-type]
    texts = [Renderer(tiny_base).decode(each.prompt) for each in (*job.train, *job.validation)]
    held_out = [each.text for each in examples if each.split is Split.HELD_OUT]
    assert len(job.train) == len(job.validation) == len(held_out) == 3
    assert not any(each + "<" in text or each + "\n" in text for text in texts for each in held_out)
    assert all(any(each.text in text for text in texts) for each in examples if each.split is not Split.HELD_OUT)
