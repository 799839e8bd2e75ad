"""A whole decoder layer as one step there and one back: matrix products, and one kernel for what stands between two.

For bf16 and float32 on a CPU with a C compiler (`kernels.py`): attention and norms in the order of Llama's layers, and
no window. Attention is a kernel that takes one example after the other, so that nothing is padded. `fuse` puts it in
the place of every layer that it computes the same as, tried on random input; the others stay.

This file needs torch: it is imported by the functions that train, when they are called.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import linear
from transformers.modeling_layers import GradientCheckpointingLayer

from freehold.tuning.batches import Tokens
from freehold.tuning.forward import pack, reading
from freehold.tuning.joined import Context, Gated, Joined, Joint, Member, RmsNorm, backward, lowered
from freehold.tuning.kernels import Kernels, Shape, kernels

_ROUNDING = {torch.bfloat16: 0.05, torch.float32: 1e-4}  # of what a layer adds, between two ways to compute it


class Parts(NamedTuple):
    """What a layer is made of: two norms and four joined products, in the order in which they are computed."""

    first: RmsNorm
    qkv: Joined
    out: Joined
    second: RmsNorm
    gate_up: Joined
    down: Joined

    @property
    def products(self) -> tuple[Joined, ...]:
        return self.qkv, self.out, self.gate_up, self.down


class Setting(NamedTuple):
    """Of a layer in a pass: cosines and sines (tokens, width), the batch's shape and where its examples start,
    attention's scale, and the places of the rows that are looked at afterwards, where those are not all."""

    cosine: Tensor
    sine: Tensor
    shape: Shape
    starts: Tensor
    scale: float
    only: Tensor | None


class Fused(GradientCheckpointingLayer):  # type: ignore[misc]
    """Stands in the place of a decoder layer of transformers. The last one gives only the rows that the loss looks at,
    where it is told which (`only`): all that follows attention is computed for nobody in the others."""

    def __init__(self, parts: Parts, run: Kernels, width: int, scale: float, last: bool = False) -> None:
        super().__init__()
        self.parts, self.run, self.width, self.scale, self.last = parts, run, width, scale, last
        self.heads = parts.out.weights.shape[1] - len(parts.out.a[0])
        self.modules_held = torch.nn.ModuleList(parts)  # so that parameters and buffers are found

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        starts: Tensor,
        only: Tensor | None = None,
        **_: object,
    ) -> Tensor:
        prefix = attention_mask.shape[-1] - attention_mask.shape[-2]
        groups = len(self.parts.qkv.b[1]) // self.width
        shape = Shape(prefix, len(starts) - 1, self.heads // self.width, groups, self.width, starts.data_ptr())
        cosine, sine = (each[0].contiguous() for each in position_embeddings)
        setting = Setting(cosine, sine, shape, starts, self.scale, only if self.last else None)
        parameters = [each for product in self.parts.products for each in (*product.a, *product.b)]
        found: Tensor = _LayerStep.apply(hidden_states, self.parts, self.run, setting, *parameters)
        return found


class _LayerStep(Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Context, x: Tensor, parts: Parts, run: Kernels, setting: Setting, *_: Tensor) -> Tensor:
        rows = x.flatten(0, -2).contiguous()
        joints = [product.joint() for product in parts.products]
        qkv, out, gate_up, down = joints
        first, inverse = _normed(run, parts.first, qkv, rows)
        projected = linear(first, qkv.weights, qkv.bias)
        mixed = _attend(run, setting, projected, _wide(rows, out))
        past = rows
        if setting.only is not None:
            mixed, past = mixed[setting.only], rows[setting.only]
        middle, again = torch.empty_like(past), linear(lowered(mixed, out), out.weights, out.bias)
        second, inverse_again = _normed(run, parts.second, gate_up, past, again, middle)
        both = linear(second, gate_up.weights, gate_up.bias)
        hidden = _wide(past, down)
        run.gate(both, hidden, hidden.shape[1], len(past), both.shape[1] // 2)
        result: Tensor = linear(lowered(hidden, down), down.weights, down.bias).add_(middle)
        ctx.save_for_backward(rows, inverse, first, projected, mixed, middle, inverse_again, second, both, hidden)
        ctx.held = parts, run, setting, joints, x.shape
        return result.view(*x.shape[:-2], -1, x.shape[-1])

    @staticmethod
    def backward(ctx: Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, inverse, first, projected, mixed, middle, inverse_again, second, both, hidden = ctx.saved_tensors
        parts, run, setting, (qkv, out, gate_up, down), shape = ctx.held
        gradient = gradient.flatten(0, -2).contiguous()
        inner = backward(down, hidden, gradient)
        through = torch.empty_like(both)
        assert inner.inputs is not None, "they were wanted"
        run.gate_back(inner.inputs, inner.inputs.stride(0), both, through, len(both), both.shape[1] // 2)
        outer = backward(gate_up, second, through)
        past = _normed_back(run, parts.second, outer.inputs, middle, inverse_again, gradient)
        attention = backward(out, mixed, past)
        turned = _attend_back(run, setting, projected, _spread(attention.inputs, setting.only, len(rows)))
        wanted = ctx.needs_input_grad[0]
        own = backward(qkv, first, turned, wanted)
        inputs = None
        if wanted:
            past = _spread(past, setting.only, len(rows))
            inputs = _normed_back(run, parts.first, own.inputs, rows, inverse, past).view(shape)
        found = own, attention, outer, inner
        return inputs, None, None, None, *(each for one in found for each in (*one.a, *one.b))


def _wide(rows: Tensor, joint: Joint) -> Tensor:
    """Room for a product's input beside what its adapters make of it."""
    return rows.new_empty(len(rows), joint.weights.shape[1])


def _spread(rows: Tensor | None, places: Tensor | None, count: int) -> Tensor:
    """Rows at their places among `count`, the others 0; as they are where they are all."""
    assert rows is not None, "it was wanted"
    return rows if places is None else rows.new_zeros(count, rows.shape[1]).index_copy_(0, places, rows)


def _normed(
    run: Kernels, norm: RmsNorm, joint: Joint, rows: Tensor, more: Tensor | None = None, kept: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """RMSNorm of the rows (and `more`, their sum then `kept`) as the input of a product, and the inverse deviations."""
    wide, inverse = _wide(rows, joint), rows.new_empty(len(rows), dtype=torch.float32)
    run.norm(rows, more, kept, norm.weight, wide, wide.shape[1], inverse, norm.epsilon, *rows.shape)
    return lowered(wide, joint), inverse


def _normed_back(
    run: Kernels, norm: RmsNorm, gradient: Tensor | None, x: Tensor, inverse: Tensor, past: Tensor
) -> Tensor:
    assert gradient is not None, "it was wanted"
    result = torch.empty_like(x)
    run.norm_back(gradient, gradient.stride(0), x, norm.weight, inverse, past, result, *x.shape)
    return result


def _attend(run: Kernels, setting: Setting, projected: Tensor, mixed: Tensor) -> Tensor:
    """Rows of q, k and v → rows of what attention makes of them, written into `mixed`."""
    given = projected, setting.cosine, setting.sine
    run.attend(*given, mixed, mixed.shape[1], setting.scale, len(mixed), setting.shape)
    return mixed


def _attend_back(run: Kernels, setting: Setting, projected: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of attention's rows → of the rows of q, k and v."""
    s, rows = setting.shape, torch.empty_like(projected)
    parts = rows.new_empty(1 + s.examples, s.groups, 2, s.prefix, s.width, dtype=torch.float32)
    given = projected, setting.cosine, setting.sine, gradient, gradient.stride(0)
    run.attend_back(*given, rows, parts, setting.scale, len(rows), s)
    return rows


def fuse(model: Any) -> None:  # noqa: ANN401 (a transformers model with adapters)
    """Put `Fused` in the place of every decoder layer that it computes the same as."""
    run = kernels(model.dtype, model.device)
    if run is None:
        return
    layers = model.base_model.layers
    for at, layer in enumerate(layers):
        parts = _parts(layer)
        if parts is None:
            continue
        last = at == len(layers) - 1
        fused = Fused(parts, run, layer.self_attn.head_dim, float(layer.self_attn.scaling), last)
        if _the_same(model, layer, fused):
            layers[at] = fused


def _parts(layer: Any) -> Parts | None:  # noqa: ANN401 (a decoder layer)
    """The parts of a layer that is put together as Llama's are; None where it is not."""
    attention, mlp = getattr(layer, "self_attn", None), getattr(layer, "mlp", None)
    group = getattr(getattr(attention, "q_proj", None), "group", None)
    found: tuple[Any, ...] = (
        *(getattr(layer, "input_layernorm", None), group, getattr(attention, "o_proj", None)),
        *(getattr(layer, "post_attention_layernorm", None), getattr(mlp, "gate_up", None), getattr(mlp, "down", None)),
    )
    kinds = (RmsNorm, Joined, Joined, RmsNorm, Joined, Joined)
    whole = isinstance(mlp, Gated) and all(
        isinstance(getattr(attention, f"{each}_proj", None), Member) for each in "qkv"
    )
    known = hasattr(attention, "head_dim") and hasattr(attention, "scaling")
    if not (whole and known and all(map(isinstance, found, kinds))) or getattr(attention, "sliding_window", None):
        return None
    return Parts(*found)


def _the_same(model: Any, layer: Any, fused: Fused) -> bool:  # noqa: ANN401 (a model and its layer)
    """Whether both make the same of a small random batch: two shared tokens, two examples."""
    packed = pack((0, 0), [Tokens((0, 0), (0,)), Tokens((0,), (0, 0, 0))], model.device)
    drawn = torch.randn(*packed.ids.shape, len(fused.parts.first.weight), generator=torch.Generator().manual_seed(0))
    drawn = drawn.to(model.dtype)
    turned = model.base_model.rotary_emb(drawn, position_ids=packed.positions)
    given = {**reading(packed), "position_embeddings": turned}
    with torch.no_grad():
        try:
            one, other = layer(drawn, **given), fused(drawn, **given)
        except (RuntimeError, TypeError, ValueError):
            return False
    change = (one - drawn).float()
    return bool(((other - one).float()).norm() <= _ROUNDING[model.dtype] * change.norm())
