"""Linear layers with adapters, computed as few large products, with the way back written out.

Layers that read the same input (q, k and v; gate and up) are one: the input x beside what every adapter's A makes of
it, times the frozen weights beside every adapter's s·B, which is W x + s·B A x with nothing left to add up afterwards.
So is the way back. A gated MLP is one such step from its input to its output, RMSNorm one more.

This file needs torch: it is imported by the functions that train, when they are called. What an autograd function
keeps for the way back goes through `save_for_backward`, so that activation checkpointing and `fit.saved_bytes` see it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import linear, silu

Context = Any  # of an autograd function; torch is untyped here


class Adapter(NamedTuple):
    """The two matrices of a linear layer's adapter, (rank, inputs) and (outputs, rank), in float32."""

    a: nn.Parameter
    b: nn.Parameter


class Joint(NamedTuple):
    """What a joined product multiplies with: `weights` (outputs, inputs + adapters · rank) is the frozen weights beside
    every s·B, `down` (adapters · rank, inputs) is all A, and `up` is all B."""

    weights: Tensor
    bias: Tensor | None
    down: Tensor
    up: tuple[Tensor, ...]
    scale: float


class Joined(nn.Module):  # type: ignore[misc]
    """Linear layers over one input as one product; returns the outputs, or the only one."""

    def __init__(self, linears: Sequence[nn.Linear], adapters: Sequence[Adapter], scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.a = nn.ParameterList([each.a for each in adapters])
        self.b = nn.ParameterList([each.b for each in adapters])
        frozen = torch.cat([each.weight.data for each in linears])
        room = frozen.new_zeros(len(frozen), sum(map(len, self.a)))
        self.weights = nn.Buffer(torch.cat([frozen, room], 1), persistent=False)
        biases = [each.bias.detach() for each in linears if each.bias is not None]
        self.bias = nn.Buffer(torch.cat(biases), persistent=False) if biases else None

    def joint(self) -> Joint:
        """The adapters as they are now, written beside the frozen weights."""
        with torch.no_grad():
            down, top, left = torch.cat([each.to(self.weights.dtype) for each in self.a]), 0, self.a[0].shape[1]
            for each in self.b:
                outputs, rank = each.shape
                self.weights[top : top + outputs, left : left + rank] = each * self.scale
                top, left = top + outputs, left + rank
        return Joint(self.weights, self.bias, down, tuple(self.b), self.scale)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        found: Tensor | tuple[Tensor, ...] = _JoinedStep.apply(x, self.joint(), *self.a, *self.b)
        return found


class Member(nn.Module):  # type: ignore[misc]
    """Stands where one layer of a group stood: the first that is asked computes all, the last lets them go."""

    def __init__(self, group: Joined, at: int, held: dict[str, Any]) -> None:
        super().__init__()
        self.group, self.at, self.held = group, at, held

    def forward(self, x: Tensor) -> Tensor:
        if self.held.get("input") is not x:
            self.held |= {"input": x, "outputs": self.group(x)}
        output: Tensor = self.held["outputs"][self.at]
        if self.at == len(self.group.a) - 1:
            self.held.clear()
        return output


def members(group: Joined) -> list[nn.Module]:
    """What stands in the place of each layer of a group."""
    held: dict[str, Any] = {}
    count = len(group.a)
    return [Member(group, at, held) for at in range(count)] if count > 1 else [group]


class Gated(nn.Module):  # type: ignore[misc]
    """down(silu(gate(x)) · up(x)) as one step."""

    def __init__(self, gate_up: Joined, down: Joined) -> None:
        super().__init__()
        self.gate_up, self.down = gate_up, down

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.gate_up, self.down
        found: Tensor = _GatedStep.apply(x, one.joint(), two.joint(), *one.a, *two.a, *one.b, *two.b)
        return found


class RmsNorm(nn.Module):  # type: ignore[misc]
    """RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467) in float32, its result in the input's type."""

    def __init__(self, weight: Tensor, epsilon: float) -> None:
        super().__init__()
        self.weight, self.epsilon = nn.Buffer(weight, persistent=False), epsilon

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = _NormStep.apply(x, self.weight, self.epsilon)
        return found


def _forward(joint: Joint, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (tokens, inputs) → outputs (tokens, outputs), and the rows beside what all A made of them."""
    width = rows.shape[1]
    wide = rows.new_empty(len(rows), width + len(joint.down))
    wide[:, :width] = rows
    return linear(lowered(wide, joint), joint.weights, joint.bias), wide


def lowered(wide: Tensor, joint: Joint) -> Tensor:
    """Fill the columns that all A make of the others."""
    width = joint.down.shape[1]
    wide[:, width:] = wide[:, :width] @ joint.down.t()
    return wide


class Gradients(NamedTuple):
    """`inputs` lies in a wider tensor: its rows are further apart than they are long."""

    inputs: Tensor | None
    a: tuple[Tensor, ...]
    b: tuple[Tensor, ...]


def backward(joint: Joint, wide: Tensor, gradient: Tensor, wanted: bool = True) -> Gradients:
    """The gradients of a joined product: of its inputs where `wanted`, and of every A and B in float32."""
    width, rank = joint.down.shape[1], joint.up[0].shape[1]
    inputs = None
    if wanted:
        back = gradient @ joint.weights
        low = back[:, width:]
        inputs = back[:, :width].addmm_(low, joint.down)  # in place: twice as quick
    else:
        low = gradient @ joint.weights[:, width:]
    parts = zip(gradient.split([len(each) for each in joint.up], 1), wide[:, width:].split(rank, 1), strict=True)
    a = (low.t() @ wide[:, :width]).float().split(rank)
    b = tuple((each.t() @ own).t().float().mul_(joint.scale) for own, each in parts)  # so turned, twice as quick
    return Gradients(inputs, a, b)


class _JoinedStep(Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Context, x: Tensor, joint: Joint, *_: Tensor) -> Tensor | tuple[Tensor, ...]:
        out, wide = _forward(joint, x.flatten(0, -2))
        ctx.save_for_backward(wide)
        ctx.joint, ctx.shape = joint, x.shape
        outputs: tuple[Tensor, ...] = out.view(*x.shape[:-1], -1).split([len(each) for each in joint.up], -1)
        return outputs if len(outputs) > 1 else outputs[0]

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        parts = [each.flatten(0, -2) for each in gradients]
        (wide,) = ctx.saved_tensors
        together = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        found = backward(ctx.joint, wide, together, ctx.needs_input_grad[0])
        return _shaped(found.inputs, ctx.shape), None, *found.a, *found.b


class _GatedStep(Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Context, x: Tensor, first: Joint, second: Joint, *_: Tensor) -> Tensor:
        both, wide = _forward(first, x.flatten(0, -2))
        gate, up = both.chunk(2, 1)
        opened = silu(gate)
        hidden = both.new_empty(len(both), gate.shape[1] + len(second.down))
        torch.mul(opened, up, out=hidden[:, : gate.shape[1]])
        out: Tensor = linear(lowered(hidden, second), second.weights, second.bias)
        ctx.save_for_backward(wide, both, opened, hidden)
        ctx.joints, ctx.shape = (first, second), x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        wide, both, opened, hidden = ctx.saved_tensors
        first, second = ctx.joints
        inner = backward(second, hidden, gradient.flatten(0, -2))
        assert inner.inputs is not None, "they were wanted"
        gate, up = both.chunk(2, 1)
        through = torch.empty_like(both)
        to_gate, to_up = through.chunk(2, 1)
        torch.mul(inner.inputs, opened, out=to_up)
        to_gate.copy_(torch.ops.aten.silu_backward(inner.inputs.mul_(up), gate))
        outer = backward(first, wide, through, ctx.needs_input_grad[0])
        return _shaped(outer.inputs, ctx.shape), None, None, *outer.a, *inner.a, *outer.b, *inner.b


class _NormStep(Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        whole = x.float()
        inverse = (whole.square().mean(-1, keepdim=True) + epsilon).rsqrt_()
        ctx.save_for_backward(x, inverse)
        ctx.weight = weight
        normal: Tensor = (whole * inverse).to(x.dtype).mul_(weight)
        return normal

    @staticmethod
    def backward(ctx: Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, inverse = ctx.saved_tensors
        weighted, normal = (gradient * ctx.weight).float(), x.float() * inverse
        along = torch.linalg.vecdot(weighted, normal).unsqueeze(-1).div_(-x.shape[-1])
        return weighted.addcmul_(normal, along).mul_(inverse).to(x.dtype), None, None


def _shaped(inputs: Tensor | None, shape: Any) -> Tensor | None:  # noqa: ANN401 (torch.Size)
    return None if inputs is None else inputs.reshape(shape)
