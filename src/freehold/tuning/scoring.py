"""How likely a base finds given tokens, with an adapter or without: no decoding, one forward pass a batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from freehold.errors import ModelFileError
from freehold.records import AdapterManifest
from freehold.tuning.base import load_base
from freehold.tuning.lora import add_adapters, load_adapter
from freehold.tuning.recipe import LoraRecipe

_BATCH = 64


class Scored(NamedTuple):
    """What a model makes of an ending: its negative log-likelihood in nats, and whether greedy decoding writes it."""

    nats: float
    greedy: bool


class Scorer:
    """A base with an adapter on it, held in memory."""

    def __init__(self, base_folder: Path, manifest: AdapterManifest, adapter_folder: Path) -> None:
        import torch

        self._model = load_base(base_folder)
        self._parameters = add_adapters(self._model, msgspec.convert(manifest.recipe, LoraRecipe), manifest.seed)
        tensors, _ = load_adapter(adapter_folder)
        if tensors.keys() != self._parameters.keys():
            raise ModelFileError(f"{adapter_folder}: the adapter's layers are not those of its recipe; tune again")
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(tensors[name])

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The base alone, while the block runs."""
        import torch

        held = {name: each.detach().clone() for name, each in self._parameters.items() if ".lora_B." in name}
        with torch.no_grad():
            for name in held:
                self._parameters[name].zero_()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in held.items():
                    self._parameters[name].copy_(tensor)

    def endings(self, prefix: Sequence[int], endings: Sequence[Sequence[int]]) -> list[Scored]:
        """Score token endings of one prefix, which is computed once a batch; neither may be empty."""
        found: list[Scored] = []
        for start in range(0, len(endings), _BATCH):
            found += self._batch(prefix, endings[start : start + _BATCH])
        return found

    def _batch(self, prefix: Sequence[int], endings: Sequence[Sequence[int]]) -> list[Scored]:
        import torch
        from transformers import DynamicCache

        on = next(self._model.parameters()).device
        longest = max(map(len, endings))
        ids = torch.zeros(len(endings), longest, dtype=torch.long)
        for row, ending in enumerate(endings):
            ids[row, : len(ending)] = torch.tensor(list(ending))
        with torch.no_grad():
            head = torch.tensor([list(prefix)], device=on)
            shared = self._model(head, use_cache=True)
            cache = DynamicCache()
            for index, layer in enumerate(shared.past_key_values.layers):
                cache.update(
                    layer.keys.expand(len(endings), -1, -1, -1), layer.values.expand(len(endings), -1, -1, -1), index
                )
            rest = self._model(ids.to(on), past_key_values=cache, use_cache=True).logits
            first = shared.logits[:, -1:].expand(len(endings), -1, -1)
            logits = torch.cat([first, rest[:, :-1]], dim=1).float()
            chosen = torch.log_softmax(logits, dim=-1).gather(2, ids.to(on).unsqueeze(2)).squeeze(2).cpu()
            best = logits.argmax(dim=-1).cpu() == ids
        return [
            Scored(-float(chosen[row, : len(each)].sum()), bool(best[row, : len(each)].all()))
            for row, each in enumerate(endings)
        ]
