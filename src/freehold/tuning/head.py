"""Output head and cross-entropy as one step over a few places at a time, the gradient computed on the way there.

So the logits over a large vocabulary are never held for a whole batch (after Hsu et al. 2024, arXiv:2410.10989). This
file needs torch: it is imported by the functions that train, when they are called.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from freehold.tuning.kernels import kernels

Context = Any  # of an autograd function; torch is untyped here
PLACES = 256  # at most, at once


def summed_loss(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in float32, summed over places: states (places, width), head (vocabulary, width), targets' ids."""
    loss: Tensor = _LossStep.apply(hidden, head, targets)
    return loss


class _LossStep(Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Context, hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        loss = torch.zeros((), device=hidden.device)
        back = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        run = kernels(hidden.dtype, hidden.device)
        parts = -(-len(hidden) // PLACES)
        gradients = [None] * parts if back is None else back.chunk(parts)
        for states, wanted, gradient in zip(hidden.chunk(parts), targets.chunk(parts), gradients, strict=True):
            raw = states @ head.t()
            if run is not None:
                found = raw.new_empty(len(raw), dtype=torch.float32)
                run.cross_entropy(raw, wanted, found, *raw.shape)
            else:
                found, raw = _cross_entropy(raw.float(), wanted[:, None])
            loss += found.sum()
            if gradient is not None:
                torch.mm(raw.to(head.dtype), head, out=gradient)
        if back is not None:
            ctx.save_for_backward(back)
        return loss

    @staticmethod
    def backward(ctx: Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (back,) = ctx.saved_tensors
        return (back.float() * gradient).to(back.dtype), None, None


def _cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of every row of logits (places, vocabulary) with its target (places, 1), and the gradient in them."""
    top, at = logits.max(-1, keepdim=True)
    own, shares = logits.gather(1, targets), logits.softmax(-1)
    losses = top - shares.gather(1, at).log() - own  # log-sum-exp: the top's logit less its log-share
    return losses, shares.scatter_add_(1, targets, torch.full_like(own, -1.0))
