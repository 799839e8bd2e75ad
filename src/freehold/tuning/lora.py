"""Low-rank adapters: put on a model, read out, and written in PEFT's format, the one everyone reads.

y = W x + (alpha / rank) · B A x, with W frozen, A random, B zero (Hu et al. 2021, section 4.1).
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from freehold.errors import ModelFileError
from freehold.store.workspace import atomic_file, write_atomically
from freehold.tuning.recipe import LoraRecipe, frozen_layers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from freehold.tuning.joined import Adapter

ADAPTER_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_GATED = ("gate_proj", "up_proj")
_SHARING = (("q_proj", "k_proj", "v_proj"), _GATED)  # layers that read the same input


def add_adapters(model: "nn.Module", recipe: LoraRecipe, seed: int) -> "dict[str, nn.Parameter]":
    """Freeze the model and put adapters on the layers that the recipe trains; returns them by PEFT's names."""
    import torch

    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, dict[str, _Target]] = {}
    for name, linear in _targets(model, frozen_layers(recipe, model.config.num_hidden_layers)):
        parent, _, leaf = name.rpartition(".")
        found.setdefault(parent, {})[leaf] = _Target(name, linear, _drawn(linear, recipe, generator))
    if not found:
        raise ModelFileError(f"the base has none of the layers {', '.join(TARGETS)}; it cannot carry an adapter")
    for parent, leaves in found.items():
        _put_on(model, parent, leaves, recipe.alpha / recipe.rank)
    return {
        f"base_model.model.{each.name}.lora_{half}.weight": parameter
        for leaves in found.values()
        for each in leaves.values()
        for half, parameter in zip("AB", each.adapter, strict=True)
    }


class _Target(NamedTuple):
    """A linear layer that gets an adapter, by its name in the model."""

    name: str
    linear: "nn.Linear"
    adapter: "Adapter"


def _targets(model: "nn.Module", first: int) -> "Iterator[tuple[str, nn.Linear]]":
    """The linear layers that may carry an adapter, of the model's layers from number `first` on."""
    from torch import nn

    for name, module in model.named_modules():
        if name.rpartition(".")[2] in TARGETS and isinstance(module, nn.Linear) and layer_of(name) >= first:
            yield name, module


def layer_of(name: str) -> int:
    """The number of the layer that a parameter or module belongs to: 7 of `model.layers.7.mlp.up_proj`."""
    parts = name.split(".")
    return int(parts[parts.index("layers") + 1])


def _drawn(linear: "nn.Linear", recipe: LoraRecipe, generator: Any) -> "Adapter":  # noqa: ANN401 (torch types)
    """A new adapter: A uniform with variance 1 / inputs, B zero, both in float32."""
    import torch
    from torch import nn

    from freehold.tuning.joined import Adapter

    draw = torch.rand(recipe.rank, linear.in_features, generator=generator) * 2 - 1
    zero = torch.zeros(linear.out_features, recipe.rank)
    on = linear.weight.device
    return Adapter(nn.Parameter((draw / math.sqrt(linear.in_features)).to(on)), nn.Parameter(zero.to(on)))


def _put_on(model: "nn.Module", name: str, leaves: "Mapping[str, _Target]", scale: float) -> None:
    """Put joined products in the place of one module's linear layers, or of the whole where it is a gated MLP."""
    from freehold.tuning.joined import Gated, Joined, members

    made = {
        group: Joined([leaves[leaf].linear for leaf in group], [leaves[leaf].adapter for leaf in group], scale)
        for group in _groups(leaves)
    }
    parent = model.get_submodule(name)
    if made.keys() == {_GATED, ("down_proj",)}:
        whole = Gated(made[_GATED], made["down_proj",])
        if computes_the_same(parent, whole, leaves["gate_proj"].linear):
            outer, _, own = name.rpartition(".")
            setattr(model.get_submodule(outer), own, whole)
            return
    for group, module in made.items():
        for leaf, each in zip(group, members(module), strict=True):
            setattr(parent, leaf, each)


def _groups(leaves: "Mapping[str, _Target]") -> list[tuple[str, ...]]:
    """The layers that read the same input together, every other one alone."""
    together = [
        group
        for group in _SHARING
        if leaves.keys() >= {*group} and len({leaves[leaf].linear.bias is None for leaf in group}) == 1
    ]
    alone = leaves.keys() - {leaf for group in together for leaf in group}
    return [*together, *((leaf,) for leaf in leaves if leaf in alone)]


def computes_the_same(one: "nn.Module", other: "nn.Module", like: "nn.Module") -> bool:
    """Whether two modules agree on a few random inputs that `like` (a module with a weight) could read."""
    import torch

    weight = next(like.parameters())
    draw = torch.randn(4, weight.shape[-1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        given = draw.to(weight.device, weight.dtype)
        first, second = one(given).float(), other(given).float()
    return bool((first - second).norm() <= 0.02 * first.norm())


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
