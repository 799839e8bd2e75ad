"""Many small parameters as one: a single buffer for their values and one for their gradients.

The optimiser then takes one step over one tensor instead of hundreds of steps over small ones.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class Flat:
    """Parameters by name, whose values and gradients are views of `parameter` and its gradient."""

    def __init__(self, parameters: "Mapping[str, nn.Parameter]") -> None:
        import torch
        from torch import nn

        self._shapes = {name: each.shape for name, each in parameters.items()}
        self.parameter = nn.Parameter(torch.cat([each.detach().flatten() for each in parameters.values()]))
        self.parameter.grad = torch.zeros_like(self.parameter)
        values, gradients = self.named(self.parameter.detach()), self.named(self.parameter.grad)
        for name, each in parameters.items():
            each.data, each.grad = values[name], gradients[name]

    def named(self, tensor: "Tensor") -> "dict[str, Tensor]":
        """Views of a tensor that is laid out as the parameter is, by the parameters' names."""
        parts = tensor.split([shape.numel() for shape in self._shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def joined(self, tensors: "Mapping[str, Tensor]") -> "Tensor":
        """The way back: tensors by the parameters' names as one, where the parameter lives."""
        import torch

        return torch.cat([tensors[name].flatten() for name in self._shapes]).to(self.parameter.device)

    def clear(self) -> None:
        """Gradients to zero; they stay where they are."""
        assert self.parameter.grad is not None
        self.parameter.grad.zero_()
