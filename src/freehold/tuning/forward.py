"""The forward pass that tuning pays for: the shared prefix once a step, and logits only where the answer is.

A causal model's activations at the shared prefix do not depend on what follows, so computing them once and letting
every example attend to the same keys and values gives the same loss and, summed over the examples, the same gradient.

A batch is one row of tokens, so that every matrix product is one product: the prefix, then the rests of the examples
without padding, and at the end nobody's tokens up to a multiple of 16, which products are a tenth faster for. The
model's attention is replaced by one that knows this arrangement (`pack`); all the rest is the model's own code. It
seats each example in a row of its own, with empty seats on the right, where causal attention never looks; layers of
ours (`layer.py`) need no seats.
"""

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, NamedTuple

from freehold.tuning.batches import Tokens
from freehold.tuning.lora import computes_the_same

if TYPE_CHECKING:
    from torch import Tensor

ATTENTION = "freehold_shared_prefix"
EVEN = 16


class Packed(NamedTuple):
    """A batch as the model reads it; `at` are the places that predict the answers' tokens, `targets` those tokens.

    `ids` and `positions` are (1, P + R + nobody's) for a prefix of P tokens and R tokens of B examples, the longest of
    L; `seats` (R) are the places of those tokens among B · L, and `starts` (B + 1) those of the examples in the row
    and of their end. `mask` is (B, 1, L, P + L), 0 where a token of an example may look and −∞ elsewhere; all examples
    share its memory.
    """

    ids: "Tensor"
    positions: "Tensor"
    mask: "Tensor"
    seats: "Tensor"
    starts: "Tensor"
    at: "Tensor"
    targets: "Tensor"


def prepare(model: Any) -> None:  # noqa: ANN401 (a transformers model)
    """Have the model attend over packed batches, and read nothing else; its RMSNorms are computed in fewer passes."""
    from transformers import AttentionInterface

    from freehold.tuning.joined import RmsNorm

    AttentionInterface.register(ATTENTION, _attention)
    model.set_attn_implementation(ATTENTION)
    for name, module in list(model.named_modules()):
        if isinstance(epsilon := getattr(module, "variance_epsilon", None), float) and hasattr(module, "weight"):
            mine = RmsNorm(module.weight.detach(), epsilon)
            parent, _, leaf = name.rpartition(".")
            if computes_the_same(module, mine, module):
                setattr(model.get_submodule(parent), leaf, mine)


def pack(prefix: Sequence[int], batch: Sequence[Tokens], device: Any) -> Packed:  # noqa: ANN401 (a torch device)
    """The examples after their shared prefix, as one row."""
    import torch

    shared, length = len(prefix), max(each.length for each in batch)
    rests = [*chain.from_iterable(each.read for each in batch)]
    own = [at for each in batch for at in range(each.length)]
    starts = [*accumulate((each.length for each in batch), initial=shared)]
    places = [
        (start + len(each.prompt) + at - 1, token)
        for start, each in zip(starts, batch, strict=False)
        for at, token in enumerate(each.answer)
    ]
    at, targets = zip(*places, strict=True)
    mask = torch.zeros(1, 1, length, shared + length)
    mask[..., shared:] = torch.full((length, length), float("-inf")).triu(1)
    nobodys = [0] * (-(shared + len(rests)) % EVEN)
    tensors = (
        torch.tensor([[*prefix, *rests, *nobodys]]),
        torch.tensor([[*range(shared), *(shared + each for each in own), *nobodys]]),
        mask.expand(len(batch), -1, -1, -1),
        torch.tensor([row * length + at for row, each in enumerate(batch) for at in range(each.length)]),
        torch.tensor(starts),
        torch.tensor(at),
        torch.tensor(targets),
    )
    return Packed(*(each.to(device) for each in tensors))


def reading(packed: Packed) -> dict[str, Any]:
    """How a decoder of transformers reads a packed batch, beside the ids or states themselves."""
    return {
        "position_ids": packed.positions,
        "attention_mask": packed.mask,
        "seats": packed.seats,
        "starts": packed.starts,
        "use_cache": False,
    }


def answer_loss(model: Any, packed: Packed, states: "Tensor | None" = None) -> "tuple[Tensor, int]":  # noqa: ANN401
    """Cross-entropy summed over the answers' tokens, in float32, and how many tokens those are.

    `model` is a causal language model of transformers that `prepare` has seen; where its lower layers were taken off
    (`frozen.py`), `states` are what they made of the batch. Logits are computed at the answers only.
    """
    from freehold.tuning.head import summed_loss

    entry = {"input_ids": packed.ids} if states is None else {"inputs_embeds": states}
    hidden = model.base_model(**entry, **reading(packed), only=packed.at).last_hidden_state[0]
    if len(hidden) > len(packed.at):  # the last layer is not one of ours, which leaves the others out (`layer.py`)
        hidden = hidden[packed.at]
    return summed_loss(hidden, model.get_output_embeddings().weight, packed.targets), len(packed.targets)


def _attention(  # noqa: PLR0913 (transformers' interface)
    module: Any,  # noqa: ANN401
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: "Tensor",
    scaling: float,
    seats: "Tensor",
    sliding_window: int | None = None,
    **_: object,
) -> "tuple[Tensor, None]":
    """transformers' attention interface over a packed row: states (1, heads, tokens, width of a head).

    The prefix attends to itself; each example attends to the prefix and to itself.
    """
    import torch

    count, _one, length, columns = attention_mask.shape
    shared = columns - length
    mask = _windowed(attention_mask, shared, sliding_window)
    end = shared + len(seats)
    queries, own_keys, own_values = (
        _seated(states[0, :, shared:end], seats, count, length) for states in (query, key, value)
    )
    first_queries, first_keys, first_values = (states[:, :, :shared] for states in (query, key, value))
    keys = torch.cat([first_keys.expand(count, -1, -1, -1), own_keys], 2)
    values = torch.cat([first_values.expand(count, -1, -1, -1), own_values], 2)
    examples = _attend(queries, keys, values, mask, scaling).flatten(0, 1)[None, seats]
    nobodys = examples.new_zeros(1, query.shape[2] - end, *examples.shape[2:])
    if not shared:
        return torch.cat([examples, nobodys], 1), None
    causal = torch.full((shared, shared), float("-inf"), device=query.device).triu(1)[None, None]
    prefix = _attend(first_queries, first_keys, first_values, _windowed(causal, 0, sliding_window), scaling)
    return torch.cat([prefix, examples, nobodys], 1), None


def _seated(states: "Tensor", seats: "Tensor", count: int, length: int) -> "Tensor":
    """The examples' tokens (heads, R, width) → (B, heads, L, width), 0 where nobody sits."""
    heads, _tokens, width = states.shape
    return (
        states.new_zeros(heads, count * length, width)
        .index_copy(1, seats, states)
        .unflatten(1, (count, length))
        .transpose(0, 1)
    )


def _windowed(mask: "Tensor", shared: int, window: int | None) -> "Tensor":
    """The mask of a layer that looks back no further than `window` tokens."""
    import torch

    if window is None or mask.shape[-1] <= window:
        return mask
    own = shared + torch.arange(mask.shape[-2], device=mask.device)
    distance = own[:, None] - torch.arange(mask.shape[-1], device=mask.device)
    return mask.masked_fill(distance >= window, float("-inf"))


def _attend(query: "Tensor", key: "Tensor", value: "Tensor", mask: "Tensor", scaling: float) -> "Tensor":
    """Softmax attention, (B, heads, L, width) → (B, L, heads, width); query heads that share a key head go together."""
    count, heads, length, width = query.shape
    groups = key.shape[1]
    grouped = query.reshape(count, groups, -1, width)
    scores = (grouped @ key.transpose(-1, -2)).unflatten(2, (-1, length)).float() * scaling
    shares = (scores + mask[:, :, None]).softmax(-1).to(value.dtype).flatten(2, 3)
    return (shares @ value).reshape(count, heads, length, -1).transpose(1, 2)
