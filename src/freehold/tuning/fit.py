"""Whether a step fits the memory at hand, found by measuring one example instead of by a table of models.

What the backward pass needs of a step grows with its tokens; where that would not fit, each layer's activations are
computed again on the way back (activation checkpointing: Chen et al. 2016, arXiv:1604.06174), which changes no result.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from freehold.catalogue.fit import available_bytes

if TYPE_CHECKING:
    from torch import Tensor

SHARE = 0.6


def saved_bytes(forward: "Callable[[], Tensor]", model: Any) -> int:  # noqa: ANN401 (a torch module)
    """Bytes that a forward pass keeps for the way back, each storage counted once and the model's own not at all."""
    from torch.autograd.graph import saved_tensors_hooks

    own = {each.untyped_storage().data_ptr() for each in [*model.parameters(), *model.buffers()]}
    found: dict[int, int] = {}

    def noted(tensor: "Tensor") -> "Tensor":
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(noted, lambda tensor: tensor):
        kept = forward()  # held until here, so that no storage is freed and counted again under another's address
    del kept
    return sum(found.values())


def must_checkpoint(needed: int, device: Any) -> bool:  # noqa: ANN401 (a torch device)
    """Whether a step that keeps `needed` bytes is too large for the memory that is free; others need a share of it."""
    return needed > SHARE * free_bytes(device)


def free_bytes(device: Any) -> int:  # noqa: ANN401
    """Memory that is free where the model is."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else available_bytes()
