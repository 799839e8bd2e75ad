"""Fused layers against transformers' own, there and back: equal in float32, in bf16 no further from it than bf16 is."""

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from freehold.tuning import kernels, layer
from freehold.tuning.batches import Tokens
from freehold.tuning.forward import answer_loss, pack, prepare, reading
from freehold.tuning.lora import add_adapters
from freehold.tuning.recipe import LoraRecipe, UpperLoraRecipe

SIZES = {"vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
         "num_attention_heads": 6, "num_key_value_heads": 2, "tie_word_embeddings": True}  # fmt: skip
NUMBERS = {"rank": 4, "alpha": 8.0, "learning_rate": 1e-3, "epochs": 1, "batch_tokens": 64}
LONG = Tokens(tuple(range(30, 70)), (9, 8, 7))  # over several of the tiles that attention is computed in
BATCH = [Tokens((5, 9, 11), (7, 3)), Tokens((6, 2), (8,)), LONG, Tokens((40, 41, 42, 43), (44, 45))]

pytestmark = pytest.mark.skipif(kernels.compiled(()) is None, reason="no C compiler")

both = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])


def _model(
    dtype: torch.dtype, recipe: LoraRecipe | None = None, windowed: bool = False
) -> tuple[LlamaForCausalLM, dict[str, Tensor]]:
    torch.manual_seed(0)
    made = (
        MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4))
        if windowed
        else LlamaForCausalLM(LlamaConfig(**SIZES))
    )
    model = made.to(dtype)
    prepare(model)
    adapters = add_adapters(model, recipe or LoraRecipe(**NUMBERS), 1)
    drawn = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, each in adapters.items():
            if "lora_B" in name:
                each.copy_(torch.randn(each.shape, generator=drawn) * 0.1)
    return model, adapters


def _fused(model: LlamaForCausalLM) -> int:
    layer.fuse(model)
    return sum(isinstance(each, layer.Fused) for each in model.modules())


def _step(model: LlamaForCausalLM, adapters: dict[str, Tensor], prefix: tuple[int, ...]) -> dict[str, Tensor]:
    """The gradients, and the loss among them."""
    loss, _ = answer_loss(model, pack(prefix, BATCH, model.device))
    loss.backward()
    return {"loss": loss.detach(), **{name: each.grad.clone() for name, each in adapters.items()}}


def _far(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).norm() / other[name].norm()) for name in other)


@pytest.mark.parametrize("prefix", [(), (1, 2, 3, 4, 5, 6, 7)])
def test_fused_layers_are_as_near_to_float32_as_transformers_own(prefix: tuple[int, ...]) -> None:
    exact = _step(*_model(torch.float32), prefix)
    plain = _step(*_model(torch.bfloat16), prefix)
    model, adapters = _model(torch.bfloat16)
    assert _fused(model) == 2
    assert _far(_step(model, adapters, prefix), exact) < 1.5 * _far(plain, exact)


@pytest.mark.parametrize("prefix", [(), (1, 2, 3, 4, 5, 6, 7)])
def test_fused_layers_in_float32_compute_the_same(prefix: tuple[int, ...]) -> None:
    plain = _step(*_model(torch.float32), prefix)
    model, adapters = _model(torch.float32)
    assert _fused(model) == 2
    assert _far(_step(model, adapters, prefix), plain) < 1e-5


def test_scores_may_lie_so_far_apart_that_shares_are_nothing() -> None:
    """Up to 140 apart: e to that difference is below what float32 can hold."""
    found = []
    for fused in (False, True):
        model, adapters = _model(torch.float32)
        for each in model.model.layers:
            each.self_attn.q_proj.group.weights[: SIZES["hidden_size"]] *= 300
        assert not fused or _fused(model) == 2
        found.append(_step(model, adapters, (1, 2, 3)))
    assert _far(*found) < 1e-4


@both
def test_the_last_layer_gives_the_rows_that_are_looked_at_and_no_others(dtype: torch.dtype) -> None:
    model, _ = _model(dtype)
    _fused(model)
    packed = pack((1, 2, 3), BATCH, model.device)
    with torch.no_grad():
        every, only = (
            model.base_model(packed.ids, **reading(packed), only=each).last_hidden_state[0]
            for each in (None, packed.at)
        )
    assert len(every) == packed.ids.shape[1] > len(only) == len(packed.at)
    assert _far({"rows": only.float()}, {"rows": every[packed.at].float()}) < {torch.float32: 1e-6}.get(dtype, 0.01)


@both
def test_activations_may_be_computed_again_on_the_way_back(dtype: torch.dtype) -> None:
    once, again = _model(dtype), _model(dtype)
    for model, _ in (once, again):
        _fused(model)
    again[0].gradient_checkpointing_enable()
    again[0].train()
    assert _far(_step(*again, (1, 2)), _step(*once, (1, 2))) == 0


@both
def test_the_number_of_threads_changes_no_bit(dtype: torch.dtype) -> None:
    found = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        model, adapters = _model(dtype)
        _fused(model)
        found.append(_step(model, adapters, (1, 2, 3)))
    torch.set_num_threads(before)
    assert _far(*found) == 0


def test_what_is_put_together_otherwise_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _fused(_model(torch.float64)[0]) == 0
    assert _fused(_model(torch.bfloat16, UpperLoraRecipe(**NUMBERS))[0]) == 1
    assert _fused(_model(torch.bfloat16, windowed=True)[0]) == 0
    other = _model(torch.bfloat16)[0]
    monkeypatch.setattr(type(other.model.layers[0]), "forward", lambda _self, hidden, **_: 2 * hidden)
    assert _fused(other) == 0


def test_without_a_compiler_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert kernels.compiled.__wrapped__(()) is None
