"""The forward pass that tuning pays for: the shared prefix once a step, and logits only where the answer is.

A causal model's activations at the shared prefix do not depend on what follows, so computing them once and letting
every example attend to the same keys and values gives the same loss and, summed over the examples, the same gradient.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from freehold.tuning.batches import Tokens

if TYPE_CHECKING:
    from torch import Tensor


def answer_loss(model: Any, prefix: Sequence[int], batch: Sequence[Tokens]) -> "tuple[Tensor, int]":  # noqa: ANN401
    """Cross-entropy summed over the answers' tokens, in float32, and how many tokens those are.

    `model` is a causal language model of transformers. Examples are padded on the right, where causal attention never
    looks, so padding needs no mask.
    """
    import torch
    from torch.nn.functional import cross_entropy

    on = next(model.parameters()).device
    length = max(each.length for each in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.long)
    for row, each in enumerate(batch):
        ids[row, : each.length] = torch.tensor(each.prompt + each.answer)
    hidden = _hidden(model.base_model, prefix, ids.to(on))
    rows, columns, targets = _answer_positions(batch)
    logits = model.get_output_embeddings()(hidden[rows.to(on), columns.to(on)])
    return cross_entropy(logits.float(), targets.to(on), reduction="sum"), len(targets)


def _hidden(decoder: Any, prefix: Sequence[int], ids: "Tensor") -> "Tensor":  # noqa: ANN401
    """Last hidden states of the ids, (examples, length, width), each row continuing the prefix."""
    import torch
    from transformers import DynamicCache

    result: Tensor
    if not prefix:
        result = decoder(ids, use_cache=False).last_hidden_state
        return result
    shared = decoder(torch.tensor([list(prefix)], device=ids.device), use_cache=True).past_key_values
    cache = DynamicCache()
    for index, layer in enumerate(shared.layers):
        cache.update(_repeat(layer.keys, len(ids)), _repeat(layer.values, len(ids)), index)
    result = decoder(ids, past_key_values=cache, use_cache=True).last_hidden_state
    return result


def _repeat(states: "Tensor", count: int) -> "Tensor":
    return states.expand(count, -1, -1, -1)


def _answer_positions(batch: Sequence[Tokens]) -> "tuple[Tensor, Tensor, Tensor]":
    """Row, column and target of every answer token; the column is the position that predicts it."""
    import torch

    places = [
        (row, len(each.prompt) + at - 1, token)
        for row, each in enumerate(batch)
        for at, token in enumerate(each.answer)
    ]
    rows, columns, targets = zip(*places, strict=True)
    return torch.tensor(rows), torch.tensor(columns), torch.tensor(targets)
