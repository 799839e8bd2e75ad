"""Activation checkpointing is chosen by fit, and changes no result."""

from pathlib import Path

import pytest
import torch

from freehold.progress import SILENT
from freehold.render import Rendered
from freehold.tuning import fit
from freehold.tuning.recipe import LoraRecipe
from freehold.tuning.train import TrainingJob, train

RECIPE = LoraRecipe(rank=4, alpha=8.0, learning_rate=1e-2, epochs=1, batch_tokens=64)


def test_what_is_kept_is_counted_once_and_weights_not_at_all() -> None:
    model = torch.nn.Linear(8, 8, bias=False)
    given = torch.ones(4, 8)
    assert fit.saved_bytes(lambda: model(given).sum(), model) == given.nbytes
    assert fit.saved_bytes(lambda: (model(given) + model(given)).sum(), model) == given.nbytes


def test_a_step_that_does_not_fit_is_checkpointed_and_ends_alike(
    tiny_base: Path, colours: list[Rendered], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = TrainingJob("j", tiny_base, colours[:18], colours[18:], RECIPE, seed=0)
    roomy = train(job, tmp_path / "roomy", SILENT)
    asked = []
    monkeypatch.setattr(fit, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(
        "transformers.modeling_utils.PreTrainedModel.gradient_checkpointing_enable",
        _noting(asked),
    )
    tight = train(job, tmp_path / "tight", SILENT)
    assert asked == [True]
    assert tight.state.losses == roomy.state.losses
    assert all(torch.equal(tight.tensors[name], roomy.tensors[name]) for name in roomy.tensors)


def _noting(asked: list[bool]) -> object:
    from transformers.modeling_utils import PreTrainedModel

    original = PreTrainedModel.gradient_checkpointing_enable

    def enable(model: PreTrainedModel, *arguments: object, **settings: object) -> None:
        asked.append(True)
        original(model, *arguments, **settings)

    return enable
