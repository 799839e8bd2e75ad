"""Joined products and their own way back against plain torch, in float64: the same outputs and the same gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, silu

from freehold.tuning import head
from freehold.tuning.joined import Adapter, Gated, Joined, RmsNorm, members

RANK, SCALE = 3, 1.5
Layer = tuple[nn.Linear, Adapter]


@pytest.fixture(autouse=True)
def _whole_precision() -> None:
    torch.manual_seed(0)


def _layer(inputs: int, outputs: int, bias: bool = False) -> Layer:
    linear = nn.Linear(inputs, outputs, bias=bias).double()
    linear.requires_grad_(False)
    drawn = (torch.randn(RANK, inputs).double(), torch.randn(outputs, RANK).double())
    return linear, Adapter(*(nn.Parameter(each) for each in drawn))


def _plain(layer: Layer, x: Tensor) -> Tensor:
    linear, adapter = layer
    return linear(x) + SCALE * (x @ adapter.a.t() @ adapter.b.t())


def _joined(*layers: Layer) -> Joined:
    return Joined([linear for linear, _ in layers], [adapter for _, adapter in layers], SCALE)


def _gradients(compute: Callable[[Tensor], Tensor], x: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    own = x.clone().requires_grad_()
    out = compute(own)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), [own, *parameters])]


def _alike(one: list[Tensor], other: list[Tensor]) -> bool:
    # adapters' gradients are float32
    return all(torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-6) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("bias", [False, True])
def test_a_group_is_its_layers(bias: bool) -> None:
    layers = [_layer(8, outputs, bias) for outputs in (6, 4, 4)]
    parameters = [each for _, adapter in layers for each in adapter]
    x = torch.randn(1, 5, 8).double()
    ours = members(_joined(*layers))
    joined = _gradients(lambda each: torch.cat([member(each) for member in ours], -1), x, parameters)
    plain = _gradients(lambda each: torch.cat([_plain(layer, each) for layer in layers], -1), x, parameters)
    assert _alike(joined, plain)


def test_a_gated_mlp_is_its_three_layers() -> None:
    gate, up, down = _layer(8, 10), _layer(8, 10), _layer(10, 8)
    parameters = [each for _, adapter in (gate, up, down) for each in adapter]
    x = torch.randn(1, 5, 8).double()
    ours = _gradients(Gated(_joined(gate, up), _joined(down)), x, parameters)
    plain = _gradients(lambda each: _plain(down, silu(_plain(gate, each)) * _plain(up, each)), x, parameters)
    assert _alike(ours, plain)


def test_adapters_are_read_anew_for_each_product() -> None:
    layer = _layer(8, 6)
    joined, x = _joined(layer), torch.randn(2, 8).double()
    joined(x)
    with torch.no_grad():
        layer[1].b.mul_(2)
    assert torch.allclose(joined(x), _plain(layer, x))


def test_rms_norm_and_its_way_back() -> None:
    weight, x = torch.randn(8), torch.randn(1, 5, 8)
    ours = _gradients(RmsNorm(weight, 1e-5), x, [])
    plain = _gradients(lambda each: weight * each * (each.square().mean(-1, keepdim=True) + 1e-5).rsqrt(), x, [])
    assert _alike(ours, plain)


@pytest.mark.parametrize("places", [2, 64])
def test_the_loss_in_parts_is_the_loss(monkeypatch: pytest.MonkeyPatch, places: int) -> None:
    monkeypatch.setattr(head, "PLACES", places)
    weights, targets, x = torch.randn(11, 8), torch.tensor([3, 0, 10, 3, 7]), 5 * torch.randn(5, 8)
    ours = _gradients(lambda each: 0.25 * head.summed_loss(each, weights, targets), x, [])
    plain = _gradients(lambda each: 0.25 * cross_entropy(each @ weights.t(), targets, reduction="sum"), x, [])
    assert _alike(ours, plain)
