"""A whole decoder layer as one step there and one back: matrix products, and one kernel for what stands between two.

For bf16 and float32 on a CPU with a C compiler (`kernels.py`): attention and norms in the order of Llama's layers, and
no window. `fuse` puts it in the place of every layer that it computes the same as, tried on random input; the others
stay.

This file needs torch: it is imported by the functions that train, when they are called.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import linear
from transformers.modeling_layers import GradientCheckpointingLayer

from freehold.tuning.joined import Context, Gated, Joined, Joint, Member, RmsNorm, backward, lowered
from freehold.tuning.kernels import Kernels, Shape, kernels

_ROUNDING = {torch.bfloat16: 0.02, torch.float32: 1e-4}  # of what a layer adds, between two ways to compute it


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
    """Of a layer in a pass: cosines and sines (tokens, width), the batch's shape and seats, attention's scale, and the
    places of the rows that are looked at afterwards, where those are not all."""

    cosine: Tensor
    sine: Tensor
    shape: Shape
    seats: Tensor
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
        seats: Tensor,
        only: Tensor | None = None,
        **_: object,
    ) -> Tensor:
        length = attention_mask.shape[-2]
        prefix = attention_mask.shape[-1] - length
        heads = self.heads // self.width
        groups = len(self.parts.qkv.b[1]) // self.width
        rests = len(seats)
        shape = Shape(prefix, attention_mask.shape[0], length, rests, heads, groups, self.width, seats.data_ptr())
        cosine, sine = (each[0].contiguous() for each in position_embeddings)
        setting = Setting(cosine, sine, shape, seats, self.scale, only if self.last else None)
        parameters = [each for product in self.parts.products for each in (*product.a, *product.b)]
        found: Tensor = _LayerStep.apply(hidden_states, self.parts, self.run, setting, *parameters)
        return found


class _Attended(NamedTuple):
    """What attention keeps for its way back; of the examples, and of the prefix itself (`first`)."""

    query: Tensor
    key: Tensor
    value: Tensor
    shares: Tensor
    first_query: Tensor
    first_shares: Tensor


class _LayerStep(Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Context, x: Tensor, parts: Parts, run: Kernels, setting: Setting, *_: Tensor) -> Tensor:
        rows = x.flatten(0, -2).contiguous()
        joints = [product.joint() for product in parts.products]
        qkv, out, gate_up, down = joints
        first, inverse = _normed(run, parts.first, qkv, rows)
        attended, mixed = _attend(run, setting, linear(first, qkv.weights, qkv.bias), _wide(rows, out))
        past = rows
        if setting.only is not None:
            mixed, past = mixed[setting.only], rows[setting.only]
        middle, again = torch.empty_like(past), linear(lowered(mixed, out), out.weights, out.bias)
        second, inverse_again = _normed(run, parts.second, gate_up, past, again, middle)
        both = linear(second, gate_up.weights, gate_up.bias)
        hidden = _wide(past, down)
        run.gate(both, hidden, hidden.shape[1], len(past), both.shape[1] // 2)
        result: Tensor = linear(lowered(hidden, down), down.weights, down.bias).add_(middle)
        ctx.save_for_backward(rows, inverse, first, *attended, mixed, middle, inverse_again, second, both, hidden)
        ctx.held = parts, run, setting, joints, x.shape
        return result.view(*x.shape[:-2], -1, x.shape[-1])

    @staticmethod
    def backward(ctx: Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, inverse, first, *attended, mixed, middle, inverse_again, second, both, hidden = ctx.saved_tensors
        parts, run, setting, (qkv, out, gate_up, down), shape = ctx.held
        gradient = gradient.flatten(0, -2).contiguous()
        inner = backward(down, hidden, gradient)
        through = torch.empty_like(both)
        assert inner.inputs is not None, "they were wanted"
        run.gate_back(inner.inputs, inner.inputs.stride(0), both, through, len(both), both.shape[1] // 2)
        outer = backward(gate_up, second, through)
        past = _normed_back(run, parts.second, outer.inputs, middle, inverse_again, gradient)
        attention = backward(out, mixed, past)
        mixed_back = _spread(attention.inputs, setting.only, len(rows))
        turned = _attend_back(run, setting, _Attended(*attended), mixed_back, len(qkv.weights))
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


def _attend(run: Kernels, setting: Setting, projected: Tensor, mixed: Tensor) -> tuple[_Attended, Tensor]:
    """Rows of q, k and v → rows of what attention makes of them, written into `mixed`."""
    s = setting.shape
    query = projected.new_empty(s.examples * s.groups, s.heads // s.groups * s.length, s.width)
    first_query = projected.new_empty(s.groups, s.heads // s.groups * s.prefix, s.width)
    key = projected.new_empty(s.examples * s.groups, s.prefix + s.length, s.width)
    value = torch.empty_like(key)
    run.arrange(projected, setting.cosine, setting.sine, query, first_query, key, value, s)
    shares = query @ key.transpose(1, 2)
    run.softmax(shares, setting.scale, shares.shape[0] * shares.shape[1], s.length, s.prefix)
    first_key, first_value = key[: s.groups, : s.prefix], value[: s.groups, : s.prefix]
    first_shares = first_query @ first_key.transpose(1, 2)
    run.softmax(first_shares, setting.scale, first_shares.shape[0] * first_shares.shape[1], s.prefix, 0)
    run.ungroup(shares @ value, first_shares @ first_value, mixed, mixed.shape[1], len(mixed), s)
    return _Attended(query, key, value, shares, first_query, first_shares), mixed


def _attend_back(run: Kernels, setting: Setting, kept: _Attended, gradient: Tensor, columns: int) -> Tensor:
    """The gradient of attention's rows → of the rows of q, k and v."""
    s = setting.shape
    back, first_back = torch.empty_like(kept.query), torch.empty_like(kept.first_query)
    run.group(gradient, gradient.stride(0), back, first_back, s)
    first_key, first_value = kept.key[: s.groups, : s.prefix], kept.value[: s.groups, : s.prefix]
    query, key, value = _scored_back(run, setting.scale, (kept.query, kept.key, kept.value), kept.shares, back)
    first = _scored_back(run, setting.scale, (kept.first_query, first_key, first_value), kept.first_shares, first_back)
    rows = gradient.new_empty(len(gradient), columns)
    run.arrange_back(query, first[0], key, value, first[1], first[2], setting.cosine, setting.sine, rows, len(rows), s)
    return rows


def _scored_back(
    run: Kernels, scale: float, given: tuple[Tensor, Tensor, Tensor], shares: Tensor, back: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value."""
    query, key, value = given
    to_value = shares.transpose(1, 2) @ back
    scores = back @ value.transpose(1, 2)
    run.softmax_back(scores, shares, scale, scores.shape[0] * scores.shape[1], scores.shape[2])
    return scores @ key, scores.transpose(1, 2) @ query, to_value


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
    """Whether both make the same of a small random batch: two shared tokens, two examples, one row more."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(1, 8, len(fused.parts.first.weight), generator=generator).to(model.dtype)
    positions = torch.tensor([[0, 1, 2, 3, 2, 3, 4, 0]])
    mask = torch.zeros(2, 1, 3, 5)
    mask[..., 2:] = torch.full((3, 3), float("-inf")).triu(1)
    turned = model.base_model.rotary_emb(drawn, position_ids=positions)
    seats = torch.tensor([0, 1, 3, 4, 5])
    given = {"attention_mask": mask, "position_embeddings": turned, "position_ids": positions, "seats": seats}
    with torch.no_grad():
        try:
            one, other = layer(drawn, **given), fused(drawn, **given)
        except (RuntimeError, TypeError, ValueError):
            return False
    change = (one - drawn).float()
    return bool(((other - one).float()).norm() <= _ROUNDING[model.dtype] * change.norm())
