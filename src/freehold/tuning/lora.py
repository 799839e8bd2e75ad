"""Low-rank adapters: put on a model, read out, and written in PEFT's format, the one everyone reads.

y = W x + (alpha / rank) · B A x, with W frozen, A random, B zero (Hu et al. 2021, section 4.1).
"""

import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from freehold.errors import ModelFileError
from freehold.store.workspace import atomic_file, write_atomically
from freehold.tuning.recipe import LoraRecipe, frozen_layers

if TYPE_CHECKING:
    from torch import Tensor, nn

ADAPTER_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def add_adapters(model: "nn.Module", recipe: LoraRecipe, seed: int) -> "dict[str, nn.Parameter]":
    """Freeze the model and put adapters on the layers that the recipe trains; returns them by PEFT's names."""
    import torch

    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    parameters: dict[str, nn.Parameter] = {}
    for name, parent, leaf, linear in list(_targets(model, frozen_layers(recipe, model.config.num_hidden_layers))):
        adapted = _adapted(linear, recipe, generator)
        setattr(parent, leaf, adapted)
        parameters[f"base_model.model.{name}.lora_A.weight"] = adapted.lora_a
        parameters[f"base_model.model.{name}.lora_B.weight"] = adapted.lora_b
    if not parameters:
        raise ModelFileError(f"the base has none of the layers {', '.join(TARGETS)}; it cannot carry an adapter")
    return parameters


def _targets(model: "nn.Module", first: int) -> "Iterator[tuple[str, nn.Module, str, nn.Linear]]":
    """The linear layers that may carry an adapter, of the model's layers from number `first` on."""
    from torch import nn

    for name, module in model.named_modules():
        parent_name, _, leaf = name.rpartition(".")
        if leaf in TARGETS and isinstance(module, nn.Linear) and layer_of(name) >= first:
            yield name, model.get_submodule(parent_name), leaf, module


def layer_of(name: str) -> int:
    """The number of the layer that a parameter or module belongs to: 7 of `model.layers.7.mlp.up_proj`."""
    parts = name.split(".")
    return int(parts[parts.index("layers") + 1])


def _adapted(linear: "nn.Linear", recipe: LoraRecipe, generator: Any) -> Any:  # noqa: ANN401 (torch types)
    """A linear layer with an adapter beside it: A uniform with variance 1 / inputs, B zero, both in float32."""
    import torch

    draw = torch.rand(recipe.rank, linear.in_features, generator=generator) * 2 - 1
    zero = torch.zeros(linear.out_features, recipe.rank)
    on = linear.weight.device
    return _adapted_class()(
        linear, (draw / math.sqrt(linear.in_features)).to(on), zero.to(on), recipe.alpha / recipe.rank
    )


@cache
def _adapted_class() -> Any:  # noqa: ANN401
    """The class of an adapted layer: one for all layers, so that the compiler sees one kind of layer, not thirty."""
    from torch import nn
    from torch.nn.functional import linear as product

    class Adapted(nn.Module):  # type: ignore[misc]  # torch is untyped here
        """The adapter is kept in float32 and computed in the input's type."""

        def __init__(self, linear: "nn.Linear", a: "Tensor", b: "Tensor", scale: float) -> None:
            super().__init__()
            self.linear, self.scale = linear, scale
            self.lora_a, self.lora_b = nn.Parameter(a), nn.Parameter(b)

        def forward(self, x: "Tensor") -> "Tensor":
            low = product(x, self.lora_a.to(x.dtype))
            result: Tensor = self.linear(x) + product(low, (self.lora_b * self.scale).to(x.dtype))
            return result

    return Adapted


def save_adapter(folder: Path, tensors: "Mapping[str, Tensor]", recipe: LoraRecipe, base: str) -> None:
    """Write an adapter as PEFT reads it: weights in float32, and its configuration."""
    from safetensors.torch import save

    contents = {name: tensor.detach().to("cpu").float().contiguous() for name, tensor in tensors.items()}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(TARGETS),
        "layers_to_transform": sorted({layer_of(name) for name in tensors}),
        "inference_mode": True,
    }
    with atomic_file(folder / ADAPTER_FILE) as handle:
        handle.write(save(contents, metadata={"format": "pt"}))
    write_atomically(folder / CONFIG_FILE, msgspec.json.format(msgspec.json.encode(config)))


def load_adapter(folder: Path) -> "tuple[dict[str, Tensor], float]":
    """An adapter's tensors by PEFT's names, and its scale; raises `ModelFileError` on a damaged file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = msgspec.json.decode((folder / CONFIG_FILE).read_bytes())
        return load_file(folder / ADAPTER_FILE), float(config["lora_alpha"]) / int(config["r"])
    except (OSError, SafetensorError, msgspec.MsgspecError, KeyError) as error:
        raise ModelFileError(f"{folder}: the adapter is missing or damaged ({error}); tune again") from None
