"""The training loop on a two-layer base: it learns, it resumes to the bit, and its shortcuts change nothing."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from freehold.progress import SILENT
from freehold.render import Rendered
from freehold.tuning import train as training
from freehold.tuning.base import load_base
from freehold.tuning.batches import Tokens, ordered_batches, shuffled_batches, split_prefix
from freehold.tuning.checkpoint import TrainerState, load_checkpoint, save_checkpoint
from freehold.tuning.forward import answer_loss, pack, prepare
from freehold.tuning.lora import add_adapters, load_adapter, save_adapter
from freehold.tuning.recipe import LoraRecipe, UpperLoraRecipe
from freehold.tuning.train import Trained, TrainingJob, train

RECIPE = LoraRecipe(rank=4, alpha=8.0, learning_rate=1e-2, epochs=3, batch_tokens=64, patience=9)


@pytest.fixture(scope="module")
def job(tiny_base: Path, colours: list[Rendered]) -> TrainingJob:
    return TrainingJob("a job", tiny_base, colours[:18], colours[18:], RECIPE, seed=0)


@pytest.fixture(scope="module")
def whole(job: TrainingJob, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The job, never interrupted."""
    return train(job, tmp_path_factory.mktemp("whole") / "checkpoint", SILENT)


@pytest.fixture
def whole_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32, so that equal means equal."""
    monkeypatch.setattr("freehold.tuning.base.precision", lambda on: torch.float32)


def test_it_learns(whole: Trained) -> None:
    losses = [point.validation for point in whole.state.losses if point.validation is not None]
    assert len(losses) == RECIPE.epochs
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("killed_after", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_resumes_as_if_it_had_never_stopped(
    job: TrainingJob, whole: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    """Killed after any step, tuning ends with the same losses and weights to the bit: the seed decides everything."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(training, "answer_loss", _killed_after(killed_after))
    with pytest.raises(KeyboardInterrupt):
        train(job, tmp_path / "cut", SILENT)
    monkeypatch.setattr(training, "answer_loss", answer_loss)
    resumed = train(job, tmp_path / "cut", SILENT)
    assert resumed.state.losses == whole.state.losses
    assert all(torch.equal(resumed.tensors[name], whole.tensors[name]) for name in whole.tensors)


def test_upper_layers_train_on_kept_states_as_on_the_whole_model(
    tiny_base: Path, colours: list[Rendered], tmp_path: Path
) -> None:
    """Taking the frozen lower layer off changes the losses by rounding only, and its layers carry no adapter."""
    recipe = UpperLoraRecipe(rank=4, alpha=8.0, learning_rate=1e-2, epochs=2, batch_tokens=64)
    job = TrainingJob("upper", tiny_base, colours[:18], colours[18:], recipe, seed=0)
    kept = train(job, tmp_path / "kept", SILENT)
    assert {name.split(".")[4] for name in kept.tensors} == {"1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training._Trainer, "_take_off", lambda self, progress: None)
        whole = train(job, tmp_path / "whole", SILENT)
    for ours, theirs in zip(kept.state.losses, whole.state.losses, strict=True):
        assert math.isclose(ours.train, theirs.train, rel_tol=0.02)


def test_a_resumed_job_finds_the_lower_layers_states_on_disk(
    tiny_base: Path, colours: list[Rendered], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = UpperLoraRecipe(rank=4, alpha=8.0, learning_rate=1e-2, epochs=2, batch_tokens=64)
    job = TrainingJob("upper", tiny_base, colours[:18], colours[18:], recipe, seed=0)
    whole = train(job, tmp_path / "whole" / "checkpoint", SILENT)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(training, "answer_loss", _killed_after(4))
    with pytest.raises(KeyboardInterrupt):
        train(job, tmp_path / "cut" / "checkpoint", SILENT)
    monkeypatch.setattr(training, "answer_loss", answer_loss)
    monkeypatch.setattr(training, "compute", None)
    resumed = train(job, tmp_path / "cut" / "checkpoint", SILENT)
    assert resumed.state.losses == whole.state.losses
    assert all(torch.equal(resumed.tensors[name], whole.tensors[name]) for name in whole.tensors)


def _killed_after(count: int) -> Callable[..., object]:
    calls = 0

    def loss(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls > count:
            raise KeyboardInterrupt
        return answer_loss(*arguments)  # type: ignore[arg-type]

    return loss


def test_another_jobs_checkpoint_is_not_taken_up(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint", TrainerState(job="one", steps=3), {"now.a": torch.zeros(2)})
    assert load_checkpoint(tmp_path / "checkpoint", "one") is not None
    assert load_checkpoint(tmp_path / "checkpoint", "another") is None


@pytest.mark.usefixtures("whole_precision")
def test_the_shared_prefix_changes_neither_loss_nor_gradient(tiny_base: Path, colours: list[Rendered]) -> None:
    """The whole sequence at once, logits everywhere, padding masked: the textbook way gives the same."""
    model = load_base(tiny_base)
    parameters = add_adapters(model, RECIPE, seed=3)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.01 * torch.randn_like(parameter))
    prefix, tokens = split_prefix(colours[:6])
    assert len(prefix) > 10
    prepare(model)
    loss, count = answer_loss(model, pack(prefix, tokens, "cpu"))
    loss.backward()
    model.set_attn_implementation("eager")
    ours = {name: parameter.grad.clone() for name, parameter in parameters.items() if parameter.grad is not None}
    model.zero_grad()
    textbook = torch.stack([_textbook_loss(model, each) for each in colours[:6]]).sum()
    textbook.backward()
    assert count == sum(len(each.answer) for each in colours[:6])
    assert math.isclose(loss.item(), textbook.item(), rel_tol=1e-4)
    for name, parameter in parameters.items():
        assert torch.allclose(ours[name], parameter.grad, rtol=1e-3, atol=1e-5), name


def _textbook_loss(model: torch.nn.Module, each: Rendered) -> torch.Tensor:
    ids = torch.tensor([each.prompt + each.answer])
    logits = model(ids).logits[0, len(each.prompt) - 1 : -1]
    return cross_entropy(logits.float(), torch.tensor(each.answer), reduction="sum")


@pytest.mark.usefixtures("whole_precision")
def test_peft_reads_the_adapter_and_answers_alike(tiny_base: Path, colours: list[Rendered], tmp_path: Path) -> None:
    from peft import PeftModel

    model = load_base(tiny_base)
    parameters = add_adapters(model, RECIPE, seed=5)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_adapter(tmp_path, parameters, RECIPE, "tiny")
    ids = torch.tensor([colours[0].prompt])
    with torch.no_grad():
        ours = model(ids).logits
        theirs = PeftModel.from_pretrained(load_base(tiny_base), tmp_path)(ids).logits
    assert torch.allclose(ours, theirs, atol=1e-4)
    tensors, scale = load_adapter(tmp_path)
    assert tensors.keys() == parameters.keys()
    assert scale == RECIPE.alpha / RECIPE.rank


TOKENS = st.lists(st.integers(0, 9), min_size=1, max_size=12).map(tuple)
EXAMPLES = st.lists(st.builds(lambda p, a: Rendered(prompt=p, answer=a), TOKENS, TOKENS), min_size=1, max_size=30)


@given(EXAMPLES)
def test_prefix_and_rest_make_the_example_again(examples: list[Rendered]) -> None:
    prefix, tokens = split_prefix(examples)
    assert [(*prefix, *each.prompt) for each in tokens] == [each.prompt for each in examples]
    assert all(each.prompt for each in tokens)


@given(st.lists(st.builds(Tokens, TOKENS, TOKENS), max_size=60), st.integers(1, 80), st.integers(0, 5))
def test_an_epoch_holds_every_example_once(examples: list[Tokens], batch_tokens: int, seed: int) -> None:
    for batches in (shuffled_batches(examples, batch_tokens, seed), ordered_batches(examples, batch_tokens)):
        assert sorted(each for batch in batches for each in batch) == sorted(examples)
        for batch in batches:
            assert len(batch) == 1 or sum(each.length for each in batch) <= batch_tokens
            assert len(batch) == 1 or len(batch) * max(each.length for each in batch) <= 4 * batch_tokens


def test_no_short_batch_is_left_over() -> None:
    ten = [Tokens((1, 1), (2,))] * 10
    assert [len(batch) for batch in ordered_batches(ten, 16)] == [5, 5]
    assert [len(batch) for batch in ordered_batches([*ten, Tokens((1,) * 10, (2,))], 20)] == [8, 3]


def test_a_long_example_is_not_seated_beside_many_short_ones() -> None:
    ten = [Tokens((1, 1), (2,))] * 10
    assert [len(batch) for batch in ordered_batches([*ten, Tokens((1,) * 30, (2,))], 100)] == [11]
    assert [len(batch) for batch in ordered_batches([*ten, Tokens((1,) * 50, (2,))], 100)] == [10, 1]
